"""`mailguard report monthly` of a running relay: its figures are those of what was sent, and it arrives by mail with its PDF."""

from __future__ import annotations

import email
import io
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage

import pytest
from pypdf import PdfReader

from tests.e2e.mails import infected, mail, spam
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

MONTH = datetime.now(UTC).strftime("%Y-%m")


COMMON = ("report", "monthly", "--tenant", "acme", "--month", MONTH)


@pytest.fixture(scope="module")
def busy(shared_relay: Relay, shared_sink: SinkThread) -> Relay:
    """A relay by which two mails were delivered to `acme`, and a virus and two mails of spam were stopped."""
    shared_relay.add_tenant("globex", "globex.test", shared_sink.port)
    wait_until(lambda: shared_relay.takes("x@globex.test"), what="the second tenant")
    assert shared_relay.send(mail("one"), ["u@client.test", "v@client.test"])[0] == 250
    assert shared_relay.send(infected("virus"), ["u@client.test"])[0] == 250
    assert shared_relay.send(spam("offer"), ["u@client.test", "w@client.test"])[0] == 550
    assert shared_relay.send(mail("theirs"), ["x@globex.test"])[0] == 250
    return shared_relay


def test_its_figures_are_those_of_the_usage(busy: Relay) -> None:
    report = busy.json(*COMMON)
    (usage,) = busy.json("usage", "--month", MONTH, "--tenant", "acme")["tenants"]
    for count in ("received", "delivered", "quarantined", "rejected", "deferred", "released"):
        assert report[count] == usage[count]["units"], count
    assert report["billed_mailboxes"] == usage["billed"]["mailboxes"] == 2
    assert report["threats"] == {"malware": 1, "spam": 2}
    assert report["attacked"] == [{"mailbox": "u@client.test", "mails": 2}, {"mailbox": "w@client.test", "mails": 1}]
    days = [day for day in report["days"] if day["received"]]
    assert sum(day["received"] for day in days) == report["received"] == 5
    assert sum(day["delivered"] for day in days) == 2
    assert sum(day["stopped"] for day in days) == report["stopped"] == 3
    assert not report["is_over"]


def test_it_is_written_as_page_and_pdf(busy: Relay) -> None:
    page, document = busy.root / "report.html", busy.root / "report.pdf"
    busy.run(*COMMON, "--html", str(page), "--pdf", str(document))
    assert "5 mails were sent to you" in page.read_text()
    text = PdfReader(document).pages[0].extract_text()
    assert "Mail report for" in text
    printed = busy.run(*COMMON).stdout
    assert "One mail carried a virus" in printed


def test_it_arrives_by_mail_and_is_none_of_the_clients_mail(busy: Relay, shared_sink: SinkThread) -> None:
    before = len(shared_sink.messages)
    done = busy.run(*COMMON, "--send", "owner@client.test", "--send", "it@client.test")
    assert done.stdout.count("Queued for") == 2
    for address in ("owner@client.test", "it@client.test"):
        wait_until(lambda address=address: busy.states(address) == ["delivered"], what=f"the report for {address}")
    got = [email.message_from_bytes(one.content, policy=policy.default) for one in shared_sink.messages[before:]]
    assert sorted(str(one["To"]) for one in got) == ["it@client.test", "owner@client.test"]
    for one in got:
        assert isinstance(one, EmailMessage)
        assert one["Auto-Submitted"] == "auto-generated"
        assert str(one["Subject"]).startswith("Mail report for ")
        body = one.get_body(("plain",))
        assert body is not None
        assert "5 mails were sent to you" in body.get_content()
        (attached,) = one.iter_attachments()
        assert attached.get_content_type() == "application/pdf"
        assert "reached you" in PdfReader(io.BytesIO(attached.get_content())).pages[0].extract_text()
    (usage,) = busy.json("usage", "--month", MONTH, "--tenant", "acme")["tenants"]
    assert usage["received"]["units"] == 5
    told = busy.run("trace", "--to", "owner@client.test").stdout
    assert "report_sent" in told
    assert "the monthly report of acme" in told
    counted = 'mailguard_delivery_attempts_total{purpose="report",result="delivered",tenant="system"}'
    wait_until(lambda: busy.metric(counted) == 2, what="the reports being counted as what they are")


def test_what_cannot_be_done_is_told_before_anything_is(busy: Relay) -> None:
    wrong = busy.run(*COMMON, "--send", "ceo@client.test", "--send", "no address", check=False)
    assert wrong.returncode == 2
    assert "--send: 'no address' is not an address" in wrong.stderr
    assert busy.states("ceo@client.test") == []
    assert busy.run(*COMMON, "--html", "/nonexistent/report.html", check=False).returncode == 2
    assert busy.run("report", "monthly", "--tenant", "nobody", "--month", MONTH, check=False).returncode == 1
    assert busy.run("report", "monthly", "--tenant", "acme", "--month", "2026-13", check=False).returncode == 2
