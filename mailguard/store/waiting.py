"""The queue as an admin sees it and changes it: retry, hold, let go, cancel. Each change is in the trace with its author.

What is being delivered at this moment is left alone: its outcome is not known, so nothing may be said about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.engine import Connection

from mailguard.core.decision import Reason
from mailguard.core.events import EventKind, MailEvent, State
from mailguard.store import schema, trace
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.ledger import Move, QueueEntry, move_in, note_in
from mailguard.store.lifetimes import queue_lifetimes
from mailguard.store.matching import recipient_condition, sender_condition
from mailguard.store.next_hops import HopFilter, next_hop_condition
from mailguard.store.queue import NEVER
from mailguard.store.reconcile import spooled_purpose
from mailguard.store.trace import TracedUnit

WAITING = frozenset({State.SPOOLED, State.HELD, State.PARKED})
"""What the queue lists: mail with a place in it, and what was taken out of it after repeated crashes."""


@dataclass(frozen=True, slots=True)
class WaitingQuery:
    """Which waiting mail; empty fields do not matter. `limit` 0: all.

    `received_before` is in milliseconds UTC.
    """

    tenant: int | None = None
    recipient: str = ""
    sender: str = ""
    limit: int = 100
    next_hop: HopFilter | None = None
    received_before: int = 0

    @property
    def names_something(self) -> bool:
        """Whether any filter is set."""
        return bool(self.tenant is not None or self.recipient or self.sender or self.next_hop or self.received_before)


@dataclass(frozen=True, slots=True)
class Going:
    """A unit that is about to be cancelled, and what it was in the queue for."""

    unit: TracedUnit
    purpose: str


Tell = Callable[[Connection, Sequence[Going]], Mapping[str, str]]
"""Tells the senders of what is cancelled, in the same transaction; returns the report's message by unit, where there is one."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one unit: `done`, or left alone; `text` says it to people."""

    unit: TracedUnit
    done: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A unit's state and its place in the queue, locked for this transaction."""

    state: State
    purpose: str = ""
    leased: bool = False
    held: bool = False


def search(conn: Connection, query: WaitingQuery) -> list[TracedUnit]:
    """The waiting units that match, the oldest first."""
    conditions: list[ColumnElement[bool]] = [
        or_(schema.queue.c.unit.is_not(None), schema.units.c.state == str(State.PARKED))
    ]
    if query.tenant is not None:
        conditions.append(schema.units.c.tenant == query.tenant)
    if query.recipient:
        conditions.append(recipient_condition(query.recipient))
    if query.sender:
        conditions.append(sender_condition(query.sender))
    if query.next_hop:
        conditions.append(next_hop_condition(query.next_hop))
    if query.received_before:
        conditions.append(schema.units.c.received_at <= query.received_before)
    return trace.find_units(conn, conditions, limit=query.limit or trace.EVERYTHING, oldest=True)


def retry(
    conn: Connection, units: Sequence[TracedUnit], *, actor: str, now: int, lifetime: int, why: str = ""
) -> list[Change]:
    """Make units due now; a parked one goes back into the queue for its tenant's time there, by default `lifetime` ms."""
    parked: list[Move] = []
    lifetimes = queue_lifetimes(conn, default=lifetime)

    def one(unit: TracedUnit, row: _Row) -> Change:
        if row.state is State.PARKED:
            entry = QueueEntry(
                spooled_purpose(conn, unit=unit.id, tenant=unit.tenant),
                due_at=now,
                expires_at=now + lifetimes[unit.tenant],
            )
            parked.append(
                Move(unit.id, State.SPOOLED, Reason(unit.reason), actor=actor, queue=entry, expected=State.PARKED)
            )
            return Change(unit, True, "back in the queue")
        if row.held:
            return Change(unit, False, "is held; let it go by `mailguard queue unhold`")
        _set(conn, unit, due_at=now)
        return Change(unit, True, "due now")

    changes = _each(conn, units, now, one)
    move_in(conn, parked)
    moved = {move.unit for move in parked}
    _note(conn, [change for change in changes if change.unit.id not in moved], "retry", actor=actor, now=now)
    _record(conn, AuditAction.QUEUE_RETRY, changes, actor=actor, why=why)
    return changes


def hold(conn: Connection, units: Sequence[TracedUnit], *, actor: str, now: int, why: str = "") -> list[Change]:
    """Keep units in the queue without any attempt until they are let go. Their expiry waits too."""

    def one(unit: TracedUnit, row: _Row) -> Change:
        if row.state is State.PARKED or row.held:
            return Change(unit, row.held, "is held already" if row.held else "is parked, which no attempt touches")
        _set(conn, unit, due_at=NEVER, held=True)
        return Change(unit, True, "held")

    changes = _each(conn, units, now, one)
    held = [change for change in changes if change.text == "held"]
    _note(conn, held, "hold", actor=actor, now=now)
    _record(conn, AuditAction.QUEUE_HOLD, held, actor=actor, why=why)
    return changes


