"""All that is stored about an address, gathered for the person (GDPR, article 15). Reads only; `erasure` takes it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from mailguard.store import schema
from mailguard.store.audit import AuditAction, AuditRecord, records_of
from mailguard.store.person import Person
from mailguard.store.redact import Redaction
from mailguard.store.schema_audit import audit, audit_subjects
from mailguard.store.schema_bill import invoice_evidence, invoices
from mailguard.store.schema_history import correspondents, vips
from mailguard.store.schema_learning import lessons
from mailguard.store.trace import TracedUnit, find_units, with_events

PAGE = 500
_OF_VIPS = frozenset({AuditAction.VIP_ADD.value, AuditAction.VIP_REMOVE.value})
Fact = Mapping[str, object]
"""A row's columns by their names."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What stands about a person beside mail, by table; rows as facts."""

    refusals: Sequence[Fact]
    lists: Sequence[Fact]
    recipients: Sequence[Fact]
    verifications: Sequence[Fact]
    correspondents: Sequence[Fact]
    """What tenants know of it as the author of mail."""
    vips: Sequence[Fact]
    """Where it is a VIP's."""
    usage: Sequence[Fact]
    """By month and tenant, how much mail was delivered to it."""
    invoices: Sequence[Fact]
    """The invoices that it is evidence for, as a mailbox."""
    lessons: Sequence[Fact]
    """What it taught, or undid, of mail."""
    audit: Sequence[AuditRecord]


def mail_page(
    connection: Connection, who: Person, *, tenant: int | None, after: str = "", limit: int = PAGE
) -> list[TracedUnit]:
    """The next units of mail to or from a person, by id after `after`, with their events."""
    conditions = [or_(who.received, who.sent), schema.units.c.id > after]
    if tenant is not None:
        conditions.append(schema.units.c.tenant == tenant)
    ids = select(schema.units.c.id).join(schema.messages, schema.messages.c.id == schema.units.c.message)
    chosen = list(connection.scalars(ids.where(*conditions).order_by(schema.units.c.id).limit(limit)))
    found = find_units(connection, [schema.units.c.id.in_(chosen)], limit=limit, oldest=True)
    return sorted(with_events(connection, found), key=lambda unit: unit.id)


def stored(connection: Connection, who: Person, *, tenant: int | None) -> Stored:
    """All but the mail."""
    ids = sorted(who.ids.values())
    refusals, entries, recipients = schema.refusals, schema.list_entries, schema.recipients
    verifications, metered = schema.verifications, schema.metered_recipients
    evidence = (
        select(invoices.c.tenant, invoices.c.month, invoice_evidence)
        .join(invoices, invoices.c.number == invoice_evidence.c.invoice)
        .where(invoice_evidence.c.mailbox.in_(ids), *_of(invoices.c.tenant, tenant))
        .order_by(invoices.c.number)
    )

    def rows(*conditions: ColumnElement[bool], of: ColumnElement[int]) -> list[Fact]:
        table = of.table
        return [_fact(row) for row in connection.execute(select(table).where(*conditions, *_of(of, tenant)))]

    return Stored(
        refusals=rows(or_(refusals.c.recipient.in_(ids), refusals.c.mail_from.in_(ids)), of=refusals.c.tenant),
        lists=rows(or_(entries.c.pattern.in_(who.texts), entries.c.author.in_(who.texts)), of=entries.c.tenant),
        recipients=rows(
            or_(recipients.c.address.in_(who.texts), recipients.c.mailbox.in_(who.texts)), of=recipients.c.tenant
        ),
        verifications=rows(
            or_(verifications.c.address.in_(who.texts), verifications.c.mailbox.in_(who.texts)),
            of=verifications.c.tenant,
        ),
        correspondents=rows(correspondents.c.address.in_(who.texts), of=correspondents.c.tenant),
        vips=rows(vips.c.address.in_(who.texts), of=vips.c.tenant),
        usage=rows(or_(metered.c.recipient.in_(ids), metered.c.mailbox.in_(ids)), of=metered.c.tenant),
        invoices=[_fact(row) for row in connection.execute(evidence)],
        lessons=[_fact(row) for row in connection.execute(_lessons(who, tenant))],
        audit=audit_of(connection, who, tenant=tenant),
    )


def _lessons(who: Person, tenant: int | None) -> Select[tuple[object, ...]]:
    """What a person taught or undid, without the features of the mail: these are no text."""
    columns = [column for column in lessons.c if column.name not in ("features", "sketch", "traits")]
    mine = or_(lessons.c.teacher.in_(who.texts), lessons.c.undone_by.in_(who.texts))
    return select(*columns).where(mine, *_of(lessons.c.tenant, tenant)).order_by(lessons.c.id)


def audit_of(connection: Connection, who: Person, *, tenant: int | None) -> list[AuditRecord]:
    """The audit entries in whose texts the person stands."""
    entries = sorted({entry for entry, _ in audit_texts_of(connection, who)})
    return [record for record in records_of(connection, entries) if tenant in (None, record.tenant)]


def audit_texts_of(connection: Connection, who: Person) -> list[tuple[int, int]]:
    """The texts (entry, number) of the audit log in which the person stands; with a VIP's address goes the VIP's name."""
    redaction = Redaction(who.texts)
    near = or_(*(func.lower(audit_subjects.c.text).contains(text, autoescape=True) for text in who.texts))
    rows = connection.execute(
        select(audit_subjects.c.entry, audit_subjects.c.number, audit_subjects.c.text, audit.c.action)
        .join(audit, audit.c.sequence == audit_subjects.c.entry)
        .where(audit_subjects.c.text.is_not(None), near)
        .order_by(audit_subjects.c.entry, audit_subjects.c.number)
    )
    mine = [row for row in rows if redaction.found_in(row.text)]
    texts = {(row.entry, row.number) for row in mine}
    as_vip = [row.entry for row in mine if row.action in _OF_VIPS]
    if as_vip:
        named = select(audit_subjects.c.entry, audit_subjects.c.number).where(
            audit_subjects.c.entry.in_(as_vip),
            audit_subjects.c.role.in_(["name", "address"]),
            audit_subjects.c.text.is_not(None),
        )
        texts |= {(row.entry, row.number) for row in connection.execute(named)}
    return sorted(texts)


def _of(column: ColumnElement[int], tenant: int | None) -> tuple[ColumnElement[bool], ...]:
    return () if tenant is None else (column == tenant,)


def _fact(row: Row[tuple[object, ...]]) -> Fact:
    return dict(row._mapping)
