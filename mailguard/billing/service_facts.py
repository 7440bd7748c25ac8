"""What the events and complaints of a month say about the service: read once, at the month's end."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, distinct, func, select
from sqlalchemy.engine import Connection

from mailguard.billing.latency import Latency, latency
from mailguard.billing.months import Month, bounds, events_of
from mailguard.billing.tally import BILLED, BILLED_UNIT
from mailguard.core.decision import Action, Reason
from mailguard.core.events import EventKind, State
from mailguard.store import billing_months, schema
from mailguard.store.complaints import Kind
from mailguard.store.schema_service import complaints

_LATENCY = re.compile(r'"latency_ms":(\d+)')
_AT_ONCE = 10_000

SPAM = (Reason.SPAM_SCORE, Reason.REJECTED_FOR_OTHERS)
"""Reasons for which spam is stopped; the second for one recipient of several, and by far the most of it is spam."""
STOPPED = (State.QUARANTINED, State.REJECTED, State.DISCARDED)
MARKED = (State.FORWARDING,)
"""Mail that is forwarded for such a reason was tagged."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts of a month: each mail once, whatever happened to it. `good`: delivered or released."""

    delay: Latency | None
    virus_stopped: int
    virus_missed: int
    spam_stopped: int
    spam_missed: int
    good: int
    false_positives: int


@dataclass(frozen=True, slots=True)
class Life:
    """When a tenant came and went, in milliseconds UTC; 0: it is still there."""

    created_at: int
    removed_at: int


def life_of(conn: Connection, tenant: int) -> Life:
    """When a tenant came and went."""
    table = schema.tenants
    row = conn.execute(select(table.c.created_at, table.c.removed_at).where(table.c.id == tenant)).one()
    return Life(row.created_at, row.removed_at or 0)


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant's month, of which only what happened from `since` up to but not including `until` (ms UTC) counts.

    Mail of earlier months that was recorded late is of the month too: `since` is when the service began, not the month.
    """

    tenant: int
    period: Month
    since: int
    until: int


def facts_of(conn: Connection, scope: Scope) -> Facts:
    """The facts of a tenant's month. Mail of the probe is no part of them."""
    return Facts(
        latency(_latencies(conn, scope)),
        _stopped(conn, scope, (Reason.MALWARE,), STOPPED),
        _reported(conn, scope, Kind.VIRUS),
        _stopped(conn, scope, SPAM, (*STOPPED, *MARKED)),
        _reported(conn, scope, Kind.SPAM, schema.units.c.action != Action.TAG.value),
        _good(conn, scope),
        _reported(conn, scope, Kind.FALSE_POSITIVE),
    )


def _latencies(conn: Connection, scope: Scope) -> list[int]:
    """Milliseconds from the end of DATA to the reply of the client's server, of mail that it took when it was first asked."""
    events, units = schema.events, schema.units
    query = (
        select(events.c.detail)
        .join(units, units.c.id == events.c.unit)
        .where(*_states(conn, scope), events.c.to_state == State.DELIVERED.value)
    )
    rows = conn.execute(query.execution_options(yield_per=_AT_ONCE)).scalars()
    return [int(match[1]) for detail in rows if (match := _LATENCY.search(detail))]


def _good(conn: Connection, scope: Scope) -> int:
    """Mails that were delivered or released, each once."""
    events, units = schema.events, schema.units
    query = (
        select(func.count(distinct(BILLED_UNIT)))
        .join(units, units.c.id == events.c.unit)
        .where(*_states(conn, scope), events.c.to_state.in_([state.value for state in BILLED]))
    )
    return int(conn.execute(query).scalar_one())


def _stopped(conn: Connection, scope: Scope, reasons: Collection[Reason], states: Collection[State]) -> int:
    """Mails that were stopped for one of these reasons, without those that should not have been."""
    events, units = schema.events, schema.units
    wrongly = select(complaints.c.id).where(
        complaints.c.unit == events.c.unit, complaints.c.kind == Kind.FALSE_POSITIVE.value
    )
    query = (
        select(func.count(distinct(events.c.unit)))
        .join(units, units.c.id == events.c.unit)
        .where(
            *_states(conn, scope),
            events.c.reason.in_([reason.value for reason in reasons]),
            events.c.to_state.in_([state.value for state in states]),
            ~wrongly.exists(),
        )
    )
    return int(conn.execute(query).scalar_one())


def _states(conn: Connection, scope: Scope) -> tuple[ColumnElement[bool], ...]:
    events, units = schema.events, schema.units
    return (
        events_of(conn, scope.period),
        events.c.tenant == scope.tenant,
        events.c.at >= scope.since,
        events.c.at < scope.until,
        events.c.kind == EventKind.STATE.value,
        units.c.probe.is_(False),
    )


def _reported(conn: Connection, scope: Scope, kind: Kind, *conditions: ColumnElement[bool]) -> int:
    """Mails that were reported so within the month, whenever they came."""
    limits = bounds(billing_months.closings(conn), scope.period)
    units = schema.units
    query = (
        select(func.count())
        .select_from(complaints)
        .join(units, units.c.id == complaints.c.unit)
        .where(
            complaints.c.tenant == scope.tenant,
            complaints.c.kind == kind.value,
            complaints.c.at >= max(limits.start or scope.period.start, scope.since),
            complaints.c.at < min(limits.end, scope.until),
            units.c.probe.is_(False),
            *conditions,
        )
    )
    return int(conn.execute(query).scalar_one())
