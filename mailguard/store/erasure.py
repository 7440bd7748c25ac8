"""Taking a person out of the database (GDPR, article 17): what is personal goes, rows, counts and events' order stay.

An address keeps its surrogate id and gets a text that is nobody's, so that every count and every invoice's evidence holds.
Work is done in steps of bounded size, each a transaction; the last one, `finish`, is on the audit log's record.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, Table, Text, delete, exists, func, or_, select, tuple_, update

from mailguard.core.address import domain_of, local_part_of
from mailguard.core.envelope import RcptOptions
from mailguard.core.errors import ConflictError
from mailguard.core.events import KEEPS_BODY, State
from mailguard.store import schema
from mailguard.store.audit import AuditAction, AuditEntry, append_in, lock_head
from mailguard.store.audit_check import AUDIT_TEXTS, text_name
from mailguard.store.file_index import forget_files_in, replace_files_in
from mailguard.store.findings import findings_from_json, findings_to_json, results_from_json, results_to_json
from mailguard.store.person import Person, person
from mailguard.store.privacy import audit_texts_of
from mailguard.store.redact import ERASED, Redaction, bare, bare_results
from mailguard.store.schema_audit import audit, audit_head, audit_subjects
from mailguard.store.schema_bill import contract_terms, contracts, invoices
from mailguard.store.schema_history import correspondents, vips
from mailguard.store.schema_learning import deltas
from mailguard.store.tenants import bump
from mailguard.store.texts import clean, mail_options_from_json, rcpt_options_from_json, to_json
from mailguard.store.trace import TracedUnit, find_units

BATCH = 200
"""Units that one transaction erases."""
KEPT = KEEPS_BODY | {State.FORWARDING}
"""States of mail that is still to be delivered, or kept: it is no past yet, and cannot be erased as if it were."""
_KEPT = sorted(state.value for state in KEPT)
_TEXTS_OF_ENTRY = 1_000
_SCANNED = 500
_LEFT_ALONE: frozenset[Table] = frozenset(
    # ids and commitments; mail that still waits; or kept by law, as docs/privacy.md says
    {
        schema.addresses,
        schema.meta,
        schema.queue,
        audit,
        audit_head,
        audit_subjects,
        contracts,
        contract_terms,
        invoices,
        deltas,
    }
)
_BY_FINISH: frozenset[ColumnElement[Any]] = frozenset(
    {
        schema.list_entries.c.pattern,
        schema.recipients.c.mailbox,
        schema.verifications.c.mailbox,
        correspondents.c.address,
        vips.c.address,
    }
)
"""Columns that are no free text: `finish_in` sees to their rows."""


@dataclass(frozen=True, slots=True)
class StandIns:
    """What stands where a person stood: a text for each of the person's forms, by it, and one for mentions in texts."""

    by_text: Mapping[str, str]
    mention: str = ERASED


@dataclass(frozen=True, slots=True)
class Finished:
    """What the last step took out: rows of lists, recipients and answers; what tenants knew of the person as an author or VIP;
    mentions in other texts; texts of the audit log."""

    list_entries: int
    recipients: int
    verifications: int
    correspondents: int
    vips: int
    refusals: int
    audit_texts: int


def stand_ins(connection: Connection, who: Person) -> StandIns:
    """New texts for a person. Those of one mailbox stay those of one mailbox: what parts it from what was added is kept."""
    name = f"erased{secrets.token_hex(8)}"
    found: dict[str, str] = {}
    numbers: dict[str, int] = {}
    separators = "".join(connection.scalars(select(schema.tenants.c.separators).distinct()))
    own = local_part_of(who.address)
    for text in who.texts:
        domain = domain_of(text)
        added = local_part_of(text)[len(own) : len(own) + 1]
        if added and added in separators:
            numbers[domain] = numbers.get(domain, 0) + 1
            found[text] = f"{name}{added}{numbers[domain]}@{domain}"
        else:
            found[text] = f"{name}@{domain}"
    return StandIns(found)


