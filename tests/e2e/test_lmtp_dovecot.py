"""A real Dovecot as the next hop, by LMTP (RFC 2033) over TCP and over a socket: each recipient has a reply of its own."""

from __future__ import annotations

import email
import email.policy
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import below_our_block, mail
from tests.e2e.town import Town, attempts, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.dovecot import Dovecot, installed, running_dovecot
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="DOVECOT NOT TESTED: only root can start one")

KINDS = ("tcp", "socket")
USERS = ("joe", "ann", "busy", "full")
NO_ROOM = "552 5.2.2"
UNKNOWN = "550 5.1.1"


@dataclass(frozen=True)
class Place:
    """A relay with a client for each kind of connection to one Dovecot; `smarthost` takes the relay's own mail."""

    town: Town
    server: Dovecot
    smarthost: SinkThread

    def address(self, user: str, kind: str) -> str:
        return f"{user}@{kind}.test"

    def send(self, content: bytes, kind: str, *users: str) -> tuple[int, str]:
        return self.town.relay.send(content, [self.address(user, kind) for user in users])

    def mails(self, user: str, subject: str) -> list[bytes]:
        """What is in a mailbox under a subject, from our block on, with the line ends of the wire."""
        return [
            raw.replace(b"\n", b"\r\n").partition(b"; ")[2].partition(b"\r\n")[2]
            for raw in self.server.mails(user)
            if f"Subject: {subject}\n".encode() in raw
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Place]:
    if not installed():
        pytest.fail("Dovecot's LMTP server is not installed: `make test` installs what the tests need")
    dns_server.update({"passing.test": {"TXT": ["v=spf1 ip4:127.0.0.0/8 -all"]}})
    with running_dovecot(USERS, full=["full"]) as server, running_sink() as smarthost:
        relay = Relay(
            tmp_path_factory.mktemp("relay"),
            clamd=clamd.address,
            dns=dns_server.address,
            more=f'[outbound]\nsmarthost = "127.0.0.1:{smarthost.port}"\nfrom_domain = "provider.test"',
        )
        hops = {"tcp": f"lmtp://127.0.0.1:{server.port}", "socket": f"lmtp:{server.path}"}
        commands = [("tenant", "add", kind, "--domain", f"{kind}.test", "--next-hop", hops[kind]) for kind in KINDS]
        with open_town(relay, commands=commands) as town:
            yield Place(town, server, smarthost)
        relay.run("ledger", "check")


@pytest.mark.parametrize("kind", KINDS)
def test_each_recipient_has_its_own_outcome(place: Place, kind: str) -> None:
    """Two have it, one is unknown (refused at RCPT), one is full (refused after the data): the sender hears 250, and of two failures."""
    before = len(place.smarthost.messages)
    code, text = place.send(mail(kind, sender="a@sender.test"), kind, "joe", "nobody", "full", "ann")
    assert code == 250, text
    for user in ("joe", "ann"):
        unit = place.town.reached(place.address(user, kind), "delivered")
        (attempt,) = attempts(unit)
        assert attempt["reply"].startswith(f"250 2.0.0 <{user}@{kind}.test>"), attempt
        (received,) = place.mails(user, kind)
        assert below_our_block(received) == mail(kind, sender="a@sender.test")
    for user, reply in (("nobody", UNKNOWN), ("full", NO_ROOM)):
        unit = place.town.reached(place.address(user, kind), "bounced")
        assert attempts(unit)[0]["reply"].startswith(reply)
        assert [state for state, _ in story(unit)] == ["forwarding", "spooled", "bounced"]
    assert place.mails("full", kind) == []

    def told() -> set[tuple[str, str]]:
        found = set()
        for report in place.smarthost.messages[before:]:
            parsed = email.message_from_bytes(report.content, policy=email.policy.SMTP)
            (_text, status, _original) = parsed.iter_parts()  # type: ignore[union-attr]
            for fields in list(status.iter_parts())[1:]:
                found.add((fields["Final-Recipient"].partition(";")[2].strip(), fields["Status"]))
        return found

    wait_until(lambda: len(told()) == 2, what="the sender being told of both failures")
    assert told() == {(f"nobody@{kind}.test", "5.1.1"), (f"full@{kind}.test", "5.2.2")}
    assert all(report.rcpts == ["RCPT TO:<a@sender.test>"] for report in place.smarthost.messages[before:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("user", "reply"), [("nobody", UNKNOWN), ("full", NO_ROOM)])
def test_a_refusal_of_the_only_recipient_is_the_senders_reply(place: Place, kind: str, user: str, reply: str) -> None:
    subject = f"{user} {kind} alone"
    code, text = place.send(mail(subject), kind, user)
    assert f"{code} {text}".startswith(reply)
    units = place.town.units(place.address(user, kind))
    assert units[-1]["state"] == "rejected"
    assert place.mails("full", subject) == []


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_refused_for_now_waits_alone(place: Place, kind: str) -> None:
    """One mailbox is broken for a while: its mail is queued, and the others get theirs once."""
    subject = f"{kind} and one busy"
    broken = place.server.root / "mail" / "busy"
    broken.rename(broken.with_name("moved"))
    broken.write_text("no directory")
    code, text = place.send(mail(subject), kind, "busy", "joe")
    assert code == 250, text
    unit = place.town.reached(place.address("busy", kind), "spooled")
    assert attempts(unit)[0]["reply"].startswith("451 4."), attempts(unit)
    wait_until(lambda: len(attempts(place.town.unit(place.address("busy", kind)))) >= 2, what="another attempt")
    broken.unlink()
    broken.with_name("moved").rename(broken)
    place.town.reached(place.address("busy", kind), "delivered")
    assert [len(place.mails(user, subject)) for user in ("busy", "joe")] == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_message_goes_in_one_chunk_byte_for_byte(place: Place, kind: str) -> None:
    subject = f"{kind} large"
    large = mail(subject, "".join(f"..{number}\r\n.\r\n" for number in range(40_000)))
    with place.town.relay.client() as smtp:
        assert smtp.sendmail("a@sender.test", [place.address("joe", kind), place.address("ann", kind)], large) == {}
    for user in ("joe", "ann"):
        wait_until(lambda user=user: place.mails(user, subject), what="it arriving")  # type: ignore[misc]
        (received,) = place.mails(user, subject)
        assert below_our_block(received) == large


def test_the_address_goes_on_with_its_plus(place: Place) -> None:
    code, text = place.send(mail("plus"), "tcp", "joe+news")
    assert code == 250, text
    assert len(place.mails("joe", "plus")) == 1
