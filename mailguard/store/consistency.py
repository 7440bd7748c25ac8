"""Proves the ledger: each unit in one known state, reached by an unbroken chain of events, with what that state needs.

What it names is a defect of ours or damage from outside; nothing is repaired here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select, union_all

from mailguard.core.clock import HOUR
from mailguard.core.events import KEEPS_BODY, TRANSITIONS, EventKind, State
from mailguard.core.ids import received_ms
from mailguard.store.blobs import BlobStore
from mailguard.store.db import now
from mailguard.store.ledger import QUEUED
from mailguard.store.schema import events, messages, queue, units

LIMIT = 1_000
"""How many discrepancies of one kind are named."""
ORPHAN_AGE = HOUR
"""A body younger than this, in milliseconds, may belong to a transaction that is still to be committed."""


class Kind(StrEnum):
    """What is wrong."""

    UNKNOWN_STATE = "unknown_state"
    NO_EVENTS = "no_events"
    NO_UNIT = "no_unit"
    STATE_IS_NOT_LAST_EVENTS = "state_is_not_last_events"
    BROKEN_CHAIN = "broken_chain"
    FORBIDDEN_MOVE = "forbidden_move"
    WRONG_TENANT = "wrong_tenant"
    NOT_QUEUED = "not_queued"
    QUEUED_WITHOUT_NEED = "queued_without_need"
    QUEUE_DIFFERS = "queue_differs"
    BODY_NOT_MARKED = "body_not_marked"
    BODY_MISSING = "body_missing"
    BODY_ORPHANED = "body_orphaned"
    COUNTS_DIFFER = "counts_differ"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One thing that does not fit. `subject` is a unit, a message or `tenant N`; `text` says what for people."""

    kind: Kind
    subject: str
    text: str


def check_in(connection: Connection, blobs: BlobStore | None = None) -> list[Discrepancy]:
    """All discrepancies, LIMIT of a kind at most; none is what it should be. Without `blobs` no file is looked for.

    It reads all of the ledger in one transaction: seconds per million units. Raises UnavailableError.
    """
    found = [*_states(connection), *_chains(connection), *_queue(connection), *_marks(connection)]
    found += _counts(connection)
    if blobs is not None:
        found += _bodies(connection, blobs)
    return found


def _rows(connection: Connection, statement: Select[Any]) -> Iterable[Any]:
    return connection.execute(statement.limit(LIMIT))


def _states(connection: Connection) -> Iterator[Discrepancy]:
    unknown = select(units.c.id, units.c.state).where(units.c.state.not_in(list(State)))
    for row in _rows(connection, unknown):
        yield Discrepancy(Kind.UNKNOWN_STATE, row.id, f"its state {row.state!r} is not one of the ledger's")
    moved = and_(events.c.unit == units.c.id, events.c.kind == EventKind.STATE)
    for row in _rows(connection, select(units.c.id, units.c.state).where(~exists().where(moved))):
        yield Discrepancy(Kind.NO_EVENTS, row.id, f"it is {row.state}, but no event says how it came there")
    for row in _rows(
        connection, select(events.c.id, events.c.unit).where(~exists().where(units.c.id == events.c.unit))
    ):
        yield Discrepancy(Kind.NO_UNIT, row.unit, f"event {row.id} is of a unit that is not there")
    wrong = select(events.c.id, events.c.unit, events.c.tenant.label("of_event"), units.c.tenant.label("of_unit"))
    for row in _rows(
        connection, wrong.join(units, units.c.id == events.c.unit).where(events.c.tenant != units.c.tenant)
    ):
        text = f"event {row.id} is of tenant {row.of_event}, the unit of tenant {row.of_unit}"
        yield Discrepancy(Kind.WRONG_TENANT, row.unit, text)


def _chains(connection: Connection) -> Iterator[Discrepancy]:
    chain = (
        select(
            events.c.id,
            events.c.unit,
            events.c.from_state,
            events.c.to_state,
            func.lag(events.c.to_state).over(partition_by=events.c.unit, order_by=events.c.id).label("before"),
            func.row_number().over(partition_by=events.c.unit, order_by=events.c.id.desc()).label("from_last"),
        )
        .where(events.c.kind == EventKind.STATE)
        .subquery()
    )
    broken = func.coalesce(chain.c.from_state, "") != func.coalesce(chain.c.before, "")
    for row in _rows(connection, select(chain).where(broken)):
        text = f"event {row.id} moves it from {row.from_state or 'nothing'}, but it was {row.before or 'not there'}"
        yield Discrepancy(Kind.BROKEN_CHAIN, row.unit, text)
    last = select(chain.c.unit, chain.c.to_state, units.c.state).join(units, units.c.id == chain.c.unit)
    for row in _rows(connection, last.where(chain.c.from_last == 1, chain.c.to_state != units.c.state)):
        text = f"it is {row.state}, but its last event made it {row.to_state}"
        yield Discrepancy(Kind.STATE_IS_NOT_LAST_EVENTS, row.unit, text)
    for row in _rows(connection, select(events).where(events.c.kind == EventKind.STATE, ~_allowed())):
        text = f"event {row.id} moves it from {row.from_state or 'nothing'} to {row.to_state}, which is not allowed"
        yield Discrepancy(Kind.FORBIDDEN_MOVE, row.unit, text)