def kept_mail(connection: Connection, who: Person, *, limit: int = 1_000) -> list[TracedUnit]:
    """Mail to or from a person that is in the queue or still kept."""
    return find_units(
        connection, [or_(who.received, who.sent), schema.units.c.state.in_(_KEPT)], limit=limit, oldest=True
    )


def erase_mail_in(
    connection: Connection, who: Person, instead: StandIns, *, now: int, limit: int = BATCH
) -> Sequence[str]:
    """Erase the next mail to or from a person that nothing is kept of any more; its messages. None: all is done."""
    units, messages = schema.units, schema.messages
    rows = connection.execute(
        select(units.c.id, units.c.message, units.c.recipient)
        .join(messages, messages.c.id == units.c.message)
        .where(or_(who.received, who.sent), units.c.state.not_in(_KEPT), units.c.erased_at.is_(None))
        .order_by(units.c.id)
        .limit(limit)
        .with_for_update(of=units)
    ).all()
    redaction = Redaction(who.texts, stand_in=instead.mention)
    erase_units(connection, [row.id for row in rows], redaction, now=now)
    by_id = {number: instead.by_text[text] for text, number in who.ids.items()}
    for row in rows:
        if row.recipient in by_id:
            mine = update(units).where(units.c.id == row.id)
            connection.execute(mine.values(recipient_raw=by_id[row.recipient]))
    ids = sorted({row.message for row in rows})
    erase_messages(connection, ids, redaction, now=now)
    sent = select(messages.c.id, messages.c.mail_from, messages.c.mail_from_raw, messages.c.header_from)
    for one in connection.execute(sent.where(messages.c.id.in_(ids), who.sent)).all():
        raw = by_id.get(one.mail_from, redaction.text(one.mail_from_raw))
        author = instead.by_text.get(one.header_from.lower(), one.header_from)
        erase_sender(connection, one.id, mail_from_raw=raw, header_from=author)
    return ids


def erase_units(connection: Connection, ids: Sequence[str], redaction: Redaction, *, now: int) -> None:
    """What is personal in units but the recipient: header blocks, ORCPT, what was found, addresses in explanations and events."""
    units, events = schema.units, schema.events
    for chunk in _chunks(ids):
        for row in connection.execute(select(units).where(units.c.id.in_(chunk))).all():
            notify = RcptOptions(notify=rcpt_options_from_json(row.options).notify)
            mine = update(units).where(units.c.id == row.id)
            values = {
                "headers": "",
                "edits": "[]",
                "options": to_json(notify),
                "explanation": redaction.text(row.explanation),
                "found": results_to_json(bare_results(results_from_json(row.found))),
                "erased_at": now,
            }
            connection.execute(mine.values(**values))
        told = select(events.c.id, events.c.detail, events.c.actor).where(events.c.unit.in_(chunk))
        for row in connection.execute(told).all():
            detail, actor = redaction.json(row.detail), clean(redaction.text(row.actor), 128)
            if (detail, actor) != (row.detail, row.actor):
                connection.execute(update(events).where(events.c.id == row.id).values(detail=detail, actor=actor))


def erase_messages(connection: Connection, ids: Sequence[str], redaction: Redaction, *, now: int) -> None:
    """What is personal in messages but the sender: the subject, what was found in the content, ENVID.

    A message that is still kept for another recipient keeps them until that ends; only the addresses go from it.
    """
    messages, units = schema.messages, schema.units
    for chunk in _chunks(ids):
        kept = select(units.c.message).where(units.c.message.in_(chunk), units.c.state.in_(_KEPT))
        still = set(connection.scalars(kept))
        for row in connection.execute(select(messages).where(messages.c.id.in_(chunk))).all():
            findings = redaction.json(row.findings)
            values: dict[str, object] = {
                "subject": redaction.text(row.subject),
                "findings": findings,
                "header_message_id": clean(redaction.text(row.header_message_id), 255),
            }
            if row.id not in still:
                options = replace(mail_options_from_json(row.options), envid="")
                values |= {
                    "subject": "",
                    "findings": findings_to_json(bare(findings_from_json(row.findings))),
                    "options": to_json(options),
                    "erased_at": now,
                }
            elif findings != row.findings:
                replace_files_in(connection, row.id, findings_from_json(findings))
            connection.execute(update(messages).where(messages.c.id == row.id).values(**values))
        forget_files_in(connection, [one for one in chunk if one not in still])


