"""Mail that goes round in circles: noticed by its Received fields, and prevented where next hops are set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import mail
from tests.e2e.town import Town, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.relay import Relay

LOOP = (554, "5.4.6")


@pytest.fixture(scope="module")
def whole_town(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Town]:
    relay = Relay(tmp_path_factory.mktemp("town"), clamd=clamd.address, dns=dns_server.address)
    with open_town(relay, spare=12) as town:
        yield town


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    yield whole_town
    whole_town.run("ledger", "check")


def hops(count: int) -> bytes:
    """A mail that was passed on so many times."""
    field = b"Received: from a.test by b.test with ESMTP id 1; Tue, 01 Apr 2025 10:00:00 +0000\r\n"
    return field * count + mail()


def sent(town: Town, message: bytes, *recipients: str) -> tuple[int, str]:
    """The code and enhanced code that the sender hears."""
    code, text = town.relay.send(message, recipients)
    return code, text[:5]


def test_fifty_hops_are_many_but_no_loop(town: Town) -> None:
    client = town.next_client()
    assert sent(town, hops(50), client.address()) == (250, "2.0.0")
    assert len(client.got) == 1


def test_more_than_fifty_hops_are_a_loop(town: Town) -> None:
    client = town.next_client()
    assert sent(town, hops(51), client.address()) == LOOP
    assert client.got == []
    unit = town.unit(client.address())
    assert story(unit) == [("rejected", "mail_loop")]
    assert "51 Received fields, 50 at most" in unit["explanation"]


def test_mail_that_comes_back_for_the_same_recipient_is_a_loop(town: Town) -> None:
    client, other = town.next_client(), town.next_client()
    assert sent(town, mail(), client.address()) == (250, "2.0.0")
    (forwarded,) = client.got
    assert b"for <" + client.address().encode() + b">" in forwarded.content
    assert sent(town, forwarded.content, client.address()) == LOOP
    assert sent(town, forwarded.content, client.address().upper()) == LOOP
    assert sent(town, forwarded.content, other.address()) == (250, "2.0.0"), "forwarded to somebody else it may be"
    assert len(client.got) == 1


def test_loop_beside_an_honest_recipient_is_kept(town: Town) -> None:
    client, other = town.next_client(), town.next_client()
    sent(town, mail(), client.address())
    (forwarded,) = client.got
    assert sent(town, forwarded.content, client.address("w"), other.address()) == (250, "2.0.0")
    assert sent(town, forwarded.content, client.address(), other.address("v")) == (250, "2.0.0")
    assert story(town.units(client.address())[-1]) == [("quarantined", "rejected_for_others")]
    assert town.unit(other.address("v"))["state"] == "delivered"
    assert len(client.got) == 2


def test_stamp_of_another_host_is_none_of_ours(town: Town) -> None:
    client = town.next_client()
    stamp = f"Received: from a.test by mx.other.test with ESMTP id 1\r\n\tfor <{client.address()}>; now\r\n".encode()
    assert sent(town, stamp + mail(), client.address()) == (250, "2.0.0")


def test_mail_to_many_that_keeps_coming_back_is_stopped(town: Town) -> None:
    """Our stamp names nobody when there are several recipients; a few rounds tell all the same."""
    client = town.next_client()
    recipients = [client.address("one"), client.address("two")]
    message = mail()
    rounds = 0
    while rounds < 20 and sent(town, message, *recipients) != LOOP:
        message = client.got[-1].content
        rounds += 1
    assert rounds == 10


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_own_listener_cannot_be_a_next_hop(town: Town, host: str) -> None:
    port = town.relay.port
    for command in (
        ("tenant", "add", "loop", "--domain", "loop.test", "--next-hop", f"{host}:{port}"),
        ("tenant", "set", town.spare[0].name, "--next-hop", f"{host}:{port}"),
        ("tenant", "domain", "add", town.spare[0].name, "more.test", "--next-hop", f"{host}:{port}"),
    ):
        code, output = town.run(*command, check=False)
        assert code == 2, output
        assert "own listener" in output or "would loop" in output, output