def unhold(conn: Connection, units: Sequence[TracedUnit], *, actor: str, now: int, why: str = "") -> list[Change]:
    """Let held units go: due now."""

    def one(unit: TracedUnit, row: _Row) -> Change:
        if not row.held:
            return Change(unit, False, "is not held")
        _set(conn, unit, due_at=now, held=False)
        return Change(unit, True, "due now")

    changes = _each(conn, units, now, one)
    _note(conn, changes, "unhold", actor=actor, now=now)
    _record(conn, AuditAction.QUEUE_UNHOLD, changes, actor=actor, why=why)
    return changes


def cancel(
    conn: Connection,
    units: Sequence[TracedUnit],
    *,
    actor: str,
    now: int,
    why: str = "",
    tell: Tell | None = None,
) -> list[Change]:
    """Take spooled and parked units out of the queue for good: they are not delivered, and nobody is told but by `tell`."""
    going: list[tuple[Going, State]] = []

    def one(unit: TracedUnit, row: _Row) -> Change:
        if row.state is State.HELD:
            return Change(unit, False, "waits for a scan; remove it by `mailguard quarantine delete`")
        going.append((Going(unit, row.purpose or spooled_purpose(conn, unit=unit.id, tenant=unit.tenant)), row.state))
        return Change(unit, True, "cancelled")

    changes = _each(conn, units, now, one)
    told = tell(conn, [gone for gone, _ in going]) if tell else MappingProxyType({})
    moves = []
    for gone, state in going:
        facts = {"why": why, "dsn": told.get(gone.unit.id, "")}
        detail: Mapping[str, object] = {name: fact for name, fact in facts.items() if fact}
        moves.append(
            Move(gone.unit.id, State.CANCELLED, Reason.CANCELLED_BY_ADMIN, actor=actor, detail=detail, expected=state)
        )
    move_in(conn, moves)
    _record(conn, AuditAction.QUEUE_CANCEL, changes, actor=actor, why=why, told=told)
    return changes if tell is None else [_with_notice(change, told) for change in changes]


def _with_notice(change: Change, told: Mapping[str, str]) -> Change:
    if not change.done:
        return change
    report = told.get(change.unit.id)
    what = f"the sender is told by {report}" if report else "the sender may not or would not be told"
    return replace(change, text=f"{change.text}; {what}")


def _each(
    conn: Connection, units: Sequence[TracedUnit], now: int, one: Callable[[TracedUnit, _Row], Change]
) -> list[Change]:
    """`one` for each unit that waits and is not being delivered at this moment."""
    rows = _locked(conn, [unit.id for unit in units], now)
    changes = []
    for unit in units:
        row = rows[unit.id]
        if row.state not in WAITING:
            changes.append(Change(unit, False, f"is {row.state}, not waiting"))
        elif row.leased:
            changes.append(Change(unit, False, "is being delivered at this moment; look again in a minute"))
        else:
            changes.append(one(unit, row))
    return changes


def _locked(conn: Connection, ids: Sequence[str], now: int) -> dict[str, _Row]:
    """The rows as they are now, locked where the database can: units first, in order of id, as the ledger's moves do."""
    queue, units = schema.queue, schema.units
    states = conn.execute(
        select(units.c.id, units.c.state).where(units.c.id.in_(ids)).order_by(units.c.id).with_for_update()
    ).all()
    places = conn.execute(select(queue).where(queue.c.unit.in_(ids)).order_by(queue.c.unit).with_for_update())
    queued = {row.unit: row for row in places}
    found = {}
    for row in states:
        place = queued.get(row.id)
        if place is None:
            found[row.id] = _Row(State(row.state))
        else:
            leased = bool(place.holder) and place.lease_until > now
            found[row.id] = _Row(State(row.state), place.purpose, leased, bool(place.held))
    return found


def _set(conn: Connection, unit: TracedUnit, **values: int | bool) -> None:
    conn.execute(update(schema.queue).where(schema.queue.c.unit == unit.id).values(**values))


def _note(conn: Connection, changes: Sequence[Change], what: str, *, actor: str, now: int) -> None:
    note_in(
        conn,
        [
            MailEvent(
                change.unit.id, now, EventKind.NOTE, Reason(change.unit.reason), actor=actor, detail={"queue": what}
            )
            for change in changes
            if change.done
        ],
    )


def _record(
    conn: Connection,
    action: AuditAction,
    changes: Sequence[Change],
    *,
    actor: str,
    why: str,
    told: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """What was done, in the audit log."""
    entries = [
        AuditEntry(
            action,
            actor,
            why,
            tenant=change.unit.tenant,
            subject=change.unit.id,
            detail={"state": change.unit.state, **({"dsn": told[change.unit.id]} if change.unit.id in told else {})},
            personal={"recipient": change.unit.recipient, "sender": change.unit.mail_from},
        )
        for change in changes
        if change.done
    ]
    append_in(conn, *entries)