def erase_sender(connection: Connection, message: str, *, mail_from_raw: str, header_from: str) -> None:
    """Who sent a message: raw MAIL FROM and From are replaced; Message-ID, HELO and the client's address go."""
    messages = schema.messages
    mine = update(messages).where(messages.c.id == message)
    connection.execute(
        mine.values(
            mail_from_raw=clean(mail_from_raw),
            header_from=clean(header_from, 320),
            header_message_id="",
            helo="",
            client_ip="",
        )
    )


def erase_mentions_in(
    connection: Connection, who: Person, instead: StandIns, table: Table, *, after: Sequence[object] = ()
) -> tuple[int, Sequence[object]]:
    """Erase the person from the other texts of a table: how many rows of a bounded number, and the key to go on after.

    The key is empty once there is nothing left.
    """
    redaction = Redaction(who.texts, stand_in=instead.mention)
    keys = list(table.primary_key.columns)
    texts = [one for one in table.columns if isinstance(one.type, String | Text) and not one.primary_key]
    columns = [one for one in texts if one not in _BY_FINISH]
    if not columns or table in _LEFT_ALONE:
        return 0, ()
    alive = _alive(table)
    near = [func.lower(one).contains(text, autoescape=True) for one in columns for text in who.texts]
    statement = select(*keys, *columns).where(or_(*near), *alive).order_by(*keys).limit(_SCANNED)
    if after:
        statement = statement.where(tuple_(*keys) > tuple_(*after))
    rows = connection.execute(statement).all()
    changed = 0
    for row in rows:
        values = {one.name: _redacted(redaction, one, row._mapping[one]) for one in columns}
        values = {name: text for name, text in values.items() if text != row._mapping[table.c[name]]}
        if values:
            where = [key == row._mapping[key] for key in keys]
            changed += connection.execute(update(table).where(*where).values(**values)).rowcount
    return changed, tuple(rows[-1]._mapping[key] for key in keys) if len(rows) == _SCANNED else ()


def finish_in(
    connection: Connection,
    who: Person,
    instead: StandIns,
    *,
    actor: str,
    why: str,
    now: int,
    detail: Mapping[str, object],
) -> Finished:
    """The last step: the address itself, lists, recipients, answers, refusals and the audit log's texts; recorded there.

    Raises ConflictError when mail of the person came meanwhile: then it is to be begun again.
    """
    ids = sorted(who.ids.values())
    if person(connection, who.address).ids != who.ids or _mail_left(connection, who):
        raise ConflictError(f"mail to or from {who.address} came meanwhile; try again")
    lists = schema.list_entries
    entries = connection.execute(delete(lists).where(lists.c.pattern.in_(who.texts))).rowcount
    gone = []
    for table in (schema.recipients, schema.verifications):
        gone.append(connection.execute(delete(table).where(table.c.address.in_(who.texts))).rowcount)
        for text in who.texts:
            named = update(table).where(table.c.mailbox == text)
            connection.execute(named.values(mailbox=instead.by_text[text]))
    authors = delete(correspondents).where(correspondents.c.address.in_(who.texts))
    known = connection.execute(authors).rowcount, _erase_vips(connection, who)
    bump(connection)  # by which the relay's processes notice, and look the address up anew
    refusals = schema.refusals
    of_person = or_(refusals.c.recipient.in_(ids), refusals.c.mail_from.in_(ids))
    refused = connection.execute(update(refusals).where(of_person).values(reply="", helo="", client_ip="")).rowcount
    for text, number in who.ids.items():
        rows = schema.addresses
        connection.execute(update(rows).where(rows.c.id == number).values(address=instead.by_text[text]))
    lock_head(connection)  # last of all locks, as for every entry; from here on nobody adds a text with the address
    texts = audit_texts_of(connection, who)
    erase_audit_texts(connection, texts, now=now)
    facts = {
        **detail,
        "list_entries": entries,
        "recipients": gone[0],
        "answers": gone[1],
        "correspondents": known[0],
        "vips": known[1],
        "refusals": refused,
    }
    redaction = Redaction(who.texts)
    record_erasure(
        connection,
        AuditEntry(
            AuditAction.PRIVACY_ERASE,
            actor,
            redaction.text(why),
            subject=f"address {ids[0]}" if ids else "",
            detail={**facts, "addresses": ids},
        ),
        texts,
    )
    return Finished(entries, gone[0], gone[1], known[0], known[1], refused, len(texts))


