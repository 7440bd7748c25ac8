"""The door of the real relay under clients that ask for too much: rates over all workers, greylisting, idlers, endless talk."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.mails import arrived, mail
from tests.e2e.test_large_mail import MEBIBYTE, Sender, anonymous, warm_up
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

COUNT_LOOPBACK = {"MAILGUARD_SERVER__UNLIMITED_NETWORKS": "[]"}
IDLERS = 5_000
SLOW = 200
"""So many of them stopped in the midst of a message."""


@pytest.fixture
def start(new_relay: Callable[..., Relay], sink: SinkThread) -> Callable[..., Relay]:
    """`start(workers=3, client_messages_per_minute=10)`: a running relay with these settings, loopback counted too."""

    def made(*, workers: int = 1, section: str = "limits", **limits: object) -> Relay:
        environment = {f"MAILGUARD_{section.upper()}__{name.upper()}": str(value) for name, value in limits.items()}
        relay = new_relay(workers=workers, environment=COUNT_LOOPBACK | environment)
        relay.add_tenant("acme", "client.test", sink.port)
        return relay.start()

    return made


def refusals(relay: Relay, tenant: str, reason: str) -> int:
    """How often mail was refused for a reason, as the metrics count; `tenant` is empty when it was nobody's."""
    return int(relay.metric(f'mailguard_smtp_refusals_total{{reason="{reason}",tenant="{tenant}"}}'))


# rates


def test_messages_of_a_client_are_counted_over_all_workers(start: Callable[..., Relay], sink: SinkThread) -> None:
    relay = start(workers=3, client_messages_per_hour=10)
    replies = [relay.send(mail(f"m{number}")) for number in range(15)]
    assert [code for code, _ in replies] == [250] * 10 + [450] * 5
    assert replies[-1][1] == "4.7.1 Too many messages from your address; please come again later"
    assert len(sink.messages) == 10
    wait_until(lambda: refusals(relay, "", "rate_limit") == 5, seconds=10, what="the metric")


def test_recipients_of_a_client_are_counted_over_all_workers(start: Callable[..., Relay], sink: SinkThread) -> None:
    relay = start(workers=3, client_recipients_per_hour=9)
    for number in range(4):
        code, _ = relay.send(mail(f"m{number}"), [f"u{number}{letter}@client.test" for letter in "abc"])
        assert code == (250 if number < 3 else 450)
    assert [len(one.rcpts) for one in sink.messages] == [3, 3, 3]


def test_messages_of_a_tenant_are_counted_whoever_sends(
    start: Callable[..., Relay], new_sink: Callable[..., SinkThread], sink: SinkThread
) -> None:
    relay = start(workers=2, tenant_messages_per_minute=4)
    relay.add_tenant("other", "other.test", new_sink().port)
    for number in range(4):  # one message each, however many recipients it has
        assert relay.send(mail(f"m{number}"), ["u@client.test", "v@client.test"])[0] == 250
    code, text = relay.send(mail("too many"))
    assert (code, text[:24]) == (451, "4.7.1 Too many messages ")
    wait_until(lambda: relay.send(mail("other"), ["u@other.test"])[0] == 250, seconds=10, what="the other tenant")
    assert refusals(relay, "acme", "rate_limit") >= 1


def test_rates_survive_a_worker(start: Callable[..., Relay]) -> None:
    relay = start(workers=1, client_messages_per_hour=3)
    assert [relay.send(mail(f"a{number}"))[0] for number in range(2)] == [250] * 2
    relay.stop()
    relay.start()
    assert [relay.send(mail(f"b{number}"))[0] for number in range(2)] == [250, 450]


# greylisting and early talkers


def test_greylisting(start: Callable[..., Relay], sink: SinkThread) -> None:
    relay = start(workers=2, greylist_delay=1.5, greylist_auto_allow=2)
    assert relay.send(mail("before"))[0] == 250
    relay.run("tenant", "set", "acme", "--greylist", "on")
    probes = iter(range(10_000))  # nobody comes twice, and each new connection is any worker's

    def is_on() -> bool:
        return relay.send(mail("probe"), [f"probe{next(probes)}@client.test"])[0] == 451

    wait_until(lambda: all(is_on() for _ in range(12)), seconds=10, what="greylisting in both workers")
    code, text = relay.send(mail("new"), ["first@client.test"])
    assert code == 451
    assert text.startswith("4.7.1 Greylisted; please come again in ")
    assert relay.send(mail("role"), ["postmaster@client.test"])[0] == 250
    assert relay.send(mail("role"), ["abuse@client.test"])[0] == 250
    # It comes again, and is let in; once another sender of its network has, all of that network is.
    wait_until(lambda: relay.send(mail("again"), ["first@client.test"])[0] == 250, seconds=10, what="the second time")
    assert relay.send(mail("more"), ["first@client.test"])[0] == 250
    assert relay.send(mail("new"), ["second@client.test"], sender="b@sender.test")[0] == 451
    wait_until(
        lambda: relay.send(mail("b"), ["second@client.test"], sender="b@sender.test")[0] == 250, seconds=10, what="b"
    )
    assert relay.send(mail("third"), ["third@client.test"], sender="c@sender.test")[0] == 250
    assert refusals(relay, "acme", "greylisted") >= 3
    assert len(arrived(sink, "first@client.test")) == 2


