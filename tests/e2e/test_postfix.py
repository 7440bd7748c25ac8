"""Between two real Postfixes: one sends its users' mail by the relay, the other is the client's mail server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import GTUBE, infected, mail, spam
from tests.servers.clamd import EICAR, Clamd
from tests.servers.ports import wait_until
from tests.servers.postfix import Postfix, running_postfix, stop_postfix
from tests.servers.relay import Relay

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="POSTFIX NOT TESTED: only root can start one")

SENDER = "a@sender.test"


@dataclass(frozen=True)
class Road:
    """From the sender's Postfix by the relay to the client's."""

    sender: Postfix
    relay: Relay
    client: Postfix


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Road]:
    with ExitStack() as stack:
        client = stack.enter_context(running_postfix(hostname="mail.client.test", domains=("client.test",)))
        relay = Relay(tmp_path_factory.mktemp("relay"), clamd=clamd.address, dns=dns_server.address)
        relay.add_tenant("acme", "client.test", client.port)
        senders = {"hostname": "mail.sender.test", "domains": ("sender.test",), "users": ("a",)}
        sender = stack.enter_context(running_postfix(**senders, relay_to=relay.port))
        # What the relay sends itself reaches a@sender.test by no MX here.
        relay.environment["MAILGUARD_OUTBOUND__SMARTHOST"] = f"127.0.0.1:{sender.port}"
        stack.callback(relay.stop)
        yield Road(sender, relay.start(), client)
    relay.run("ledger", "check")


def unix(message: bytes) -> bytes:
    """As sendmail takes it."""
    return message.replace(b"\r\n", b"\n")


def test_clean_mail_goes_all_the_way(road: Road) -> None:
    road.sender.send(SENDER, ["u1@client.test"], unix(mail("all the way", "caf\u00e9\r\n.\r\n..dots")))
    wait_until(lambda: road.client.mails("client.test", "u1"), what="the mail in the client's maildir")
    (received,) = road.client.mails("client.test", "u1")
    assert b"Subject: all the way\n" in received
    assert received.endswith("caf\u00e9\n.\n..dots\n".encode())
    assert b"X-MailGuard-Verdict: deliver" in received
    assert b"by relay.test with ESMTPS" in received  # Postfix takes STARTTLS where it is offered
    assert b"spf=pass smtp.mailfrom=a@sender.test" in received
    wait_until(lambda: road.relay.states("u1@client.test") == ["delivered"], what="the delivery on record")


def test_malware_waits_in_quarantine_until_it_is_released(road: Road) -> None:
    road.sender.send(SENDER, ["u2@client.test"], unix(infected()))
    wait_until(lambda: road.relay.states("u2@client.test") == ["quarantined"], what="the mail in quarantine")
    (kept,) = road.relay.json("quarantine", "list", "--to", "u2@client.test")
    assert kept["reason"] == "malware"
    assert road.client.mails("client.test", "u2") == []
    wait_until(lambda: "status=sent" in _told(road.sender, "u2@client.test"), what="the sender's 250")
    road.relay.run("quarantine", "release", kept["id"], "--force")
    wait_until(lambda: road.client.mails("client.test", "u2"), what="the released mail in the client's maildir")
    (received,) = road.client.mails("client.test", "u2")
    assert EICAR in received
    assert received.startswith(b"Return-Path: <a@sender.test>")
    wait_until(lambda: road.relay.states("u2@client.test") == ["released"], what="the mail being released")


def test_spam_is_refused_and_the_sender_is_told_by_its_own_server(road: Road) -> None:
    before = road.sender.mails("sender.test", "a")
    road.sender.send(SENDER, ["u3@client.test"], unix(spam()))
    wait_until(lambda: len(road.sender.mails("sender.test", "a")) > len(before), what="the bounce")
    (bounce,) = [one for one in road.sender.mails("sender.test", "a") if one not in before]
    assert b"550 5.7.1" in bounce
    assert GTUBE in bounce
    assert road.client.mails("client.test", "u3") == []
    assert road.relay.states("u3@client.test") == ["rejected"]


def test_the_clients_unknown_user_passes_through_and_the_sender_bounces(road: Road) -> None:
    before = road.sender.mails("sender.test", "a")
    road.sender.send(SENDER, ["nobody@client.test"], unix(mail("to nobody")))
    wait_until(lambda: len(road.sender.mails("sender.test", "a")) > len(before), what="the bounce")
    (bounce,) = [one for one in road.sender.mails("sender.test", "a") if one not in before]
    assert b"Final-Recipient: rfc822; nobody@client.test" in bounce
    assert b"Status: 5.1.1" in bounce
    assert b"550 5.1.1 <nobody@client.test>" in bounce
    assert road.relay.states("nobody@client.test") == ["rejected"]
    assert road.relay.json("queue", "list") == []


def test_one_dead_address_among_several_does_not_hold_up_the_others(road: Road) -> None:
    before = road.sender.mails("sender.test", "a")
    road.sender.send(SENDER, ["u4@client.test", "gone@client.test", "u5@client.test"], unix(mail("to several")))
    wait_until(lambda: road.client.mails("client.test", "u4"), what="the first one's mail")
    wait_until(lambda: road.client.mails("client.test", "u5"), what="the last one's mail")
    wait_until(lambda: road.relay.states("gone@client.test") == ["bounced"], what="the relay giving up on the dead one")
    # The sender is authenticated, so it is told: by the relay, which had said 250 for all three.
    wait_until(lambda: len(road.sender.mails("sender.test", "a")) > len(before), what="the DSN")
    (notice,) = [one for one in road.sender.mails("sender.test", "a") if one not in before]
    assert b"Reporting-MTA: dns; relay.test" in notice
    assert b"Final-Recipient: rfc822; gone@client.test" in notice
    assert b"Status: 5.1.1" in notice


def test_mail_waits_while_the_clients_server_is_down(road: Road) -> None:
    stop_postfix(road.client)
    road.sender.send(SENDER, ["u6@client.test"], unix(mail("patience")))
    wait_until(lambda: road.relay.states("u6@client.test") == ["spooled"], what="the mail in the queue")
    wait_until(lambda: "status=sent" in _told(road.sender, "u6@client.test"), what="the sender's 250")
    road.client.command("start")
    wait_until(lambda: road.client.mails("client.test", "u6"), what="the mail in the client's maildir")
    wait_until(lambda: road.relay.states("u6@client.test") == ["delivered"], what="the mail being delivered")


def _told(sender: Postfix, recipient: str) -> str:
    """The last line of the sender's log about a delivery to a recipient."""
    return next((line for line in reversed(sender.log().splitlines()) if f"to=<{recipient}>" in line), "")
