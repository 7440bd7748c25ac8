"""Claims: which due rows of the queue a worker takes, and what it is told of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from mailguard.core.edits import Edit
from mailguard.core.envelope import MailOptions, RcptOptions
from mailguard.store import schema
from mailguard.store.db import now
from mailguard.store.statements import run_many
from mailguard.store.texts import edits_from_json, mail_options_from_json, rcpt_options_from_json

SIBLINGS = 1_000
"""How many more rows of the claimed messages a claim may bring along."""

_queue = schema.queue


@dataclass(frozen=True, slots=True)
class Claim:
    """A unit that is ours to deliver until the lease ends, with what that takes. Times in milliseconds UTC.

    `crashes` counts leases that ran out without an outcome, this row's last one included.
    """

    unit: str
    message: str
    tenant: int
    domain: str
    purpose: str
    attempts: int
    crashes: int
    fence: int
    queued_at: int
    expires_at: int
    lease_until: int
    last_reply: str
    received_at: int
    size: int
    mail_from: str
    recipient: str
    mail_options: MailOptions
    rcpt_options: RcptOptions
    headers: str
    subject_tag: str = ""
    edits: tuple[Edit, ...] = ()
    """What is delivered is the body with these."""


def claim_in(
    connection: Connection,
    holder: str,
    *,
    limit: int,
    lease_ms: int,
    besides: Collection[str] = (),
    without: Collection[str] = (),
) -> list[Claim]:
    """`QueueStore.claim` inside a transaction."""
    at = now(connection)
    chosen = _choose(connection, at, limit, besides, without)
    if not chosen:
        return []
    run_many(connection, _TAKE, [{"its_unit": unit, "by": holder, "until": at + lease_ms} for unit in chosen])
    return claims_in(connection, chosen)


def claims_in(connection: Connection, units: Sequence[str], *, holder: str | None = None) -> list[Claim]:
    """What a delivery of these units takes, of those that are in the queue; `holder`: only of those that are his."""
    statement = _CLAIMS if holder is None else _CLAIMS.where(_queue.c.holder == holder)
    return [_claim(row) for row in connection.execute(statement, {"units": units})]


def _choose(
    connection: Connection, at: int, limit: int, besides: Collection[str], without: Collection[str]
) -> list[str]:
    """Units of due rows, locked on PostgreSQL: an equal share for each tenant first, then whatever is oldest."""
    known = {"at": at, "besides": sorted(besides), "without": sorted(without)}
    asked = (bool(besides), bool(without))
    tenants = connection.scalars(_turns(*asked), known | {"most": limit}).all()
    chosen: dict[str, tuple[str, str]] = {}

    def take(statement: Select[Any], most: int, **more: object) -> None:
        values = known | {"chosen": list(chosen), "most": most, **more}
        for row in connection.execute(statement, values):
            chosen[row.unit] = (row.message, row.domain)

    for turn, tenant in enumerate(tenants):
        share = -(-(limit - len(chosen)) // (len(tenants) - turn))  # what others left over is shared by the rest
        take(_due_of_tenant(*asked), share, tenant=tenant)
    if len(chosen) < limit:
        take(_due_first(*asked), limit - len(chosen))
    if chosen:
        mails = sorted(set(chosen.values()))
        take(_due_siblings(*asked), SIBLINGS, messages=list({message for message, _ in mails}), mails=mails)
    return list(chosen)


# Built once for each way to ask: to build all of them anew cost most of what a claim did.


def _due(besides: bool, without: bool) -> ColumnElement[bool]:
    due = _queue.c.due_at <= bindparam("at")
    if without:
        due = and_(due, _queue.c.unit.not_in(bindparam("without", expanding=True)))
    if besides:
        # Held mail waits for the scanner, not for a next hop.
        due = and_(due, or_(_queue.c.domain.not_in(bindparam("besides", expanding=True)), _queue.c.purpose == "rescan"))
    return due


@cache
def _turns(besides: bool, without: bool) -> Select[Any]:
    """Tenants with due mail, that of the oldest first."""
    due = and_(_queue.c.tenant == schema.tenants.c.id, _due(besides, without))
    first = select(func.min(_queue.c.due_at)).where(due).scalar_subquery()
    turns = select(schema.tenants.c.id, first.label("first")).subquery()
    return select(turns.c.id).where(turns.c.first.is_not(None)).order_by(turns.c.first).limit(bindparam("most"))


def _due_rows(besides: bool, without: bool) -> Select[Any]:
    others = _queue.c.unit.not_in(bindparam("chosen", expanding=True))
    rows = select(_queue.c.unit, _queue.c.message, _queue.c.domain).where(_due(besides, without), others)
    return rows.limit(bindparam("most")).with_for_update(skip_locked=True)


@cache
def _due_first(besides: bool, without: bool) -> Select[Any]:
    return _due_rows(besides, without).order_by(_queue.c.due_at)


@cache
def _due_of_tenant(besides: bool, without: bool) -> Select[Any]:
    return _due_first(besides, without).where(_queue.c.tenant == bindparam("tenant"))


@cache
def _due_siblings(besides: bool, without: bool) -> Select[Any]:
    """By message, and in no order, or SQLite looks through all that is due."""
    return _due_rows(besides, without).where(
        _queue.c.message.in_(bindparam("messages", expanding=True)),
        tuple_(_queue.c.message, _queue.c.domain).in_(bindparam("mails", expanding=True)),
    )


_TAKE = (
    update(_queue)
    .where(_queue.c.unit == bindparam("its_unit"))
    .values(
        holder=bindparam("by"),
        lease_until=bindparam("until"),
        due_at=bindparam("until"),
        fence=_queue.c.fence + literal_column("1"),
        crashes=_queue.c.crashes
        + case((_queue.c.holder != literal_column("''"), literal_column("1")), else_=literal_column("0")),
    )
)
_CLAIMS = (
    select(
        _queue,
        schema.units.c.recipient_raw,
        schema.units.c.options.label("rcpt_options"),
        schema.units.c.headers,
        schema.units.c.subject_tag,
        schema.units.c.edits,
        schema.messages.c.received_at,
        schema.messages.c.size,
        schema.messages.c.mail_from_raw,
        schema.messages.c.options.label("mail_options"),
    )
    .join(schema.units, schema.units.c.id == _queue.c.unit)
    .join(schema.messages, schema.messages.c.id == _queue.c.message)
    .where(_queue.c.unit.in_(bindparam("units", expanding=True)))
    .order_by(_queue.c.queued_at, _queue.c.unit)
)


def _claim(row: Any) -> Claim:
    return Claim(
        unit=row.unit,
        message=row.message,
        tenant=row.tenant,
        domain=row.domain,
        purpose=row.purpose,
        attempts=row.attempts,
        crashes=row.crashes,
        fence=row.fence,
        queued_at=row.queued_at,
        expires_at=row.expires_at,
        lease_until=row.lease_until,
        last_reply=row.last_reply,
        received_at=row.received_at,
        size=row.size,
        mail_from=row.mail_from_raw,
        recipient=row.recipient_raw,
        mail_options=mail_options_from_json(row.mail_options),
        rcpt_options=rcpt_options_from_json(row.rcpt_options),
        headers=row.headers,
        subject_tag=row.subject_tag,
        edits=edits_from_json(row.edits),
    )
