"""smtp-source, Postfix's load generator, runs through the relay: every recipient of every message is accounted for.

It sends one command at a time. Pipelined it goes by way of a real Postfix, which sends MAIL, RCPTs and DATA in one flight.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.mails import below_our_block
from tests.servers.ports import wait_until
from tests.servers.postfix import Postfix, running_postfix
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

pytestmark = pytest.mark.skipif(
    shutil.which("smtp-source") is None, reason="SMTP-SOURCE NOT TESTED: it comes with Postfix (`tools/packages test`)"
)

SESSIONS, RECIPIENTS = 20, 3


def load(port: int, domain: str, *, messages: int, sessions: int = SESSIONS, more: tuple[str, ...] = ()) -> None:
    """So many messages over so many sessions at a time, each to as many recipients as none other has; all are taken."""
    command = [
        *("smtp-source", "-s", str(sessions), "-m", str(messages), "-r", str(RECIPIENTS), "-N", *more),
        *("-M", "mail.sender.test", "-f", "a@sender.test", "-t", f"u@{domain}", f"inet:127.0.0.1:{port}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr  # it gives up at the first reply that is not 2yz
    assert not done.stderr, done.stderr


def account(relay: Relay, domain: str) -> Counter[str]:
    """How many recipients of a domain are in which state."""
    connection = sqlite3.connect(relay.root / "mailguard.db")
    try:
        query = "SELECT state, count(*) FROM units WHERE recipient_raw LIKE ? GROUP BY state"
        return Counter(dict(connection.execute(query, (f"%@{domain}",)).fetchall()))
    finally:
        connection.close()


def recipients(sink: SinkThread) -> Counter[str]:
    """How often each recipient got a message."""
    return Counter(rcpt for received in sink.messages for rcpt in received.rcpts)


@pytest.fixture(scope="module")
def source_relay(shared_relay: Relay, shared_sink: SinkThread) -> Callable[[str], Relay]:
    """Gives the relay with one more domain."""

    def with_domain(domain: str) -> Relay:
        shared_relay.run("tenant", "domain", "add", "acme", domain, "--next-hop", f"127.0.0.1:{shared_sink.port}")
        wait_until(lambda: shared_relay.takes(f"x@{domain}"), what=f"{domain} being taken")
        shared_sink.messages.clear()
        return shared_relay

    return with_domain


@pytest.mark.parametrize(
    ("domain", "more"),
    [
        ("a-session-each.test", ()),
        ("twenty-sessions.test", ("-d", "-l", "30000")),
    ],
)
def test_many_sessions_with_several_recipients(
    source_relay: Callable[[str], Relay], shared_sink: SinkThread, domain: str, more: tuple[str, ...]
) -> None:
    relay = source_relay(domain)
    messages = 150
    load(relay.port, domain, messages=messages, more=more)
    # A 250 was given when the next hop had taken it: nothing need be waited for but the record.
    assert len(shared_sink.messages) == messages
    assert all(len(received.rcpts) == RECIPIENTS for received in shared_sink.messages)
    got = recipients(shared_sink)
    assert (len(got), set(got.values())) == (messages * RECIPIENTS, {1})
    wait_until(lambda: account(relay, domain) == {"delivered": messages * RECIPIENTS}, what="all being on record")


def test_a_message_of_its_own_arrives_as_it_is(
    source_relay: Callable[[str], Relay], shared_sink: SinkThread, tmp_path: Path
) -> None:
    relay = source_relay("file.test")
    lines = [b"From: a@sender.test", b"Subject: dots", b"", b".", b"..", b".a", b"caf\xc3\xa9", b"end"]
    (tmp_path / "mail").write_bytes(b"\n".join(lines) + b"\n")
    load(relay.port, "file.test", messages=20, more=("-F", str(tmp_path / "mail")))
    contents = {below_our_block(received.content) for received in shared_sink.messages}
    assert contents == {b"\r\n".join(lines) + b"\r\n\r\n"}  # it sends a line end of its own before the final dot
    assert len(shared_sink.messages) == 20


def test_all_that_came_while_the_next_hop_was_down_is_delivered_once(
    new_relay: Callable[..., Relay], sink: SinkThread
) -> None:
    relay = new_relay(workers=2)
    relay.add_tenant("acme", "client.test", sink.port)
    sink.stop()
    relay.start()
    messages = 40
    load(relay.port, "client.test", messages=messages, more=("-d",))
    wait_until(lambda: account(relay, "client.test") == {"spooled": messages * RECIPIENTS}, what="all being spooled")
    assert sink.messages == []
    sink.start()
    wait_until(
        lambda: account(relay, "client.test") == {"delivered": messages * RECIPIENTS}, seconds=40, what="all delivered"
    )
    got = recipients(sink)
    assert (len(got), set(got.values())) == (messages * RECIPIENTS, {1})


@pytest.fixture
def postfix(shared_relay: Relay) -> Iterator[Postfix]:
    """A Postfix that sends all its mail to the relay."""
    more = "\n".join(
        ["default_destination_recipient_limit = 10", "smtpd_recipient_restrictions = permit_mynetworks, reject"]
    )
    with running_postfix(hostname="mail.sender.test", relay_to=shared_relay.port, more=more) as server:
        yield server


@pytest.mark.skipif(os.geteuid() != 0, reason="POSTFIX NOT TESTED: only root can start one")
def test_pipelined_by_way_of_a_postfix(
    source_relay: Callable[[str], Relay], shared_sink: SinkThread, postfix: Postfix
) -> None:
    relay = source_relay("pipelined.test")
    messages = 50
    load(postfix.port, "pipelined.test", messages=messages)
    wait_until(
        lambda: account(relay, "pipelined.test") == {"delivered": messages * RECIPIENTS},
        seconds=60,
        what="all being delivered",
    )
    got = recipients(shared_sink)
    assert (len(got), set(got.values())) == (messages * RECIPIENTS, {1})
    wait_until(lambda: "Mail queue is empty" in postfix.queue(), what="Postfix having sent all")
    assert postfix.log().count("status=sent") == messages * RECIPIENTS
    assert "status=deferred" not in postfix.log()