def test_early_talker_is_turned_away(start: Callable[..., Relay]) -> None:
    relay = start(section="server", greeting_delay=0.5)
    started = time.monotonic()
    assert relay.send(mail("patient"))[0] == 250
    assert time.monotonic() - started >= 0.5
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as early:
        early.sendall(b"EHLO robot.test\r\n")
        assert early.makefile("rb").readline().startswith(b"554 5.5.0 ")


# idlers and endless talk


@contextmanager
def many_files(count: int) -> Iterator[None]:
    """Room for so many open files, in this process and in those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"the system allows {hard} open files, {count} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def stop_in_a_message(connection: socket.socket) -> None:
    """Begin a message, and leave it at that."""
    connection.sendall(b"EHLO slow.test\r\n")
    assert connection.recv(1000).startswith(b"250")
    connection.sendall(b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<u@client.test>\r\nDATA\r\n")
    heard = b""
    while b"354 " not in heard:
        said = connection.recv(1000)
        assert said, heard
        heard += said
    connection.sendall(b"Subject: slow\r\n")


@pytest.mark.serial
@pytest.mark.timeout(300)
def test_5000_idle_connections_do_not_keep_mail_out(new_relay: Callable[..., Relay], sink: SinkThread) -> None:
    with many_files(IDLERS + 1000), ExitStack() as stack:
        relay = new_relay(workers=2)
        relay.environment["MAILGUARD_SERVER__LISTEN"] = f'["127.0.0.1:{relay.port}", "[::1]:{relay.port}"]'
        relay.add_tenant("acme", "client.test", sink.port)
        relay.start()
        warm_up(relay)
        before = sum(map(anonymous, relay.worker_pids()))
        idlers = []
        for number in range(IDLERS):  # half of them by IPv6
            address = ("127.0.0.1", "::1")[number % 2]
            idlers.append(stack.enter_context(socket.create_connection((address, relay.port), timeout=30)))
        for idler in idlers:
            assert idler.recv(200).startswith(b"220 ")
        for idler in idlers[:SLOW]:
            stop_in_a_message(idler)
        started = time.monotonic()
        for number in range(20):
            assert relay.send(mail(f"beside {number}"))[0] == 250
        assert time.monotonic() - started < 20
        assert relay.metric("mailguard_smtp_sessions_open") >= IDLERS
        assert sum(map(anonymous, relay.worker_pids())) - before < 250 * MEBIBYTE
    assert len([one for one in sink.messages if b"Subject: beside" in one.content]) == 20


@pytest.mark.serial
def test_slow_clients_are_cut_off(start: Callable[..., Relay]) -> None:
    relay = start(section="server", command_timeout=1, data_time=2)
    slow = Sender(relay.port)
    slow.envelope()
    assert slow.say("DATA")[:3] == "354"
    silent = Sender(relay.port)
    began = time.monotonic()
    assert silent.hear()[:9] == "421 4.4.2"
    assert slow.hear()[:9] == "421 4.4.2"
    assert time.monotonic() - began < 10
    chunked = Sender(relay.port)
    chunked.envelope()
    chunked._socket.sendall(b"BDAT 1000 LAST\r\nx")
    assert chunked.hear()[:9] == "421 4.4.2"
    assert relay.send(mail("meanwhile"))[0] == 250


def test_a_million_recipients_end_at_the_limits(relay: Relay, sink: SinkThread) -> None:
    warm_up(relay)
    (worker,) = relay.worker_pids()
    before = anonymous(worker)
    sender = Sender(relay.port)
    sender.envelope()
    codes: list[str] = []
    try:
        for first in range(0, 1_000_000, 500):
            flight = "".join(f"RCPT TO:<u{number}@client.test>\r\n" for number in range(first, first + 500))
            sender._socket.sendall(flight.encode())
            codes += [sender.hear()[:3] for _ in range(500)]
            if codes[-1] == "421" or not codes[-1]:
                break
    except OSError:
        pass  # the connection has ended
    assert codes[:99] == ["250"] * 99
    assert "452" in codes
    assert "421" in codes
    assert len(codes) < 2_000
    assert anonymous(worker) - before < 20 * MEBIBYTE
    assert relay.send(mail("after"))[0] == 250


def test_huge_lines_cost_nothing(relay: Relay) -> None:
    warm_up(relay)
    (worker,) = relay.worker_pids()
    before = anonymous(worker)
    sender = Sender(relay.port)
    for _ in range(3):
        for _ in range(50):
            sender._socket.sendall(b"x" * MEBIBYTE)
        assert sender.say("")[:9] == "500 5.5.2"
        assert anonymous(worker) - before < 20 * MEBIBYTE
    assert sender.say("EHLO mail.sender.test")[:3] == "250"
    sender.close()
