"""The first reply table: what becomes of one mail whose recipients' policies do not agree, before any next hop is asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import infected, mail, spam
from tests.e2e.town import Client, Town, add_profiles, open_town, story
from tests.servers.clamd import EICAR_NAME, Clamd, private_clamd
from tests.servers.relay import Relay

PROFILES = {
    "rejecting": "extends: default\nmalware: reject\nfailed_checks: {clamav: ignore}\n",
    "deferring": "extends: default\nfailed_checks: {clamav: defer}\n",
    "holding": "extends: default\nfailed_checks: {clamav: hold}\n",
    "tagging": "extends: tag-only\ntags: {subject: '[DOUBTFUL]'}\n",
    "discarding": "extends: default\nmalware: discard\nsymbols: {GTUBE: {action: discard}}\n",
}
CLIENTS = {name: ("--policy", name) for name in PROFILES} | {
    "strangers": ("--policy", "rejecting"),
}


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with private_clamd(tmp_path_factory.mktemp("clamd")) as running:
        yield running


@pytest.fixture(scope="module")
def whole_town(tmp_path_factory: pytest.TempPathFactory, scanner: Clamd, dns_server: DnsServer) -> Iterator[Town]:
    root = tmp_path_factory.mktemp("town")
    relay = Relay(
        root,
        clamd=scanner.address,
        dns=dns_server.address,
        policies=add_profiles(root / "policies", PROFILES),
        environment={"MAILGUARD_QUEUE__FIRST_RESCAN": "1"},
    )
    denied = ("tenant", "deny", "add", "strangers", "a@sender.test")
    with open_town(relay, clients=CLIENTS, commands=[denied]) as town:
        yield town


@pytest.fixture
def town(whole_town: Town, scanner: Clamd) -> Iterator[Town]:
    """The town, its scanner running. Afterwards the ledger must hold."""
    yield whole_town
    if scanner.process is None:
        scanner.start()
    whole_town.run("ledger", "check")


def to(town: Town, user: str, *names: str) -> list[str]:
    """An address of that user at each of the clients named."""
    return [town[name].address(user) for name in names]


# all reject


def test_all_reject_is_a_550_and_nothing_is_kept(town: Town) -> None:
    recipients = [town["rejecting"].address("both1"), town["rejecting"].address("both2")]
    kept = town.bodies()
    code, text = town.relay.send(spam(), recipients)
    assert code == 550
    assert text.startswith("5.7.1 ")
    for recipient in recipients:
        unit = town.unit(recipient)
        assert story(unit) == [("rejected", "spam_score")]
        assert unit["message"] in text
        assert "GTUBE" in [symbol["name"] for symbol in unit["symbols"]]
        assert unit["policy"] == "rejecting"
        assert "≥ reject at 15" in unit["explanation"]
        assert unit["events"][0]["detail"]["reply"] == f"{code} {text}".replace(f" ({unit['message']})", "")
    assert town.bodies() == kept
    assert town["rejecting"].got == []


def test_of_several_rejections_the_gravest_reason_is_told(town: Town) -> None:
    by_score, by_list = to(town, "gravest", "rejecting", "strangers")
    code, text = town.relay.send(spam(), [by_score, by_list])
    assert (code, text[:5]) == (550, "5.7.1")
    assert "Sender refused by the recipient's policy" in text
    assert story(town.unit(by_score)) == [("rejected", "spam_score")]
    assert story(town.unit(by_list)) == [("rejected", "deny_list")]


# all defer, or defer and reject


def test_all_defer_is_a_451_and_nothing_is_kept(town: Town, scanner: Clamd) -> None:
    recipients = [town["deferring"].address("later1"), town["deferring"].address("later2")]
    kept = town.bodies()
    scanner.stop()
    code, text = town.relay.send(mail(), recipients)
    assert (code, text[:5]) == (451, "4.3.0")
    for recipient in recipients:
        unit = town.unit(recipient)
        assert story(unit) == [("deferred", "scanner_failed")]
        assert unit["findings"]["checks"][0]["status"] == "temperror"
    assert town.bodies() == kept
    scanner.start()
    assert town.relay.send(mail(), recipients)[0] == 250, "the sender tries again, and the scanner is back"
    assert [unit["state"] for unit in town.units(recipients[0])] == ["deferred", "delivered"]


def test_defer_beside_reject_defers_both(town: Town, scanner: Clamd) -> None:
    deferred, rejected = to(town, "beside", "deferring", "strangers")
    kept = town.bodies()
    scanner.stop()
    code, text = town.relay.send(mail(), [deferred, rejected])
    assert (code, text[:5]) == (451, "4.3.0")
    assert story(town.unit(deferred)) == [("deferred", "scanner_failed")]
    assert story(town.unit(rejected)) == [("deferred", "deferred_for_others")]
    assert "deny list entry a@sender.test" in town.unit(rejected)["explanation"]
    assert town.bodies() == kept
    assert town["strangers"].got == []


# some accept, some reject


def test_delivered_beside_rejected_quarantines_the_rejected_one(town: Town) -> None:
    delivered, rejected = to(town, "mixed", "tagging", "rejecting")
    before = len(town["tagging"].got)
    code, _ = town.relay.send(spam("beside rejected"), [delivered, rejected])
    assert code == 250
    assert story(town.unit(delivered)) == [("forwarding", "spam_score"), ("delivered", "next_hop_accepted")]
    (arrived,) = town["tagging"].got[before:]
    assert b"\r\nSubject: [DOUBTFUL] beside rejected\r\n" in arrived.content
    kept = town.unit(rejected)
    assert story(kept) == [("quarantined", "rejected_for_others")]
    assert "no rejection, since another recipient's mail was accepted" in kept["explanation"]
    assert town["rejecting"].got == []
    town.run("quarantine", "release", kept["id"], "--why", "wanted after all")
    assert town.reached(rejected, "released")
    (released,) = town["rejecting"].got
    assert released.content.endswith(spam("beside rejected"))
    town["rejecting"].got.clear()


@pytest.mark.parametrize(
    ("accepting", "state", "reason"),
    [("deferring", "quarantined", "malware"), ("discarding", "discarded", "malware")],
    ids=["quarantined", "discarded"],
)
def test_kept_or_discarded_counts_as_accepted(town: Town, accepting: str, state: str, reason: str) -> None:
    accepted, rejected = to(town, f"beside.{state}", accepting, "rejecting")
    assert town.relay.send(infected(), [accepted, rejected])[0] == 250
    assert story(town.unit(accepted)) == [(state, reason)]
    unit = town.unit(rejected)
    assert story(unit) == [("quarantined", "rejected_for_others")]
    assert unit["malware"] == [EICAR_NAME]
    code, output = town.run("quarantine", "release", unit["id"], check=False)
    assert code == 1, "malware it is, whatever the reason it is kept for"
    assert "--force" in output


# some accept, some defer


def beside_a_scanner_that_is_away(town: Town, scanner: Clamd, user: str, message: bytes) -> tuple[Client, str, str]:
    """Send to one client whose policy goes on without a scanner, and to one whose policy does not."""
    delivered, held = to(town, user, "tagging", "deferring")
    scanner.stop()
    assert town.relay.send(message, [delivered, held])[0] == 250
    assert story(town.unit(delivered)) == [("forwarding", "scanner_failed"), ("delivered", "next_hop_accepted")]
    unit = town.unit(held)
    assert story(unit) == [("held", "deferred_for_others")]
    assert unit["queue"]["purpose"] == "rescan"
    assert unit["message"] in town.bodies()
    return town["deferring"], delivered, held


def test_deferred_beside_accepted_is_held_and_delivered_when_it_proves_clean(town: Town, scanner: Clamd) -> None:
    client, _, held = beside_a_scanner_that_is_away(town, scanner, "held.clean", mail("held and clean"))
    before = len(client.got)
    scanner.start()
    unit = town.reached(held, "delivered")
    assert story(unit) == [
        ("held", "deferred_for_others"),
        ("spooled", "clean"),
        ("delivered", "next_hop_accepted"),
    ]
    assert [check["status"] for check in unit["findings"]["checks"] if check["check"] == "clamav"] == ["ok"]
    (arrived,) = client.got[before:]
    assert arrived.content.endswith(mail("held and clean"))
    assert b"X-MailGuard-Verdict: deliver; reason=clean" in arrived.content
    assert b"CLAMAV_TEMPERROR" not in arrived.content


def test_deferred_beside_accepted_is_held_and_quarantined_when_it_proves_bad(town: Town, scanner: Clamd) -> None:
    client, _, held = beside_a_scanner_that_is_away(town, scanner, "held.bad", infected())
    before = len(client.got)
    scanner.start()
    unit = town.reached(held, "quarantined")
    assert story(unit) == [("held", "deferred_for_others"), ("quarantined", "malware")]
    assert unit["malware"] == [EICAR_NAME]
    assert client.got[before:] == []


def test_every_kind_of_decision_in_one_mail(town: Town, scanner: Clamd) -> None:
    scanner.stop()
    names = ("tagging", "discarding", "holding", "deferring", "strangers")
    tagged, discarded, held, deferred, rejected = recipients = to(town, "all", *names)
    assert town.relay.send(mail("to all of them"), recipients)[0] == 250
    assert story(town.unit(tagged))[-1] == ("delivered", "next_hop_accepted")
    # `discarding` says nothing of the scanner of its own: it defers, as the default does
    assert story(town.unit(discarded)) == [("held", "deferred_for_others")]
    assert story(town.unit(held)) == [("held", "scanner_failed")]
    assert story(town.unit(deferred)) == [("held", "deferred_for_others")]
    assert story(town.unit(rejected)) == [("quarantined", "rejected_for_others")]
    scanner.start()
    for recipient in (discarded, held, deferred):
        town.reached(recipient, "delivered")
    assert town.unit(rejected)["state"] == "quarantined"
