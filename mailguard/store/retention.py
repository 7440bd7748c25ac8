"""Erasing what is personal in a tenant's old mail, by itself, in small steps: the mail of the days beyond what it keeps.

The ledger's rows stay, so that every count does. The recipients of mail that was billed are replaced with their month
(billing.pseudonyms), since they are what the bill counts.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, update

from mailguard.core.address import domain_of
from mailguard.core.clock import DAY, to_iso
from mailguard.core.events import EventKind, State
from mailguard.store import schema
from mailguard.store.addresses import address_ids
from mailguard.store.audit import ACTOR, AuditAction, AuditEntry, lock_head
from mailguard.store.erasure import (
    KEPT,
    erase_audit_texts,
    erase_messages,
    erase_sender,
    erase_units,
    record_erasure,
)
from mailguard.store.lessons import forget_said_in
from mailguard.store.redact import ERASED, Redaction
from mailguard.store.schema_audit import audit, audit_subjects
from mailguard.store.schema_bill import invoice_evidence
from mailguard.store.schema_history import correspondents
from mailguard.store.schema_service import complaints, release_requests
from mailguard.store.tenants import bump, tenant_by_name

LEAST_DAYS = 1.0
MOST_DAYS = 36_500.0
BATCH = 200
"""Rows that one transaction erases, so that mail never waits long for it."""
_KEPT = sorted(state.value for state in KEPT)
_BILLED = (State.DELIVERED.value, State.RELEASED.value)
_NOBODY = re.compile(r"erased[0-9a-f]{16}[^@]*@")
_ABOUT_MAIL = ("quarantine.", "queue.", "report.", "lessons.")
"""Audit entries whose texts end with the mail that they are about, all but who acted."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """A tenant that keeps what is personal for a while: what came before `before` (ms UTC) is due, from `since` on."""

    tenant: int
    before: int
    since: int


def set_keep_days(connection: Connection, *, tenant: str, days: float | None) -> None:
    """Set after how many days what is personal in a tenant's mail is erased; None: never by itself. Raises NotFoundError."""
    record = tenant_by_name(connection, tenant)
    mine = update(schema.tenants).where(schema.tenants.c.id == record.tenant.id)
    connection.execute(mine.values(keep_days=days, erased_until=0))
    bump(connection)


def keeping(connection: Connection, *, now: int) -> list[Keeping]:
    """The tenants with something to erase by themselves, removed ones too."""
    tenants = schema.tenants.c
    rows = connection.execute(
        select(tenants.id, tenants.keep_days, tenants.erased_until).where(tenants.keep_days.is_not(None))
    )
    return [Keeping(row.id, now - round(row.keep_days * DAY), row.erased_until) for row in rows]


def erase_old_mail_in(connection: Connection, one: Keeping, *, now: int, limit: int = BATCH) -> int:
    """Erase the next of a tenant's mail that is due and ended; how many units. Fewer than `limit`: all is done."""
    units = schema.units
    ended = sorted(state.value for state in State if state not in KEPT)
    rows = connection.execute(
        select(units.c.id, units.c.message, units.c.domain, units.c.recipient)
        .where(
            units.c.tenant == one.tenant,
            units.c.state.in_(ended),
            units.c.received_at >= one.since,
            units.c.received_at < one.before,
            units.c.erased_at.is_(None),
        )
        .order_by(units.c.received_at)
        .limit(limit)
        .with_for_update()
    ).all()
    if not rows:
        return 0
    redaction = Redaction()
    ids = [row.id for row in rows]
    erase_units(connection, ids, redaction, now=now)
    billed = exists().where(
        schema.events.c.unit == units.c.id,
        schema.events.c.kind == EventKind.STATE.value,
        schema.events.c.to_state.in_(_BILLED),
    )
    nobodies = address_ids(connection, sorted({f"erased@{row.domain}" for row in rows}))
    connection.execute(update(units).where(units.c.id.in_(ids)).values(recipient_raw=ERASED))
    for domain in sorted({row.domain for row in rows}):
        mine = [row.id for row in rows if row.domain == domain]
        unbilled = update(units).where(units.c.id.in_(mine), or_(units.c.probe, ~billed))
        connection.execute(unbilled.values(recipient=nobodies[f"erased@{domain}"]))
    _erase_said(connection, ids, redaction)
    senders = _erase_whole(connection, sorted({row.message for row in rows}), redaction, now=now)
    forget_unused_in(connection, {*senders, *(row.recipient for row in rows)})
    return len(rows)


def forget_unused_in(connection: Connection, ids: Collection[int]) -> None:
    """Of these addresses, which something was just taken from, erase those that nothing refers to any more.

    The rows stay, as nobody's: removing one would be a search through all that may refer to it.
    """
    wanted = sorted(ids)
    used: set[int] = set()
    for column in (
        schema.messages.c.mail_from,
        schema.units.c.recipient,
        schema.refusals.c.recipient,
        schema.refusals.c.mail_from,
        schema.metered_recipients.c.recipient,
        schema.metered_recipients.c.mailbox,
        invoice_evidence.c.mailbox,
    ):
        used.update(connection.scalars(select(column).where(column.in_(wanted)).distinct()))
    unused = schema.addresses.c.id.in_([one for one in wanted if one not in used])
    for row in connection.execute(select(schema.addresses).where(unused)).all():
        if row.address and not is_nobody(row.address):
            mine = update(schema.addresses).where(schema.addresses.c.id == row.id)
            connection.execute(mine.values(address=nobody_of(row.address)))


def nobody_of(address: str) -> str:
    """A text that stands for an address and is nobody's; its domain stays."""
    return f"erased{secrets.token_hex(8)}@{domain_of(address)}"


