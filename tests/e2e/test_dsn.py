"""The DSN rule: a failure after our 250 is told to senders who are who they say, of all others the mail is kept; no backscatter."""

from __future__ import annotations

import base64
import email
import email.policy
import sqlite3
from collections.abc import Iterator
from email.message import EmailMessage

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.dns_server import DnsServer
from tests.e2e.mails import ORDINARY, mail
from tests.e2e.town import Client, Town, attempts, open_town, story
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink
from tests.servers.smtp_sink import Received

ZONE = {
    "passing.test": {"TXT": ["v=spf1 ip4:127.0.0.0/8 -all"]},
    "failing.test": {"TXT": ["v=spf1 -all"]},
    "neutral.test": {"TXT": ["v=spf1 ?all"]},
    "silent.test": {"A": ["192.0.2.1"]},
    "signed.test": {"TXT": ["v=spf1 ?all"]},
}

HELLO = mail("minutes", ORDINARY, sender="a@passing.test")
"""A mail whose author's domain publishes no DMARC policy, whoever the sender."""


@pytest.fixture(scope="module")
def smarthost() -> Iterator[SinkThread]:
    """Takes all that the relay itself sends."""
    with running_sink() as made:
        yield made


@pytest.fixture(scope="module")
def whole_town(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, smarthost: SinkThread
) -> Iterator[Town]:
    dns_server.update(ZONE)
    relay = Relay(
        tmp_path_factory.mktemp("town"),
        clamd=clamd.address,
        dns=dns_server.address,
        more=f'[outbound]\nsmarthost = "127.0.0.1:{smarthost.port}"\nfrom_domain = "provider.test"',
    )
    with open_town(relay, clients={"soft": ("--soft-bounce",)}, spare=30) as town:
        yield town


@pytest.fixture
def town(whole_town: Town, smarthost: SinkThread) -> Iterator[Town]:
    smarthost.messages.clear()
    yield whole_town
    whole_town.run("ledger", "check")


def refusing(town: Town, reply: str = "550 5.1.1 No such user here") -> tuple[Client, str, str]:
    """A client that takes mail for `good` and refuses it for `bad`, so that the sender hears 250; and both addresses."""
    client = town.next_client()
    client.sink.sink.script["rcpt"] = lambda line: reply if "<bad@" in line else "250 2.1.5 Ok"
    return client, client.address("good"), client.address("bad")


def reports(smarthost: SinkThread, about: str) -> list[Received]:
    """The reports that tell of an address."""
    return [received for received in smarthost.messages if about.encode() in received.content]


