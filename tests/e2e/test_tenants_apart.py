"""Two clients in one mail: no transaction, connection, header or report is of both."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import mail, spam
from tests.e2e.town import Town, add_profiles, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.servers.smtp_sink import Received

PROFILES = {
    "mild": "extends: tag-only\nsymbols: {GTUBE: {score: 6}}\n",
    "harsh": "extends: tag-only\nsymbols: {GTUBE: {score: 7}}\ntags: {subject: '[SPAM]'}\n",
}


@pytest.fixture(scope="module")
def whole_town(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Town]:
    root = tmp_path_factory.mktemp("town")
    policies = add_profiles(root / "policies", PROFILES)
    relay = Relay(root, clamd=clamd.address, dns=dns_server.address, policies=policies)
    with open_town(relay, clients={name: ("--policy", name) for name in PROFILES}) as town:
        shared = f"127.0.0.1:{town['mild'].sink.port}"
        town.run("tenant", "set", "harsh", "--next-hop", shared)
        town.run("tenant", "domain", "add", "mild", "mild-too.test", "--next-hop", shared)
        wait_until(lambda: town.relay.takes("u@mild-too.test"), what="the new domain being taken")
        yield town


@pytest.fixture
def next_hop(whole_town: Town) -> SinkThread:
    """The server behind both clients, as at a hoster of many."""
    sink = whole_town["mild"].sink
    sink.messages.clear()
    sink.sink.script.clear()
    return sink


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    yield whole_town
    whole_town.run("ledger", "check")


def recipients(received: Received) -> list[str]:
    """The addresses of one transaction."""
    return [re.sub(r"^RCPT TO:<([^>]*)>.*", r"\1", rcpt) for rcpt in received.rcpts]


def by_domain(sink: SinkThread) -> dict[str, Received]:
    """Each transaction by the domain of its recipients, which must be one."""
    found = {}
    for received in sink.messages:
        (domain,) = {address.rpartition("@")[2] for address in recipients(received)}
        assert domain not in found, "a domain's recipients travel together"
        found[domain] = received
    return found


def header(received: Received) -> str:
    """The header section."""
    return received.content.partition(b"\r\n\r\n")[0].decode()


def test_each_client_has_a_transaction_and_a_connection_of_its_own(town: Town, next_hop: SinkThread) -> None:
    to = ["a@mild.test", "b@harsh.test", "c@mild.test", "d@harsh.test", "e@mild-too.test"]
    assert town.relay.send(mail(), to)[0] == 250
    arrived = by_domain(next_hop)
    assert {domain: recipients(received) for domain, received in arrived.items()} == {
        "mild.test": ["a@mild.test", "c@mild.test"],
        "harsh.test": ["b@harsh.test", "d@harsh.test"],
        "mild-too.test": ["e@mild-too.test"],
    }
    assert arrived["mild.test"].connection != arrived["harsh.test"].connection
    assert arrived["mild-too.test"].connection != arrived["harsh.test"].connection


def test_kept_connection_is_used_again_for_the_same_client_only(town: Town, next_hop: SinkThread) -> None:
    for domain in ("mild.test", "harsh.test", "mild.test", "harsh.test"):
        assert town.relay.send(mail(), [f"again@{domain}"])[0] == 250
    one, other, one_again, other_again = [received.connection for received in next_hop.messages]
    assert one == one_again
    assert other == other_again
    assert one != other


def test_headers_are_those_of_the_client_and_name_no_other(town: Town, next_hop: SinkThread) -> None:
    assert town.relay.send(spam("to both"), ["x@mild.test", "y@harsh.test"])[0] == 250
    arrived = by_domain(next_hop)
    mild, harsh = header(arrived["mild.test"]), header(arrived["harsh.test"])
    scores = [re.search(r"^X-MailGuard-Score: ([\d.]+)", text, re.MULTILINE) for text in (mild, harsh)]
    assert all(scores)
    first, second = (float(found[1]) for found in scores if found)
    assert second - first == pytest.approx(1)
    assert "\r\nSubject: to both" in mild
    assert "\r\nSubject: [SPAM] to both" in harsh
    for mine, other in ((mild, "harsh"), (harsh, "mild")):
        assert other not in mine
        ours = mine.partition("\r\nFrom:")[0]
        assert " for <" not in ours, "a stamp with a recipient would show one of them to the other"
        assert "x@" not in ours
        assert "y@" not in ours


def test_stamp_names_the_recipient_when_there_is_one(town: Town, next_hop: SinkThread) -> None:
    assert town.relay.send(mail(), ["only@mild.test"])[0] == 250
    assert "for <only@mild.test>" in header(by_domain(next_hop)["mild.test"])


def test_what_waits_goes_on_apart_as_well(town: Town, next_hop: SinkThread) -> None:
    next_hop.sink.script["mail"] = ["450 4.3.2 Later"] * 2 + ["250 2.1.0 Ok"]
    to = ["late@mild.test", "late@harsh.test"]
    assert town.relay.send(spam("later"), to)[0] == 250
    for recipient in to:
        unit = town.reached(recipient, "delivered")
        assert [state for state, _ in story(unit)] == ["forwarding", "spooled", "delivered"]
    arrived = by_domain(next_hop)
    assert arrived["mild.test"].connection != arrived["harsh.test"].connection
    assert "\r\nSubject: later" in header(arrived["mild.test"])
    assert "\r\nSubject: [SPAM] later" in header(arrived["harsh.test"]), "the tag is not lost on the way"


def test_one_clients_failure_is_none_of_the_others(town: Town, next_hop: SinkThread) -> None:
    next_hop.sink.script["rcpt"] = lambda line: "451 4.2.1 Later" if "harsh.test" in line else "250 2.1.5 Ok"
    assert town.relay.send(mail(), ["fine@mild.test", "ill@harsh.test"])[0] == 250
    assert town.unit("fine@mild.test")["state"] == "delivered"
    assert town.unit("ill@harsh.test")["state"] == "spooled"
    next_hop.sink.script.clear()
    town.reached("ill@harsh.test", "delivered")


def test_usage_is_counted_for_each(town: Town, next_hop: SinkThread) -> None:
    def delivered(name: str) -> int:
        (row,) = town.json("usage", "--month", town.unit("u1@mild.test")["received_at"][:7], "--tenant", name)[
            "tenants"
        ]
        return int(row["delivered"]["units"])

    assert town.relay.send(mail(), ["u1@mild.test"])[0] == 250
    before = {name: delivered(name) for name in ("mild", "harsh")}
    assert town.relay.send(mail(), ["u2@mild.test", "u3@mild.test", "u2@harsh.test"])[0] == 250
    assert {name: delivered(name) - before[name] for name in before} == {"mild": 2, "harsh": 1}