def _erase_vips(connection: Connection, who: Person) -> int:
    """Remove the VIPs who have the person's address, with their names and other addresses; how many rows."""
    theirs = connection.execute(
        select(vips.c.tenant, vips.c.name).where(vips.c.address.in_(who.texts)).distinct()
    ).all()
    return sum(
        connection.execute(delete(vips).where(vips.c.tenant == row.tenant, vips.c.name == row.name)).rowcount
        for row in theirs
    )


def _mail_left(connection: Connection, who: Person) -> bool:
    units = schema.units
    left = select(units.c.id).join(schema.messages, schema.messages.c.id == units.c.message)
    return (
        connection.execute(left.where(or_(who.received, who.sent), units.c.erased_at.is_(None)).limit(1)).first()
        is not None
    )


def erase_audit_texts(connection: Connection, texts: Collection[tuple[int, int]], *, now: int) -> None:
    """Erase texts (entry, number) of the audit log; `record_erasure` says so there."""
    for entry, number in texts:
        row = (audit_subjects.c.entry == entry) & (audit_subjects.c.number == number)
        statement = update(audit_subjects).where(row, audit_subjects.c.erased_at.is_(None))
        connection.execute(statement.values(text=None, salt=None, erased_at=now))


def record_erasure(connection: Connection, entry: AuditEntry, texts: Sequence[tuple[int, int]]) -> None:
    """Record an erasure with the audit log's texts that went with it, by which the log's check knows that all is well."""
    names = [text_name(*text) for text in texts]
    parts = [names[start : start + _TEXTS_OF_ENTRY] for start in range(0, len(names), _TEXTS_OF_ENTRY)] or [[]]
    append_in(
        connection,
        *(
            AuditEntry(
                entry.action,
                entry.actor,
                entry.why,
                tenant=entry.tenant,
                subject=entry.subject,
                detail={**(entry.detail if not number else {}), AUDIT_TEXTS: part},
            )
            for number, part in enumerate(parts)
        ),
    )


def tables() -> list[Table]:
    """The tables that `erase_mentions_in` looks through."""
    return [table for table in schema.metadata.sorted_tables if table not in _LEFT_ALONE]


def _alive(table: Table) -> list[ColumnElement[bool]]:
    """What leaves mail alone that is still to be delivered: a changed ORCPT or header block would spoil it."""
    units = schema.units
    if table is units:
        return [units.c.state.not_in(_KEPT)]
    message = {schema.messages: schema.messages.c.id, schema.message_files: schema.message_files.c.message}.get(table)
    if message is not None:
        return [~exists().where(units.c.message == message, units.c.state.in_(_KEPT))]
    return []


def _redacted(redaction: Redaction, column: ColumnElement[Any], text: str | None) -> str | None:
    if not text:
        return text
    made = redaction.json(text) if text[:1] in "{[" and redaction.found_in(text) else redaction.text(text)
    limit = getattr(column.type, "length", None)
    return made[:limit] if limit else made


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + 500] for start in range(0, len(ids), 500)]
