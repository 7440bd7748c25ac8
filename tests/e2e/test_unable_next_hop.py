"""A next hop without 8BITMIME, SMTPUTF8 or room for the size: such mail is refused with the right code, never mangled."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import below_our_block, mail
from tests.e2e.town import Client, Town, attempts, open_town
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink

OLD = ("PIPELINING", "SIZE 3000")
"""What an old server offers."""
EIGHT_BIT = mail("eight", "caf\u00e9")
PLAIN = mail("plain", "coffee")
HEADER = "From: a@sender.test\r\nTo: u@client.test\r\nSubject: caf\u00e9\r\nMessage-ID: <h@sender.test>\r\n\r\nx\r\n".encode()


@dataclass(frozen=True)
class Place:
    """A relay with clients whose servers are old, and where its own mail goes."""

    town: Town
    smarthost: SinkThread


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Place]:
    with running_sink() as smarthost:
        relay = Relay(
            tmp_path_factory.mktemp("relay"),
            clamd=clamd.address,
            dns=dns_server.address,
            more=f'[outbound]\nsmarthost = "127.0.0.1:{smarthost.port}"\nfrom_domain = "provider.test"',
        )
        with open_town(relay, spare=10) as town:
            for client in town.spare:
                client.sink.sink.offers = OLD
            yield Place(town, smarthost)
            town.run("ledger", "check")


def speak(
    town: Town, client: Client, content: bytes, *options: str, user: str = "u", sender: str = "a@sender.test"
) -> str:
    """The first reply that refuses, or the last one."""
    with town.relay.client() as smtp:
        smtp.ehlo()
        smtp.command_encoding = "utf-8"
        for command in (
            lambda: smtp.mail(sender, list(options)),
            lambda: smtp.rcpt(client.address(user)),
            lambda: smtp.data(content),
        ):
            code, text = command()
            if code != 250:
                break
        return f"{code} {text.decode()}"


CASES: dict[str, tuple[bytes, tuple[str, ...], str, str]] = {
    "8-bit text": (EIGHT_BIT, ("BODY=8BITMIME",), "u", "554 5.6.3"),
    "internationalised header": (HEADER, ("BODY=8BITMIME", "SMTPUTF8"), "u", "550 5.6.7"),
    "internationalised recipient": (PLAIN, ("SMTPUTF8",), "caf\u00e9", "550 5.6.7"),
    "too large": (mail("large", "x" * 70 + "\r\n" + "y" * 4000), (), "u", "552 5.3.4"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_next_hop_cannot_take_is_refused_and_not_sent(place: Place, case: str) -> None:
    content, options, user, refusal = CASES[case]
    client = place.town.next_client()
    assert speak(place.town, client, content, *options, user=user).startswith(refusal)
    assert client.got == []
    assert speak(place.town, client, PLAIN, "BODY=8BITMIME").startswith("250 ")  # declared, but not needed
    (received,) = client.got
    assert below_our_block(received.content) == PLAIN
    assert "BODY" not in received.mail
    # It is known by now what this server offers: what can be told at RCPT is.
    before = len(client.sink.sink.commands)
    if "SMTPUTF8" in options:
        assert speak(place.town, client, content, *options, user=user).startswith(refusal)
        assert len(client.sink.sink.commands) == before


def test_eight_bits_that_nobody_declared_go_on_as_they_came(place: Place) -> None:
    """Whether to take them is up to the next hop: its sender would not have converted them either."""
    client = place.town.next_client()
    assert speak(place.town, client, EIGHT_BIT).startswith("250 ")
    (received,) = client.got
    assert below_our_block(received.content) == EIGHT_BIT


def test_what_it_can_take_arrives_as_it_is(place: Place) -> None:
    client = place.town.next_client()
    client.sink.sink.offers = ("PIPELINING", "8BITMIME", "SMTPUTF8")
    reply = speak(
        place.town, client, HEADER, "BODY=8BITMIME", "SMTPUTF8", user="caf\u00e9", sender="\u00fc@sender.test"
    )
    assert reply.startswith("250 "), reply
    (received,) = client.got
    assert received.content.endswith(HEADER)
    assert {"BODY=8BITMIME", "SMTPUTF8"} <= set(received.mail.split())
    assert received.rcpts == [f"RCPT TO:<caf\u00e9@{client.domain}>"]
    assert b"with UTF8SMTP id" in received.content


def test_what_waited_for_it_is_told_of(place: Place) -> None:
    """Taken while the server was away, and what it offers unknown: its sender gets a report."""
    client = place.town.next_client()
    client.sink.stop()
    assert speak(place.town, client, EIGHT_BIT, "BODY=8BITMIME").startswith("250 ")
    client.sink.start()
    unit = place.town.reached(client.address(), "bounced")
    assert attempts(unit)[-1]["reply"].startswith("554 5.6.3")
    assert client.got == []

    def reports() -> list[bytes]:
        return [one.content for one in place.smarthost.messages if client.address().encode() in one.content]

    wait_until(reports, what="the report")
    (_text, status, _original) = email.message_from_bytes(reports()[0], policy=email.policy.SMTP).iter_parts()  # type: ignore[union-attr]
    (_message, fields) = status.iter_parts()
    assert fields["Status"] == "5.6.3"