def parsed(report: Received) -> EmailMessage:
    """A report as a message."""
    message = email.message_from_bytes(report.content, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


# told


def test_authenticated_sender_gets_a_report_of_rfc_3464(town: Town, smarthost: SinkThread) -> None:
    client, good, bad = refusing(town)
    message = mail("to be reported", sender="boss@passing.test")
    assert town.relay.send(message, [good, bad], "boss@passing.test")[0] == 250
    unit = town.reached(bad, "bounced")
    wait_until(lambda: reports(smarthost, bad), what="the report arriving")
    (report,) = reports(smarthost, bad)
    assert report.mail.startswith("MAIL FROM:<>"), "RFC 5321 §4.5.5: nothing must answer it"
    assert [rcpt.split()[1] for rcpt in report.rcpts] == ["TO:<boss@passing.test>"]
    dsn = parsed(report)
    assert dsn.get_content_type() == "multipart/report"
    assert dsn.get_param("report-type") == "delivery-status"
    assert dsn["To"] == "boss@passing.test"
    assert dsn["From"] == "Mail Delivery System <MAILER-DAEMON@provider.test>"
    assert dsn["Auto-Submitted"] == "auto-replied"
    text, status, original = dsn.iter_parts()
    assert "550 5.1.1 No such user here" in text.get_content()
    of_message, of_recipient = status.get_payload()
    assert of_message["Reporting-MTA"] == "dns; relay.test"
    assert of_recipient["Final-Recipient"] == f"rfc822; {bad}"
    assert of_recipient["Action"] == "failed"
    assert of_recipient["Status"] == "5.1.1"
    assert of_recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user here"
    assert original.get_content_type() == "text/rfc822-headers"
    assert "Subject: to be reported" in original.get_payload()
    assert "Hi there." not in original.get_payload()
    assert good not in report.content.decode(), "what went well is no failure"
    assert story(unit) == [
        ("forwarding", "clean"),
        ("spooled", "next_hop_refused"),
        ("bounced", "next_hop_refused"),
    ]
    dsn_id = unit["events"][-1]["detail"]["dsn"]
    # The smarthost has it a moment before the ledger does.
    wait_until(
        lambda: town.json("trace", "--id", dsn_id)[0]["state"] == "delivered", what="its delivery being recorded"
    )
    (told,) = town.json("trace", "--id", dsn_id)
    assert (told["tenant"], told["state"], told["mail_from"]) == ("system", "delivered", "")
    assert len(client.got) == 1


def test_one_report_tells_of_all_that_failed_at_a_client(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    client.sink.sink.script["rcpt"] = lambda line: "250 2.1.5 Ok" if "<good@" in line else "550 5.1.1 Unknown"
    recipients = [client.address(user) for user in ("bad1", "good", "bad2")]
    assert town.relay.send(HELLO, recipients, "a@passing.test")[0] == 250
    for recipient in recipients[::2]:
        town.reached(recipient, "bounced")
    wait_until(lambda: reports(smarthost, recipients[0]), what="the report arriving")
    (report,) = reports(smarthost, client.domain)
    _, status, _ = parsed(report).iter_parts()
    assert [part["Final-Recipient"] for part in status.get_payload()[1:]] == [
        f"rfc822; {one}" for one in recipients[::2]
    ]


def test_report_names_no_other_tenant(town: Town, smarthost: SinkThread) -> None:
    one, other = town.next_client(), town.next_client()
    for client in (one, other):
        client.sink.sink.script["rcpt"] = f"550 5.1.1 Unknown at {client.name}"
    assert town.relay.send(HELLO, [one.address(), other.address()], "a@passing.test")[0] == 250
    for mine, theirs in ((one, other), (other, one)):
        town.reached(mine.address(), "bounced")
        wait_until(lambda client=mine: reports(smarthost, client.domain), what="the report arriving")
        (report,) = reports(smarthost, mine.domain)
        assert theirs.domain.encode() not in report.content
        assert theirs.name.encode() not in report.content


def test_aligned_signature_authenticates_as_well(town: Town, smarthost: SinkThread, dns_server: DnsServer) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    record = f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"
    dns_server.update({"sel._domainkey.signed.test": {"TXT": [record]}})
    message = mail("signed", sender="a@signed.test")
    signature = dkim.sign(message, b"sel", b"signed.test", base64.b64encode(raw), signature_algorithm=b"ed25519-sha256")
    _, good, bad = refusing(town)
    assert town.relay.send(signature + message, [good, bad], "a@bounces.signed.test")[0] == 250
    town.reached(bad, "bounced")
    wait_until(lambda: reports(smarthost, bad), what="the report arriving")


def test_expiry_is_told_too(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    client.sink.sink.script["rcpt"] = "450 4.2.1 Try again later"
    assert town.relay.send(HELLO, [client.address()], "a@passing.test")[0] == 250
    unit = town.unit(client.address())
    expire(town, unit["id"])
    unit = town.reached(client.address(), "bounced")
    assert story(unit)[-1] == ("bounced", "queue_expired")
    wait_until(lambda: reports(smarthost, client.address()), what="the report arriving")
    (report,) = reports(smarthost, client.address())
    _, status, _ = parsed(report).iter_parts()
    assert status.get_payload()[1]["Status"] == "5.4.7"


def expire(town: Town, unit: str) -> None:
    """Let the time of a waiting mail be over."""
    with sqlite3.connect(town.relay.root / "mailguard.db", timeout=10) as connection:
        connection.execute("UPDATE queue SET expires_at = 1 WHERE unit = ?", (unit,))
    connection.close()


# not told


@pytest.mark.parametrize(
    "sender", ["a@failing.test", "a@neutral.test", "a@silent.test", "a@nowhere.test", "a@client.test"]
)
def test_unauthenticated_sender_is_not_told_and_the_mail_is_kept(
    town: Town, smarthost: SinkThread, sender: str
) -> None:
    client, good, bad = refusing(town)
    before = town.relay.metric('mailguard_dsns_total{result="suppressed"}')
    assert town.relay.send(mail("minutes", ORDINARY, sender=sender), [good, bad], sender)[0] == 250
    unit = town.reached(bad, "undeliverable")
    assert story(unit)[-1] == ("undeliverable", "sender_unauthenticated")
    assert unit["events"][-1]["detail"]["failure"] == "next_hop_refused"
    assert unit["body_kept"]
    assert unit["message"] in town.bodies()
    assert smarthost.messages == []
    assert town.logged("undeliverable", unit=unit["id"], level="warning")
    assert town.relay.metric('mailguard_dsns_total{result="suppressed"}') == before + 1
    (kept,) = town.json("quarantine", "list", "--recipient", bad)
    assert (kept["id"], kept["state"]) == (unit["id"], "undeliverable")
    client.sink.sink.script.pop("rcpt")
    town.run("quarantine", "release", unit["id"])
    town.reached(bad, "released")
    assert client.got[-1].content.endswith(mail("minutes", ORDINARY, sender=sender))


def test_null_sender_is_never_told(town: Town, smarthost: SinkThread) -> None:
    _, good, bad = refusing(town)
    assert town.relay.send(mail("a bounce of theirs", sender="mailer-daemon@passing.test"), [good, bad], "")[0] == 250
    unit = town.reached(bad, "undeliverable")
    assert unit["mail_from"] == ""
    assert smarthost.messages == []


def test_helo_that_passes_spf_does_not_vouch_for_a_sender(town: Town, smarthost: SinkThread) -> None:
    _, good, bad = refusing(town)
    with town.relay.client() as smtp:
        smtp.ehlo("passing.test")
        smtp.mail("a@failing.test")
        for recipient in (good, bad):
            smtp.rcpt(recipient)
        assert smtp.data(HELLO)[0] == 250
    town.reached(bad, "undeliverable")
    assert smarthost.messages == []


def test_failed_release_returns_to_quarantine_and_nobody_is_told(town: Town, smarthost: SinkThread) -> None:
    client, good, bad = refusing(town)
    assert town.relay.send(HELLO, [good, bad], "")[0] == 250
    unit = town.reached(bad, "undeliverable")
    town.run("quarantine", "release", unit["id"], "--why", "try once more", "--actor", "ops")
    unit = town.reached(bad, "quarantined")
    assert story(unit)[-2:] == [("spooled", "released_by_admin"), ("quarantined", "next_hop_refused")]
    assert attempts(unit)[-1]["purpose"] == "release"
    assert unit["message"] in town.bodies()
    client.sink.sink.script.pop("rcpt")
    town.run("quarantine", "release", unit["id"])
    town.reached(bad, "released")
    assert smarthost.messages == []


def test_failed_release_of_an_authenticated_senders_mail_is_not_told_either(town: Town, smarthost: SinkThread) -> None:
    client = town.next_client()
    denied = client.address()
    town.run("tenant", "deny", "add", client.name, "a@passing.test")
    other = town.next_client()
    wait_until(
        lambda: town.relay.send(HELLO, [client.address("probe")], "a@passing.test")[0] == 550, what="the deny entry"
    )
    assert town.relay.send(HELLO, [denied, other.address()], "a@passing.test")[0] == 250
    unit = town.unit(denied)
    assert story(unit) == [("quarantined", "rejected_for_others")]
    client.sink.sink.script["content"] = "554 5.6.0 Not wanted"
    town.run("quarantine", "release", unit["id"])
    wait_until(lambda: len(story(town.unit(denied))) == 3, what="the release failing")
    assert story(town.unit(denied))[-1] == ("quarantined", "next_hop_refused")
    assert smarthost.messages == []


def test_report_that_fails_is_the_end(town: Town, smarthost: SinkThread) -> None:
    _, good, bad = refusing(town)
    smarthost.sink.script["rcpt"] = "550 5.1.1 No such sender either"
    try:
        assert town.relay.send(HELLO, [good, bad], "a@passing.test")[0] == 250
        unit = town.reached(bad, "bounced")
        dsn = unit["events"][-1]["detail"]["dsn"]

        def kept() -> bool:
            (report,) = town.json("trace", "--id", dsn)
            return bool(report["state"] == "undeliverable")

        wait_until(kept, what="the report being given up")
    finally:
        smarthost.sink.script.pop("rcpt")
    assert smarthost.messages == []
    (report,) = town.json("trace", "--id", dsn)
    assert (report["tenant"], report["reason"]) == ("system", "next_hop_refused")


def test_soft_bounce_that_expires_follows_the_rule(town: Town, smarthost: SinkThread) -> None:
    client = town["soft"]
    client.sink.sink.script["rcpt"] = "550 5.1.1 Not set up"
    assert town.relay.send(HELLO, [client.address()], "a@failing.test")[0] == 250
    unit = town.unit(client.address())
    assert story(unit)[-1] == ("spooled", "next_hop_refused")
    expire(town, unit["id"])
    unit = town.reached(client.address(), "undeliverable")
    assert unit["events"][-1]["detail"]["failure"] in ("queue_expired", "next_hop_refused")
    assert smarthost.messages == []