def _allowed() -> ColumnElement[bool]:
    """The event is a move of core.events.TRANSITIONS."""
    moves = []
    for state, following in TRANSITIONS.items():
        start = events.c.from_state.is_(None) if state is None else events.c.from_state == state.value
        moves.append(and_(start, events.c.to_state.in_(list(following))))
    return or_(*moves)


def _queue(connection: Connection) -> Iterator[Discrepancy]:
    queued = units.c.state.in_(list(QUEUED))
    row_of_unit = exists().where(queue.c.unit == units.c.id)
    for row in _rows(connection, select(units.c.id, units.c.state).where(queued, ~row_of_unit)):
        yield Discrepancy(Kind.NOT_QUEUED, row.id, f"it is {row.state}, but not in the queue")
    joined = select(queue, units.c.state).join(units, units.c.id == queue.c.unit)
    for row in _rows(connection, joined.where(~queued)):
        yield Discrepancy(Kind.QUEUED_WITHOUT_NEED, row.unit, f"it is {row.state}, but still in the queue")
    differs = or_(
        queue.c.message != units.c.message, queue.c.tenant != units.c.tenant, queue.c.domain != units.c.domain
    )
    for row in _rows(connection, joined.where(differs)):
        yield Discrepancy(Kind.QUEUE_DIFFERS, row.unit, "the queue has another message, tenant or domain for it")


def _marks(connection: Connection) -> Iterator[Discrepancy]:
    kept = select(units.c.id, units.c.state).join(messages, messages.c.id == units.c.message)
    for row in _rows(connection, kept.where(units.c.state.in_(list(KEEPS_BODY)), ~messages.c.blob)):
        yield Discrepancy(
            Kind.BODY_NOT_MARKED, row.id, f"it is {row.state}, but its message is marked as without a body"
        )


def _counts(connection: Connection) -> Iterator[Discrepancy]:
    """Per tenant and state: what came in less what went out is what is there."""
    state_events = events.c.kind == EventKind.STATE
    came = select(events.c.tenant, events.c.to_state.label("state"), func.count().label("n"))
    went = select(events.c.tenant, events.c.from_state.label("state"), (-func.count()).label("n"))
    flow = union_all(
        came.where(state_events).group_by(events.c.tenant, events.c.to_state),
        went.where(state_events, events.c.from_state.is_not(None)).group_by(events.c.tenant, events.c.from_state),
    ).subquery()
    net = select(flow.c.tenant, flow.c.state, func.sum(flow.c.n).label("n")).group_by(flow.c.tenant, flow.c.state)
    there = select(units.c.tenant, units.c.state, func.count().label("n")).group_by(units.c.tenant, units.c.state)
    by_events = {(row.tenant, row.state): int(row.n) for row in connection.execute(net)}
    by_units = {(row.tenant, row.state): int(row.n) for row in connection.execute(there)}
    for tenant, state in sorted(by_events.keys() | by_units.keys()):
        expected, actual = by_events.get((tenant, state), 0), by_units.get((tenant, state), 0)
        if expected != actual:
            text = f"{actual} units are {state}, but the events make it {expected}"
            yield Discrepancy(Kind.COUNTS_DIFFER, f"tenant {tenant}", text)


def _bodies(connection: Connection, blobs: BlobStore) -> Iterator[Discrepancy]:
    kept = select(units.c.message).where(units.c.state.in_(list(KEEPS_BODY))).distinct()
    missing = (message for message in connection.scalars(kept) if not blobs.exists(message))
    for _, message in zip(range(LIMIT), missing, strict=False):
        yield Discrepancy(Kind.BODY_MISSING, message, "its body is needed, but not in the blob store")
    marked = set(connection.scalars(select(messages.c.id).where(messages.c.blob)))
    before = now(connection) - ORPHAN_AGE
    orphaned = (body for body in blobs.ids() if body not in marked and received_ms(body) < before)
    for _, body in zip(range(LIMIT), orphaned, strict=False):
        yield Discrepancy(
            Kind.BODY_ORPHANED, body, "the blob store has a body for it that no message is marked to have"
        )
