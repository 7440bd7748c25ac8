"""SIGTERM ends the relay without losing a word: what is under way is completed, nobody new is let in."""

from __future__ import annotations

import signal
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.mails import mail
from tests.servers.ports import accepts, wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.servers.smtp_sink import Say


@contextmanager
def sending(relay: Relay, message: bytes) -> Iterator[list[tuple[int, bytes]]]:
    """Send in a thread; the reply to the data is in the list when the block has ended."""
    replies: list[tuple[int, bytes]] = []

    def send() -> None:
        smtp = relay.client()
        smtp.ehlo()
        smtp.mail("a@sender.test")
        smtp.rcpt("u@client.test")
        replies.append(smtp.data(message))
        smtp.close()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield replies
    finally:
        thread.join(30)


def is_free(port: int) -> bool:
    """Whether somebody else could listen there, without sharing."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_message_in_flight_is_completed_and_nobody_new_is_let_in(
    relay: Relay, sink: SinkThread, number: signal.Signals
) -> None:
    sink.sink.script = {"content": Say("250 2.0.0 Taken", delay=1)}
    idle = relay.client()
    idle.ehlo()
    with sending(relay, mail()) as replies:
        wait_until(lambda: sink.messages, what="the next hop having the content")
        assert relay.process is not None
        relay.process.send_signal(number)
        wait_until(lambda: not accepts(relay.port), what="new connections being refused")
        assert idle.getreply()[0] == 421
        idle.close()
        assert replies == []
    ((code, text),) = replies
    assert code == 250, text
    assert relay.process.wait(20) == 0
    assert is_free(relay.port)
    assert is_free(relay.http)
    assert relay.states("u@client.test") == ["delivered"]
    assert "stopped" in relay.log


def test_a_transaction_begun_may_be_completed(relay: Relay, sink: SinkThread) -> None:
    with relay.client() as smtp:
        smtp.ehlo()
        smtp.mail("a@sender.test")
        smtp.rcpt("u@client.test")
        assert relay.process is not None
        relay.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(relay.port), what="new connections being refused")
        code, text = smtp.data(mail())
        assert code == 250, text
        with pytest.raises(smtplib.SMTPServerDisconnected):
            while smtp.noop()[0] != 421:
                pass
            smtp.noop()
    assert relay.process.wait(20) == 0
    assert len(sink.messages) == 1


def test_a_client_that_dawdles_is_cut_off_when_the_time_is_over(
    new_relay: Callable[..., Relay], sink: SinkThread
) -> None:
    relay = new_relay(environment={"MAILGUARD_SERVER__DRAIN_SECONDS": "1"}, workers=2)
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    smtp = relay.client()
    smtp.ehlo()
    smtp.mail("a@sender.test")
    smtp.rcpt("u@client.test")
    assert relay.stop() == 0
    assert smtp.getreply()[0] == 421


def test_mail_in_the_queue_is_there_for_the_next_start(relay: Relay, sink: SinkThread) -> None:
    sink.stop()
    assert relay.send(mail())[0] == 250
    assert relay.states("u@client.test") == ["spooled"]
    assert relay.stop() == 0
    sink.start()
    relay.start()
    wait_until(lambda: sink.messages, what="the mail being delivered")
    wait_until(lambda: relay.states("u@client.test") == ["delivered"], what="the delivery on record")


def test_no_process_stays_behind_when_the_parent_is_killed(new_relay: Callable[..., Relay], sink: SinkThread) -> None:
    relay = new_relay(workers=2)
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    relay.stop(signal.SIGKILL)
    wait_until(lambda: is_free(relay.port), what="the workers ending by themselves")
    relay.start()
    assert relay.send(mail())[0] == 250
