"""The report as mail: what it says of itself, that it is well formed, and that all of it or nothing is put into the queue."""

from __future__ import annotations

import email
from email import policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mailguard.billing.report.facts import Facts
from mailguard.billing.report.mail import Outgoing, Sender, compose, enqueue
from mailguard.core.address import is_mailbox
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store import schema
from tests.ledger_of import World
from tests.unit.billing.report.samples import EVIL, HOSTILE, MONTH

NOW = 1_795_500_000_000
SENDER = Sender("Nordlicht Mail Services GmbH", "postmaster@mx.provider.test", "mx.provider.test", "us@provider.test")
PDF = b"%PDF-1.7\r\n\x00\xff.\r\n.\r\n"


def composed(facts: Facts = MONTH, *, to: str = "owner@client.test", sender: Sender = SENDER) -> Outgoing:
    return compose(facts, PDF, to=to, sender=sender, now=NOW, retention=1_000)


def parsed(outgoing: Outgoing) -> EmailMessage:
    found = email.message_from_bytes(outgoing.content, policy=policy.default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def test_it_has_the_words_and_the_pdf() -> None:
    outgoing = composed()
    mail = parsed(outgoing)
    assert mail["From"] == "Nordlicht Mail Services GmbH <postmaster@mx.provider.test>"
    assert mail["To"] == "owner@client.test"
    assert mail["Reply-To"] == "us@provider.test"
    assert mail["Subject"] == "Mail report for November 2026: moeller"
    assert mail["Date"] == "Tue, 24 Nov 2026 06:00:00 +0000"
    assert mail["Message-ID"] == outgoing.message.header_message_id
    assert mail["Auto-Submitted"] == "auto-generated"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "38 mails carried a virus." in body.get_content()
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "mail-report-2026-11.pdf"
    assert attached.get_content() == PDF


def test_it_goes_as_mail_of_our_own() -> None:
    outgoing = composed()
    assert outgoing.unit.recipient.tenant == SYSTEM_TENANT
    assert outgoing.unit.recipient.domain == "client.test"
    assert outgoing.message.mail_from == "postmaster@mx.provider.test"
    assert outgoing.message.size == len(outgoing.content)
    assert not outgoing.message.options.smtputf8
    assert not outgoing.message.options.eight_bit


def test_an_address_beyond_ascii_needs_smtputf8() -> None:
    outgoing = composed(to="büro@möller.example")
    assert outgoing.message.options.smtputf8
    assert outgoing.unit.recipient.domain == "xn--mller-jua.example"
    assert "To: büro@möller.example" in outgoing.content.decode()


def test_hostile_names_end_no_header() -> None:
    outgoing = composed(HOSTILE, sender=Sender(EVIL + "\r\nBcc: x@y", "p@x.test", "x.test"))
    mail = parsed(outgoing)
    assert mail["Bcc"] is None
    assert "<script>alert(1)</script>" in mail["Subject"]
    for line in outgoing.content.split(b"\r\n"):
        assert len(line) <= 998
        assert b"\n" not in line
        assert b"\r" not in line


@settings(deadline=None, max_examples=80)
@given(
    st.one_of(
        st.from_regex(r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}@[a-z]{1,10}\.test", fullmatch=True),
        st.from_regex(r'"([ !#-\[\]-~]|\\[ -~]){1,20}"@x\.test', fullmatch=True),
    ).filter(is_mailbox)
)
def test_any_address_stands_in_to_as_it_is_meant(address: str) -> None:
    (found,) = parsed(composed(to=address))["To"].addresses
    again = compose(MONTH, PDF, to=found.addr_spec, sender=SENDER, now=NOW, retention=1)
    assert found == parsed(again)["To"].addresses[0]
    assert found.domain == address.rpartition("@")[2]


def test_all_are_put_into_the_queue_or_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    mails = [composed(to="a@acme.test"), composed(to="b@acme.test")]
    with pytest.raises(ConflictError):
        enqueue(world.db.write_sync, world.blobs, [*mails, mails[0]])
    assert list(world.blobs.ids()) == []
    enqueue(world.db.write_sync, world.blobs, mails)
    units, queue = schema.units, schema.queue
    query = select(units.c.state, queue.c.purpose, units.c.reason).join(queue, queue.c.unit == units.c.id)
    rows = world.db.read_sync(lambda conn: conn.execute(query).all())
    assert [tuple(row) for row in rows] == [(State.SPOOLED.value, "report", "report_sent")] * 2
    assert {world.blobs.get(mail.message.id) for mail in mails} == {mail.content for mail in mails}
    world.close()
