"""A report as mail of our own: a short text and the PDF, composed, and put into the queue under the system tenant."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from sqlalchemy.engine import Connection

from mailguard.billing.render.text import plain
from mailguard.billing.report.facts import Facts
from mailguard.billing.report.words import Page, page
from mailguard.core.address import domain_of, local_part_of
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, Recipient, Session
from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.reply import OK
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.net.dns import lookup_name
from mailguard.queue.group import REPORT
from mailguard.store.blobs import BlobStore
from mailguard.store.ledger import NewMessage, NewUnit, QueueEntry, begin_in

_WIDTH = 76


@dataclass(frozen=True, slots=True)
class Sender:
    """Who the mail comes from. `name` is shown; `address` takes bounces; answers go to `reply_to`, if there is one."""

    name: str
    address: str
    hostname: str
    reply_to: str = ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A mail that is ready to be put into the queue."""

    content: bytes
    message: NewMessage
    unit: NewUnit


def compose(facts: Facts, pdf: bytes, *, to: str, sender: Sender, now: int, retention: int) -> Outgoing:
    """The report of one tenant for one reader. `now` in milliseconds UTC; `retention`: for how long it may wait, likewise."""
    message_id = new_message_id(now)
    shown = page(facts, by=sender.name)
    content = _content(shown, facts, pdf, to=to, sender=sender, now=now, message_id=message_id)
    message = NewMessage(
        id=message_id,
        received_at=now,
        session=Session(message_id, "127.0.0.1", helo=sender.hostname),
        mail_from=sender.address,
        options=MailOptions(eight_bit=not content.isascii(), smtputf8=not to.isascii()),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        header_message_id=f"<{message_id}@{sender.hostname}>",
        header_from=sender.address,
        subject=shown.title,
        blob=True,
    )
    domain = domain_of(to)
    unit = NewUnit(
        number=1,
        recipient=Recipient(to, SYSTEM_TENANT, lookup_name(domain) or domain.lower()),
        state=State.SPOOLED,
        reason=Reason.REPORT_SENT,
        decision=Decision(1, Action.DELIVER, Reason.REPORT_SENT, f"the monthly report of {facts.tenant}", "", "", OK),
        queue=QueueEntry(REPORT, due_at=now, expires_at=now + retention),
        detail={"report": facts.month},
    )
    return Outgoing(content, message, unit)


def enqueue(write: Callable[[Callable[[Connection], None]], None], blobs: BlobStore, mails: Sequence[Outgoing]) -> None:
    """Put mails into the queue, all or none. `write` runs a work in a write transaction. Raises UnavailableError."""

    def work(conn: Connection) -> None:
        for mail in mails:
            begin_in(conn, mail.message, [mail.unit])

    stored: list[str] = []
    try:
        for mail in mails:
            stored.append(mail.message.id)
            blobs.put(mail.message.id, [mail.content])
        write(work)
    except BaseException:
        for body in stored:  # nothing refers to them; what is left behind all the same is swept up later
            with contextlib.suppress(UnavailableError):
                blobs.delete(body)
        raise


def _content(shown: Page, facts: Facts, pdf: bytes, *, to: str, sender: Sender, now: int, message_id: str) -> bytes:
    rules = policy.SMTP if to.isascii() else policy.SMTPUTF8
    mail = EmailMessage(policy=rules.clone(max_line_length=_WIDTH))
    mail["From"] = _address(sender.address, plain(sender.name, limit=100))
    mail["To"] = _address(to)
    if sender.reply_to:
        mail["Reply-To"] = _address(sender.reply_to)
    mail["Subject"] = plain(f"{shown.title}: {facts.tenant}", limit=200)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now // 1000, UTC))
    mail["Message-ID"] = f"<{message_id}@{sender.hostname}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5
    mail.set_content(report_text(shown), cte="quoted-printable")
    mail.add_attachment(pdf, maintype="application", subtype="pdf", filename=f"mail-report-{facts.month}.pdf")
    mail.set_boundary(f"={message_id}=")
    return mail.as_bytes()


def report_text(shown: Page) -> str:
    """The report as plain text: its sentences and figures, the charts as rows."""
    lines = [shown.title, f"{plain(shown.tenant)}, prepared by {plain(shown.by)}", "", shown.summary, ""]
    for section in shown.sections:
        rows = [(plain(name, limit=60), plain(value, limit=60)) for name, value in (*section.rows, *section.listed)]
        if not section.sentences and not rows:
            continue
        width = max((len(name) for name, _ in rows), default=0)
        right = max((len(value) for _, value in rows), default=0)
        lines += [section.heading.upper(), *section.sentences]
        lines += [f"  {name:<{width}}  {value:>{right}}" for name, value in rows]
        lines.append("")
    return "\n".join([*lines, shown.foot, ""])


def _address(address: str, name: str = "") -> Address:
    local = local_part_of(address)
    if local.startswith('"'):  # as it means, not as it is written: it is quoted again
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return Address(name, local, domain_of(address))
