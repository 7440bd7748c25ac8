"""What others know of a sender, over SMTP: block lists, the client's name, and what became of its mail before."""

from __future__ import annotations

import re
import smtplib
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import GTUBE
from tests.e2e.mails import mail as any_mail
from tests.servers.clamd import Clamd
from tests.servers.ports import free_port, wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

LISTS = """
[[dnsbl.zones]]
zone = "bl.test"
symbol = "BL_TEST"
score = 1.0
[[dnsbl.zones]]
zone = "refuses.test"
symbol = "NEVER"
score = 20.0
[[dnsbl.zones]]
zone = "dbl.test"
kind = "domain"
symbol = "DBL_TEST"
score = 6.0
codes = ["127.0.1.2"]
"""
ZONE = {
    "5.4.8.8.in-addr.arpa": {"PTR": ["mx.known.test"]},
    "mx.known.test": {"A": ["8.8.4.5"], "TXT": ["v=spf1 ip4:8.8.4.5 -all"]},
    "known.test": {"TXT": ["v=spf1 ip4:8.8.4.0/24 -all"]},
    "6.4.8.8.bl.test": {"A": ["127.0.0.2"]},
    **{f"{n}.4.8.8.refuses.test": {"A": ["127.255.255.254"]} for n in (5, 6)},
    "listed-shop.test.dbl.test": {"A": ["127.0.1.2"]},
}


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, shared_sink: SinkThread
) -> Iterator[Relay]:
    """A relay that is told by a PROXY header who its client is, with lists to ask."""
    relay = Relay(tmp_path_factory.mktemp("lists"), clamd=clamd.address, dns=dns_server.address, more=LISTS)
    relay.environment |= {
        "MAILGUARD_SERVER__LISTEN": f'["127.0.0.1:{free_port()}"]',
        "MAILGUARD_SERVER__PROXY_LISTEN": f'["127.0.0.1:{relay.port}"]',
        "MAILGUARD_SERVER__PROXY_TRUSTED": '["127.0.0.1/32"]',
    }
    dns_server.update(ZONE)
    relay.add_tenant("acme", "client.test", shared_sink.port)
    yield relay.start()
    relay.stop()
    relay.run("ledger", "check")


def mail(subject: str, body: str = "Hi there.") -> bytes:
    """A plain mail whose author is authenticated."""
    return any_mail(subject, body, sender="a@known.test")


def send(relay: Relay, raw: bytes, recipient: str, *, client: str, helo: str = "mx.known.test") -> int:
    """Send a mail as this client; the code of the reply to it."""
    with smtplib.SMTP(timeout=60) as smtp:
        smtp.sock = socket.create_connection(("127.0.0.1", relay.port), 60)
        smtp.sock.sendall(f"PROXY TCP4 {client} 192.0.2.1 4711 25\r\n".encode())
        assert smtp.getreply()[0] == 220
        smtp.ehlo(helo)
        smtp.mail("a@known.test")
        smtp.rcpt(recipient)
        return smtp.data(raw)[0]


def trace(relay: Relay, recipient: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The last mail for an address, and its symbols with their points."""
    unit = relay.json("trace", "--to", recipient)[-1]
    return unit, {symbol["name"]: symbol["points"] for symbol in unit["symbols"]}


def test_a_client_that_is_named_and_listed_nowhere(proxied: Relay, shared_sink: SinkThread) -> None:
    assert send(proxied, mail("named"), "named@client.test", client="8.8.4.5") == 250
    unit, symbols = trace(proxied, "named@client.test")
    assert unit["action"] == "deliver"
    assert {"RDNS_CONFIRMED", "HELO_CONFIRMED"} <= set(symbols)
    assert not {"BL_TEST", "NEVER", "DBL_TEST"} & set(symbols), "a refusal is no listing"
    (received,) = [one for one in shared_sink.messages if any("<named@client.test>" in rcpt for rcpt in one.rcpts)]
    assert b"iprev=pass policy.iprev=8.8.4.5" in received.content
    assert '"event": "list_refuses_us"' in proxied.log
    assert proxied.metric('mailguard_list_lookups_total{list="refuses.test",result="refused"}') == 1


def test_a_listed_client_and_a_link_to_a_listed_domain(proxied: Relay) -> None:
    body = "Look at http://www.listed-shop.test/offer today."
    assert send(proxied, mail("listed", body), "listed@client.test", client="8.8.4.6", helo="box") == 250
    unit, symbols = trace(proxied, "listed@client.test")
    assert unit["action"] == "quarantine"
    assert symbols["BL_TEST"] == 1.0
    assert symbols["DBL_TEST"] == 6.0
    assert {"RDNS_NONE", "HELO_BARE_WORD", "DNSBL_TEMPERROR"} <= set(symbols)
    assert "listed-shop.test: dbl.test=127.0.1.2" in proxied.run("trace", "--to", "listed@client.test").stdout


def test_a_sender_gets_the_name_that_its_mail_has_earned(proxied: Relay) -> None:
    for number in range(8):
        assert send(proxied, mail(f"offer {number}", GTUBE.decode()), "spammed@client.test", client="8.8.4.5") in (
            250,
            550,
        )

    def kept() -> bool:
        with closing(sqlite3.connect(proxied.database.removeprefix("sqlite:///"))) as file:
            return any(row[0] > 7.5 for row in file.execute("SELECT kept FROM reputation"))

    wait_until(kept, seconds=60, what="the outcomes being counted")
    assert send(proxied, mail("after all that"), "after@client.test", client="8.8.4.5") == 250
    _, symbols = trace(proxied, "after@client.test")
    assert symbols["REPUTATION_BAD"] == 1.5
    told = " ".join(proxied.run("trace", "--to", "after@client.test").stdout.split())
    # The tests before this one sent a mail of each kind.
    assert re.search(
        r"of late \d+ of \d+ mails from known\.test were delivered, [89] kept as spam and none reported", told
    )
