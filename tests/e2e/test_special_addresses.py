"""Addresses that must hear from everybody (RFC 5321 §4.5.1, RFC 2142), and the sender who has none (§4.5.5)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import infected, mail, spam
from tests.e2e.town import Town, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink


@pytest.fixture(scope="module")
def provider() -> Iterator[SinkThread]:
    """The provider's own mail server."""
    with running_sink() as made:
        yield made


@pytest.fixture(scope="module")
def whole_town(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, provider: SinkThread
) -> Iterator[Town]:
    relay = Relay(
        tmp_path_factory.mktemp("town"),
        clamd=clamd.address,
        dns=dns_server.address,
        more=f'[outbound]\npostmaster = "ops@provider.test"\nsmarthost = "127.0.0.1:{provider.port}"',
    )
    with open_town(relay, clients={"picky": ()}, spare=12, commands=[DENIAL]) as town:
        yield town


DENIAL = ("tenant", "deny", "add", "picky", "a@sender.test")


@pytest.fixture
def town(whole_town: Town, provider: SinkThread) -> Iterator[Town]:
    provider.messages.clear()
    yield whole_town
    whole_town.run("ledger", "check")


@pytest.fixture(scope="module")
def town_without_postmaster(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer
) -> Iterator[Town]:
    relay = Relay(tmp_path_factory.mktemp("nobody"), clamd=clamd.address, dns=dns_server.address)
    with open_town(relay) as town:
        yield town
        town.run("ledger", "check")


# the provider's postmaster


@pytest.mark.parametrize("address", ["postmaster", "Postmaster", "POSTMASTER"])
def test_bare_postmaster_is_the_provider(town: Town, provider: SinkThread, address: str) -> None:
    assert town.relay.send(mail(f"to {address}"), [address])[0] == 250
    (received,) = provider.messages
    assert [rcpt.split()[1] for rcpt in received.rcpts] == ["TO:<ops@provider.test>"]
    assert received.content.endswith(mail(f"to {address}"))
    unit = town.units("ops@provider.test")[-1]
    assert (unit["tenant"], unit["state"]) == ("system", "delivered")


def test_bare_postmaster_hears_even_what_looks_like_spam(town: Town, provider: SinkThread) -> None:
    assert town.relay.send(spam("is your filter working"), ["postmaster"])[0] == 250
    (received,) = provider.messages
    assert b"X-MailGuard-Verdict: tag; reason=spam_score" in received.content


def test_bare_postmaster_is_spared_malware(town: Town, provider: SinkThread) -> None:
    assert town.relay.send(infected(), ["postmaster"])[0] == 250
    assert provider.messages == []
    assert story(town.units("ops@provider.test")[-1]) == [("quarantined", "malware")]


def test_bare_postmaster_of_whom_nobody_knows_is_kept(town_without_postmaster: Town) -> None:
    town = town_without_postmaster
    assert town.relay.send(mail("is anybody there"), ["postmaster"])[0] == 250
    unit = town.unit("postmaster")
    assert (unit["tenant"], story(unit)) == ("system", [("quarantined", "no_route")])
    assert "outbound.postmaster is not set" in unit["explanation"]
    assert unit["message"] in town.bodies()
    assert "Subject: is anybody there" in town.run("quarantine", "show", unit["id"], "--raw")[1]


def test_other_addresses_without_a_domain_are_refused(town: Town) -> None:
    code, _ = town.relay.send(mail(), ["abuse"])
    assert code == 553


# a client's postmaster and abuse


@pytest.mark.parametrize("user", ["postmaster", "abuse", "PostMaster", "Abuse"])
def test_postmaster_and_abuse_hear_of_spam(town: Town, user: str) -> None:
    client = town.next_client()
    assert town.relay.send(spam("look what you sent"), [client.address(user)])[0] == 250
    (received,) = client.got
    assert b"X-MailGuard-Verdict: tag; reason=spam_score" in received.content
    unit = town.unit(client.address(user))
    assert f"but {user}@ is only tagged" in unit["explanation"]
    assert town.relay.send(spam(), [client.address()])[0] == 550, "everybody else does not"


def test_postmaster_hears_from_senders_on_the_deny_list(town: Town) -> None:
    client = town["picky"]
    assert town.relay.send(mail(), [client.address()])[0] == 550
    assert town.relay.send(mail(), [client.address("postmaster")])[0] == 250
    assert len(client.got) == 1


def test_postmaster_is_spared_malware(town: Town) -> None:
    client = town.next_client()
    assert town.relay.send(infected(), [client.address("postmaster")])[0] == 250
    assert client.got == []
    assert story(town.unit(client.address("postmaster"))) == [("quarantined", "malware")]


def test_postmaster_beside_others_gets_it_and_they_do_not(town: Town) -> None:
    client = town.next_client()
    postmaster, user = client.address("postmaster"), client.address()
    assert town.relay.send(spam(), [postmaster, user])[0] == 250
    assert story(town.unit(postmaster))[-1] == ("delivered", "next_hop_accepted")
    assert story(town.unit(user)) == [("quarantined", "rejected_for_others")]


# the null sender


def test_null_sender_comes_through_as_it_is(town: Town) -> None:
    client = town.next_client()
    bounce = mail("Undelivered mail", sender="mailer-daemon@passing.test")
    assert town.relay.send(bounce, [client.address()], "")[0] == 250
    (received,) = client.got
    assert received.mail.startswith("MAIL FROM:<> ") or received.mail == "MAIL FROM:<>"
    assert town.unit(client.address())["mail_from"] == ""


def test_null_sender_is_spooled_as_it_is(town: Town) -> None:
    client = town.next_client()
    client.sink.sink.script["mail"] = ["450 4.3.2 Not now", "250 2.1.0 Ok"]
    bounce = mail("Undelivered mail", sender="mailer-daemon@passing.test")
    assert town.relay.send(bounce, [client.address()], "")[0] == 250
    wait_until(lambda: client.got, what="the mail being delivered")
    assert client.got[0].mail.split(" SIZE")[0].split(" BODY")[0] == "MAIL FROM:<>"
