"""Mail that waits for a scanner: kept meanwhile, judged again by itself, and then what it would have been at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import infected, mail, spam
from tests.e2e.town import Client, Town, add_profiles, open_town, story
from tests.servers.clamd import EICAR_NAME, Clamd, private_clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay

PROFILES = {
    "holding": "extends: default\nfailed_checks: {clamav: hold}\nthresholds: [{score: 5, action: quarantine}]\n",
    "holding-tags": (
        "extends: default\nfailed_checks: {clamav: hold}\n"
        "thresholds: [{score: 5, action: tag}]\ntags: {subject: '[DOUBTFUL]'}\n"
    ),
    "holding-rejects": "extends: default\nfailed_checks: {clamav: hold}\nmalware: reject\n",
    "holding-drops": "extends: default\nfailed_checks: {clamav: hold}\nmalware: discard\n",
}


def letter() -> bytes:
    """Honest mail that reads like it: a greeting of two words from an unverified sender scores around five, where these profiles act."""
    return mail("Minutes of Thursday", "Hi Tom, thanks for the notes. See you at the meeting.")


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
        environment={"MAILGUARD_QUEUE__FIRST_RESCAN": "0.5"},
    )
    with open_town(relay, clients={name: ("--policy", name) for name in PROFILES}) as town:
        yield town


@pytest.fixture
def town(whole_town: Town, scanner: Clamd) -> Iterator[Town]:
    """The town while its scanner is away."""
    scanner.stop()
    yield whole_town
    if scanner.process is None:
        scanner.start()
    whole_town.run("ledger", "check")


def held(town: Town, profile: str, user: str, message: bytes) -> tuple[Client, str]:
    """Send a message that is held; the client it is for, and the recipient."""
    client = town[profile]
    client.got.clear()
    recipient = client.address(user)
    assert town.relay.send(message, [recipient])[0] == 250
    unit = town.unit(recipient)
    assert story(unit) == [("held", "scanner_failed")]
    assert unit["message"] in town.bodies()
    assert client.got == []
    return client, recipient


def test_clean_mail_is_delivered_once_the_scanner_is_back(town: Town, scanner: Clamd) -> None:
    client, recipient = held(town, "holding", "clean", letter())
    assert "clamav" in [row["check"] for row in town.unit(recipient)["findings"]["checks"] if row["status"] != "ok"]
    scanner.start()
    unit = town.reached(recipient, "delivered")
    assert story(unit)[1:] == [("spooled", "clean"), ("delivered", "next_hop_accepted")]
    assert unit["explanation"].startswith("score ")
    (received,) = client.got
    assert received.content.endswith(letter())


def test_it_is_held_for_as_long_as_the_scanner_is_away(town: Town, scanner: Clamd) -> None:
    client, recipient = held(town, "holding", "patient", letter())
    wait_until(lambda: town.unit(recipient)["queue"]["attempts"] >= 2, what="the second scan failing")
    unit = town.unit(recipient)
    assert unit["state"] == "held"
    assert "clamav" in unit["queue"]["last_reply"]
    assert client.got == []
    scanner.start()
    town.reached(recipient, "delivered")
    assert len(client.got) == 1


@pytest.mark.parametrize(
    ("profile", "state", "reason"),
    [
        ("holding", "quarantined", "malware"),
        ("holding-rejects", "quarantined", "malware"),
        ("holding-drops", "discarded", "malware"),
    ],
)
def test_malware_is_dealt_with_as_the_profile_says_but_never_rejected(
    town: Town, scanner: Clamd, profile: str, state: str, reason: str
) -> None:
    """The sender heard 250: a rejection now would be backscatter."""
    client, recipient = held(town, profile, "infected", infected())
    scanner.start()
    unit = town.reached(recipient, state)
    assert story(unit)[-1] == (state, reason)
    assert unit["malware"] == [EICAR_NAME]
    assert client.got == []
    if state == "quarantined":
        assert town.run("quarantine", "release", unit["id"], check=False)[0] == 1


def test_spam_is_quarantined_once_it_was_scanned(town: Town, scanner: Clamd) -> None:
    """It could have been quarantined at once; but then somebody would have released it unscanned."""
    _, recipient = held(town, "holding", "spam", spam())
    scanner.start()
    assert story(town.reached(recipient, "quarantined"))[-1] == ("quarantined", "spam_score")


def test_tag_of_the_new_verdict_is_put_on(town: Town, scanner: Clamd) -> None:
    client, recipient = held(town, "holding-tags", "tagged", spam("an offer"))
    scanner.start()
    town.reached(recipient, "delivered")
    (received,) = client.got
    assert b"\r\nSubject: [DOUBTFUL] an offer\r\n" in received.content
    assert b"X-MailGuard-Verdict: tag; reason=spam_score" in received.content


def test_recipients_of_one_mail_are_held_and_delivered_together(town: Town, scanner: Clamd) -> None:
    client = town["holding"]
    client.got.clear()
    recipients = [client.address("both1"), client.address("both2")]
    assert town.relay.send(letter(), recipients)[0] == 250
    scanner.start()
    for recipient in recipients:
        town.reached(recipient, "delivered")
    (received,) = client.got
    assert len(received.rcpts) == 2


def test_bare_postmaster_is_held_like_others_and_kept_then(town: Town, scanner: Clamd) -> None:
    """Whom nobody configured has no next hop when the scan is done either."""
    assert town.relay.send(letter(), ["postmaster", town["holding"].address("beside")])[0] == 250
    assert story(town.unit("postmaster")) == [("held", "deferred_for_others")]
    scanner.start()
    assert story(town.reached("postmaster", "quarantined"))[-1] == ("quarantined", "no_route")


def test_admin_can_release_it_unscanned_by_force_only(town: Town) -> None:
    client, recipient = held(town, "holding", "urgent", letter())
    unit = town.unit(recipient)
    code, output = town.run("quarantine", "release", unit["id"], check=False)
    assert code == 1
    assert "--force" in output
    town.run("quarantine", "release", unit["id"], "--force", "--why", "cannot wait", "--actor", "ops")
    unit = town.reached(recipient, "released")
    assert ("spooled", "released_by_admin") in story(unit)
    assert len(client.got) == 1


def test_what_no_scanner_saw_in_time_goes_to_quarantine(town: Town) -> None:
    client, recipient = held(town, "holding", "forgotten", letter())
    with sqlite3.connect(town.relay.root / "mailguard.db", timeout=10) as connection:
        connection.execute("UPDATE queue SET expires_at = 1 WHERE unit = ?", (town.unit(recipient)["id"],))
    connection.close()
    unit = town.reached(recipient, "quarantined")
    assert story(unit)[-1] == ("quarantined", "scanner_failed")
    assert client.got == []


def test_mail_that_was_held_survives_a_restart(town: Town, scanner: Clamd) -> None:
    client, recipient = held(town, "holding", "restart", letter())
    town.relay.stop()
    scanner.start()
    town.relay.start()
    town.reached(recipient, "delivered")
    assert len(client.got) == 1