def is_nobody(address: str) -> bool:
    """Whether an address is what an erased one was replaced by."""
    return _NOBODY.match(address) is not None


def _erase_said(connection: Connection, ids: Sequence[str], redaction: Redaction) -> None:
    """Addresses in what people said about the mail."""
    for table in (complaints, release_requests):
        for row in connection.execute(select(table).where(table.c.unit.in_(ids))).all():
            said = {"actor": redaction.text(row.actor)[:128], "why": redaction.text(row.why)}
            connection.execute(update(table).where(table.c.id == row.id).values(**said))
    forget_said_in(connection, ids, redaction)


def _erase_whole(connection: Connection, ids: Sequence[str], redaction: Redaction, *, now: int) -> set[int]:
    """Erase messages of which no unit is left that is not erased: they may be another tenant's too. Whose they were."""
    units, messages = schema.units, schema.messages
    left = exists().where(units.c.message == messages.c.id, units.c.erased_at.is_(None))
    chosen = select(messages.c.id, messages.c.mail_from_raw, messages.c.header_from, messages.c.mail_from)
    rows = connection.execute(chosen.where(messages.c.id.in_(ids), ~left)).all()
    erase_messages(connection, [row.id for row in rows], redaction, now=now)
    known = {row.mail_from for row in rows}
    texts = {
        row.id: row.address
        for row in connection.execute(select(schema.addresses).where(schema.addresses.c.id.in_(known)))
    }
    senders = {number: _nobody(text) for number, text in texts.items()}
    numbers = address_ids(connection, sorted(set(senders.values())))
    for row in rows:
        erase_sender(
            connection,
            row.id,
            mail_from_raw=_nobody(row.mail_from_raw),
            header_from=_nobody(row.header_from),
        )
        mine = update(messages).where(messages.c.id == row.id)
        connection.execute(mine.values(mail_from=numbers[senders[row.mail_from]]))
    return known


def _nobody(address: str) -> str:
    """What stands for a sender: nobody of its domain; the null sender stays that."""
    return f"erased@{domain_of(address)}" if address else ""


def erase_old_refusals_in(connection: Connection, one: Keeping, *, limit: int = BATCH) -> int:
    """The same of what was refused: it stays counted, without addresses."""
    refusals = schema.refusals
    due = and_(
        refusals.c.tenant == one.tenant,
        refusals.c.at < one.before,
        or_(refusals.c.recipient.is_not(None), refusals.c.mail_from.is_not(None)),
    )
    rows = connection.execute(select(refusals.c.id, refusals.c.recipient, refusals.c.mail_from).where(due).limit(limit))
    found = rows.all()
    ids = [row.id for row in found]
    nothing = {"recipient": None, "mail_from": None, "reply": "", "helo": "", "client_ip": ""}
    connection.execute(update(refusals).where(refusals.c.id.in_(ids)).values(**nothing))
    forget_unused_in(connection, {one for row in found for one in (row.recipient, row.mail_from) if one is not None})
    return len(ids)


def forget_authors_in(connection: Connection, one: Keeping, *, limit: int = BATCH) -> int:
    """Forget the authors from whom nothing came since; how many."""
    due = select(correspondents.c.id).where(
        correspondents.c.tenant == one.tenant, correspondents.c.last_at < one.before
    )
    ids = connection.scalars(due.limit(limit)).all()
    return connection.execute(delete(correspondents).where(correspondents.c.id.in_(ids))).rowcount


def erase_old_audit_texts_in(connection: Connection, one: Keeping, *, now: int, limit: int = 500) -> int:
    """Addresses and reasons in audit entries about old mail; who acted stays. Recorded. How many texts."""
    lock_head(connection)
    about_mail = or_(*(audit.c.action.startswith(noun, autoescape=True) for noun in _ABOUT_MAIL))
    rows = connection.execute(
        select(audit_subjects.c.entry, audit_subjects.c.number)
        .join(audit, audit.c.sequence == audit_subjects.c.entry)
        .where(
            audit.c.tenant == one.tenant,
            audit.c.at < one.before,
            about_mail,
            audit_subjects.c.role != ACTOR,
            audit_subjects.c.erased_at.is_(None),
        )
        .order_by(audit_subjects.c.entry, audit_subjects.c.number)
        .limit(limit)
    ).all()
    texts = [(row.entry, row.number) for row in rows]
    if texts:
        erase_audit_texts(connection, texts, now=now)
        record_erasure(connection, _entry(one, {"texts": len(texts)}), texts)
    return len(texts)


def finish_in(
    connection: Connection, one: Keeping, *, erased: int, refusals: int, recipients: int, authors: int = 0
) -> None:
    """Note how far it has come, and on the record what was erased, if anything was."""
    units, tenants = schema.units, schema.tenants
    left = select(func.min(units.c.received_at)).where(
        units.c.tenant == one.tenant, units.c.state.in_(_KEPT), units.c.received_at < one.before
    )
    until = min(int(connection.scalar(left) or one.before), one.before)
    mine = update(tenants).where(tenants.c.id == one.tenant, tenants.c.keep_days.is_not(None))
    connection.execute(mine.values(erased_until=until))
    counts = {"mails": erased, "refusals": refusals, "recipients": recipients, "correspondents": authors}
    if any(counts.values()):
        record_erasure(connection, _entry(one, counts), [])


def _entry(one: Keeping, counts: dict[str, object] | dict[str, int]) -> AuditEntry:
    detail = {"before": to_iso(max(0, one.before)), **counts}
    return AuditEntry(AuditAction.PRIVACY_RETENTION, "relay", tenant=one.tenant, detail=detail)
