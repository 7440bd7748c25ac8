"""A real Postfix as the next hop: down for a while, back but slow, refusing a third for now. All is delivered in the end.

A day is simulated by pauses of seconds between attempts. What the relay asked when is printed (`pytest -s`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import mail
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.postfix import Postfix, running_postfix, stop_postfix
from tests.servers.relay import Relay

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="POSTFIX NOT TESTED: only root can start one")

USERS = tuple(f"u{number}" for number in range(30))
REFUSED = frozenset(USERS[::3])
"""Whom the server answers 450 for a while after it came back."""
PROBE_PAUSE = 0.4
"""Seconds that pass at least between two questions to a dead server; the first pause is half a second, ±10 %."""
OUTAGE = 8
"""Probes that must have failed before the server comes back."""


@dataclass(frozen=True)
class Attempt:
    """One attempt from the queue, as the trace tells of it; `at` in seconds."""

    at: float
    recipient: str
    outcome: str
    stage: str
    reply: str


@pytest.fixture
def client() -> Iterator[Postfix]:
    """A server that takes a second for each recipient, and knows whom to refuse for now."""
    slow = "smtpd_client_restrictions = sleep 1\nsmtpd_delay_reject = yes\nsmtpd_peername_lookup = no"
    with running_postfix(hostname="mail.client.test", domains=("client.test",), users=USERS, more=slow) as server:
        main = server.root / "etc" / "main.cf"
        text = main.read_text()
        assert "smtpd_recipient_restrictions = " in text
        checked = f"smtpd_recipient_restrictions = check_recipient_access texthash:{server.root}/etc/refused, "
        main.write_text(text.replace("smtpd_recipient_restrictions = ", checked))
        refuse(server, REFUSED)
        yield server


def refuse(server: Postfix, users: Sequence[str] | frozenset[str]) -> None:
    """Answer 450 for these."""
    lines = [f"{user}@client.test 450 4.2.1 Mailbox busy, try later\n" for user in sorted(users)]
    (server.root / "etc" / "refused").write_text("".join(lines))


@pytest.fixture
def relay(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, client: Postfix
) -> Iterator[Relay]:
    with ExitStack() as stack:
        made = Relay(tmp_path_factory.mktemp("relay"), clamd=clamd.address, dns=dns_server.address)
        made.add_tenant("acme", "client.test", client.port)
        stack.callback(made.stop)
        yield made.start()
    made.run("ledger", "check")


def attempts(relay: Relay) -> list[Attempt]:
    """All attempts from the queue, in order."""
    found = [
        Attempt(
            datetime.fromisoformat(event["at"]).timestamp(),
            row["recipient"].partition("@")[0],
            event["detail"]["outcome"],
            event["detail"]["stage"],
            str(event["detail"].get("reply", "")),
        )
        for row in relay.json("trace", "--to", "client.test", "--limit", "1000")
        for event in row.get("events", ())
        if event["kind"] == "attempt" and "purpose" in event["detail"]
    ]
    return sorted(found, key=lambda attempt: attempt.at)


def show(told: Sequence[Attempt]) -> None:
    for attempt in told:
        when = f"{attempt.at - told[0].at:6.2f} s"
        print(f"{when}  {attempt.recipient:4} {attempt.outcome:10} {attempt.stage:8} {attempt.reply}")


def delivered(relay: Relay) -> set[str]:
    """The users who have their mail, as the ledger says."""
    rows: list[dict[str, Any]] = relay.json("trace", "--to", "client.test", "--limit", "1000")
    return {row["recipient"].partition("@")[0] for row in rows if row["state"] == "delivered"}


@pytest.mark.timeout(180)
def test_a_server_that_was_down_comes_back_slow_and_refuses_a_third(relay: Relay, client: Postfix) -> None:
    stop_postfix(client)
    for user in USERS:
        code, text = relay.send(mail(f"for {user}"), [f"{user}@client.test"])
        assert code == 250, text
    waiting = relay.json("queue", "list", "--next-hop", f"127.0.0.1:{client.port}")
    assert len(waiting) == len(USERS)

    # Down: one message at a time asks, after growing pauses; the others are not tried.
    wait_until(lambda: len(attempts(relay)) >= OUTAGE, seconds=40, what="the dead server being probed")
    probes = attempts(relay)
    assert {probe.outcome for probe in probes} == {"temporary"}
    assert {probe.stage for probe in probes} == {"connect"}
    assert min(later.at - one.at for one, later in pairwise(probes)) > PROBE_PAUSE

    # Back, slow, and busy for a third: the first question that is answered brings all the others.
    client.command("start")
    wait_until(lambda: delivered(relay) == set(USERS) - REFUSED, seconds=60, what="two thirds being delivered")
    wait_until(
        lambda: {one.recipient for one in attempts(relay) if one.reply.startswith("450 4.2.1")} == REFUSED,
        what="the other third being refused for now",
    )
    told = attempts(relay)
    back = [one for one in told if one.stage != "connect"]
    asked_in_vain = [one for one in told if one.at < back[0].at]
    assert len(asked_in_vain) < len(USERS)  # thirty mails, but fewer questions to a dead server
    # Politely: the one that found it back, then five or six at a time while it takes a second for each.
    assert len([one for one in back if one.at < back[0].at + 1.5]) <= 1 + 6
    assert {one.recipient for one in told if one.outcome == "delivered"} == set(USERS) - REFUSED
    for user in sorted(REFUSED):
        (kept,) = relay.json("queue", "list", "--to", f"{user}@client.test")
        assert kept["queue"]["last_reply"].startswith("450 4.2.1")
    assert client.log().count("status=sent") == len(USERS) - len(REFUSED)

    # At last it takes them all.
    refuse(client, ())
    stop_postfix(client)  # a reload leaves the open connections to processes that know the old table
    client.command("start")
    wait_until(lambda: delivered(relay) == set(USERS), seconds=60, what="all being delivered")
    show(attempts(relay))
    for user in USERS:
        assert len(client.mails("client.test", user)) == 1, user  # once each
    assert relay.json("queue", "list") == []
