"""The ledger: messages, their units, and every move of a unit from state to state with the event that records it.

`core.events.TRANSITIONS` is enforced inside the transaction by conditional updates, so of two that move the same unit at
once one gets a ConflictError. `begin` and `move` are not idempotent: a second call with the same ids raises ConflictError
and changes nothing, so whoever repeats one after an unknown outcome learns that it had happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Connection, and_, bindparam, delete, or_, select, true, update

from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.events import TRANSITIONS, EventKind, MailEvent, State
from mailguard.core.ids import unit_id
from mailguard.store import schema
from mailguard.store.addresses import address_ids
from mailguard.store.db import Database, now
from mailguard.store.engine import driver_errors, is_duplicate
from mailguard.store.file_index import add_files_in
from mailguard.store.findings import findings_to_json, points_to_json, results_to_json
from mailguard.store.intents import QUEUED, Arrived, Fences, Move, NewMessage, NewUnit, QueueEntry
from mailguard.store.leases import WORKER
from mailguard.store.probe_marks import take_mark_in
from mailguard.store.statements import inserting, run, run_many
from mailguard.store.texts import clean, edits_to_json, to_json

__all__ = [
    "QUEUED",
    "Arrived",
    "Fences",
    "Ledger",
    "Move",
    "NewMessage",
    "NewUnit",
    "QueueEntry",
    "add_originals_in",
    "addresses_of",
    "begin_in",
    "interrupt_dead_in",
    "move_in",
    "note_in",
]


class Ledger:
    """The ledger's transactions. Each is one work of the database's writer, committed when it returns."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def begin(self, message: NewMessage, units: Sequence[NewUnit]) -> Fences:
        """Record a message and its units. Raises ConflictError when the id is taken, UnavailableError."""
        return await self._db.write(
            lambda connection: begin_in(connection, message, units), addresses=addresses_of(message, units)
        )

    async def move(self, moves: Sequence[Move], *, events: Sequence[MailEvent] = ()) -> Fences:
        """Move units, all or none, and note `events` with them; returns the fences of the places in the queue it made.

        Raises ConflictError when one is not where its move starts, NotFoundError, UnavailableError.
        """

        return await self._db.write(lambda connection: move_in(connection, moves, events=events))

    async def note(self, events: Sequence[MailEvent]) -> None:
        """Add events that move nothing (attempts, accesses, notes). Raises NotFoundError, UnavailableError."""
        await self._db.write(lambda connection: note_in(connection, events))

    async def interrupt_dead(self, *, limit: int = 500) -> int:
        """Units that a worker was forwarding when its lease ran out become INTERRUPTED; returns how many, `limit` at most."""
        return await self._db.write(lambda connection: interrupt_dead_in(connection, limit=limit))


def addresses_of(message: NewMessage, units: Sequence[NewUnit]) -> list[str]:
    """What `Database.write` should be told of when its work calls `begin_in`."""
    return [message.mail_from, *(unit.recipient.address for unit in units)]


def begin_in(connection: Connection, message: NewMessage, units: Sequence[NewUnit]) -> Fences:
    """`Ledger.begin` inside a transaction."""
    for unit in units:
        _check_entry(unit.state, unit.queue)
        if unit.state not in TRANSITIONS[None]:
            raise ValueError(f"a unit cannot begin as {unit.state}")
        if unit.state.keeps_body and not message.blob:
            raise ValueError(f"a unit cannot begin as {unit.state} before its body is stored")
    ids = address_ids(connection, addresses_of(message, units))
    at = now(connection)
    units = [_marked_once(connection, message.id, unit, at) for unit in units]
    try:
        run(connection, _ADD_MESSAGE, _message_row(message, ids))
        run_many(connection, _ADD_UNIT, [_unit_row(message, unit, ids, at) for unit in units])
    except driver_errors() as error:
        if is_duplicate(error):
            raise ConflictError(f"message {message.id} is in the ledger already") from error
        raise
    if message.findings.attachments:
        add_files_in(connection, message.id, message.findings)
    run_many(connection, _ADD_EVENT, [_first_event_row(message, unit, at) for unit in units])
    queued = [_queue_row_of_new(message.id, unit, at) for unit in units if unit.queue is not None]
    if queued:
        run_many(connection, _ADD_TO_QUEUE, queued)
    return {row["unit"]: row["fence"] for row in queued}


def add_originals_in(connection: Connection, message: Arrived, units: Sequence[NewUnit]) -> None:
    """Record units beside those that a message has, to keep its original. Raises ConflictError when they are there already."""
    ids = address_ids(connection, [unit.recipient.address for unit in units])
    at = now(connection)
    try:
        run_many(connection, _ADD_UNIT, [_unit_row(message, unit, ids, at) for unit in units])
    except driver_errors() as error:
        if is_duplicate(error):
            raise ConflictError(f"the originals of {message.id} are in the ledger already") from error
        raise
    run_many(connection, _ADD_EVENT, [_first_event_row(message, unit, at) for unit in units])


def _marked_once(connection: Connection, message: str, unit: NewUnit, at: int) -> NewUnit:
    """The unit; as an ordinary mail's, when its mark as the probe's was used before."""
    if not unit.probe_mark or take_mark_in(connection, unit.probe_mark, unit=unit_id(message, unit.number), at=at):
        return unit
    return replace(unit, probe=False)


def _message_row(message: NewMessage, ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": message.id,
        "received_at": message.received_at,
        "client_ip": message.session.client_ip,
        "helo": clean(message.session.helo, 255),
        "tls": clean(message.session.tls, 64),
        "mail_from": ids[message.mail_from],
        "mail_from_raw": clean(message.mail_from),
        "options": to_json(message.options),
        "size": message.size,
        "sha256": message.sha256,
        "header_message_id": clean(message.header_message_id, 255),
        "header_from": clean(message.header_from, 320),
        "subject": clean(message.subject),
        "findings": findings_to_json(message.findings),
        "blob": message.blob,
    }


def _unit_row(message: NewMessage | Arrived, unit: NewUnit, ids: Mapping[str, int], at: int) -> dict[str, Any]:
    return {
        "id": unit_id(message.id, unit.number),
        "message": message.id,
        "tenant": unit.recipient.tenant,
        "recipient": ids[unit.recipient.address],
        "recipient_raw": clean(unit.recipient.address),
        "domain": unit.recipient.domain,
        "options": to_json(unit.recipient.options),
        "state": unit.state.value,
        "reason": unit.reason.value,
        "action": unit.decision.action.value,
        "score": unit.score,
        "policy": clean(unit.decision.policy, 64),
        "policy_hash": unit.decision.policy_hash,
        "explanation": clean(unit.decision.explanation),
        "symbols": points_to_json(unit.symbols),
        "found": results_to_json(unit.found),
        "headers": clean(unit.headers),
        "subject_tag": clean(unit.decision.subject_tag, 64),
        "holder": unit.holder,
        "received_at": message.received_at,
        "changed_at": at,
        "probe": unit.probe,
        "edits": edits_to_json(unit.edits),
        "original_of": unit_id(message.id, unit.original_of) if unit.original_of else "",
    }


def _first_event_row(message: NewMessage | Arrived, unit: NewUnit, at: int) -> dict[str, Any]:
    return {
        "at": at,
        "unit": unit_id(message.id, unit.number),
        "tenant": unit.recipient.tenant,
        "kind": EventKind.STATE.value,
        "from_state": None,
        "to_state": unit.state.value,
        "reason": unit.reason.value,
        "actor": "",
        "size": message.size,
        "detail": to_json(unit.detail),
    }


def _queue_row_of_new(message: str, unit: NewUnit, at: int) -> dict[str, Any]:
    assert unit.queue is not None
    return _queue_row(
        unit.queue,
        unit=unit_id(message, unit.number),
        message=message,
        tenant=unit.recipient.tenant,
        domain=unit.recipient.domain,
        at=at,
    )


def _queue_row(entry: QueueEntry, *, unit: str, message: str, tenant: int, domain: str, at: int) -> dict[str, Any]:
    return {
        "unit": unit,
        "message": message,
        "tenant": tenant,
        "domain": domain,
        "purpose": entry.purpose,
        "queued_at": at,
        "due_at": max(entry.due_at, entry.lease_until),
        "expires_at": entry.expires_at,
        "holder": entry.holder,
        "lease_until": entry.lease_until,
        "last_reply": clean(entry.reply, 512),
        # From the clock: a row that is made anew must not repeat the fences of the one before it.
        "fence": at,
    }


def _check_entry(state: State, entry: QueueEntry | None) -> None:
    if (state in QUEUED) != (entry is not None):
        raise ValueError(f"{state} {'needs a' if state in QUEUED else 'has no'} place in the queue")


_ADD_MESSAGE = inserting(schema.messages, without=["erased_at"])
_ADD_UNIT = inserting(schema.units, without=["erased_at"])
_ADD_EVENT = inserting(schema.events, without=["id"])
_ADD_TO_QUEUE = inserting(schema.queue, without=["attempts", "crashes", "held", "delay_told"])
_STATE = select(schema.units.c.state).where(schema.units.c.id == bindparam("unit"))
_TENANT = select(schema.units.c.tenant).where(schema.units.c.id == bindparam("unit"))
_MESSAGE = schema.messages.c.id == schema.units.c.message
_MOVE = (
    update(schema.units)
    .where(schema.units.c.id == bindparam("unit"), schema.units.c.state == bindparam("from_state"))
    .values(state=bindparam("to_state"), reason=bindparam("why"), changed_at=bindparam("at"), holder=bindparam("by"))
    .returning(
        schema.units.c.tenant,
        schema.units.c.domain,
        schema.units.c.message,
        select(schema.messages.c.size).where(_MESSAGE).correlate(schema.units).scalar_subquery(),
        select(schema.messages.c.blob).where(_MESSAGE).correlate(schema.units).scalar_subquery(),
    )
)
_MARK_KEPT = update(schema.messages).where(schema.messages.c.id == bindparam("its_message")).values(blob=true())
_DEQUEUE = delete(schema.queue).where(
    schema.queue.c.unit == bindparam("unit_id"),
    or_(bindparam("any_fence", type_=Boolean), schema.queue.c.fence == bindparam("its_fence")),
)


class _Moved(NamedTuple):
    """Where a unit was, and a row of _MOVE."""

    state: State
    tenant: int
    domain: str
    message: str
    size: int
    blob: bool


def move_in(connection: Connection, moves: Sequence[Move], *, events: Sequence[MailEvent] = ()) -> Fences:
    """`Ledger.move` inside a transaction."""
    if not moves:
        note_in(connection, events)
        return {}
    if len({move.unit for move in moves}) < len(moves):
        raise ValueError("a unit moves twice")
    at = now(connection)
    ordered = sorted(moves, key=lambda move: move.unit)  # one order for all: no deadlock between two of these
    moved = {move.unit: _move_one(connection, move, at) for move in ordered}
    rows = _note_rows(connection, events, {unit: one.tenant for unit, one in moved.items()})
    rows += [_event_row(move, moved[move.unit], at) for move in ordered]
    run_many(connection, _ADD_EVENT, rows)
    return {move.unit: at for move in moves if move.queue is not None}


def _move_one(connection: Connection, move: Move, at: int) -> _Moved:
    _check_entry(move.to_state, move.queue)
    moved = _moved(connection, move, at)
    if moved.state in QUEUED or move.dequeue or move.fence is not None:
        fence = {"any_fence": move.fence is None, "its_fence": move.fence or 0}
        if run(connection, _DEQUEUE, {"unit_id": move.unit, **fence}).rowcount != 1:
            raise ConflictError(f"{move.unit} is not in the queue, or no longer held by this claim")
    if move.queue is not None:
        place = _queue_row(
            move.queue, unit=move.unit, message=moved.message, tenant=moved.tenant, domain=moved.domain, at=at
        )
        run(connection, _ADD_TO_QUEUE, place)
    if move.to_state.keeps_body and not moved.blob:
        run(connection, _MARK_KEPT, {"its_message": moved.message})
    return moved


def _moved(connection: Connection, move: Move, at: int) -> _Moved:
    """Move the unit from where it most likely is, which is so without asking, or else from where it is."""
    likely = move.expected or (State.SPOOLED if move.dequeue or move.fence is not None else State.FORWARDING)
    if move.to_state in TRANSITIONS[likely] and (moved := _moved_from(connection, move, likely, at)):
        return moved
    found = run(connection, _STATE, {"unit": move.unit}).fetchone()
    if found is None:
        raise NotFoundError(f"no such mail: {move.unit}")
    state = State(found[0])
    if move.to_state not in TRANSITIONS[state] or (move.expected is not None and state is not move.expected):
        raise ConflictError(f"{move.unit} is {state}, so it cannot become {move.to_state}")
    moved = _moved_from(connection, move, state, at)
    if moved is None:
        raise ConflictError(f"{move.unit} was moved by someone else at the same time")
    return moved


def _moved_from(connection: Connection, move: Move, state: State, at: int) -> _Moved | None:
    """Move the unit if it is in `state`."""
    values = {"to_state": move.to_state.value, "why": move.reason.value, "at": at, "by": ""}
    # All rows: SQLite commits nothing while one may still come.
    rows = run(connection, _MOVE, {"unit": move.unit, "from_state": state.value, **values}).fetchall()
    return _Moved(state, *rows[0]) if rows else None


def _event_row(move: Move, moved: _Moved, at: int) -> dict[str, Any]:
    return {
        "at": at,
        "unit": move.unit,
        "tenant": moved.tenant,
        "kind": EventKind.STATE.value,
        "from_state": moved.state.value,
        "to_state": move.to_state.value,
        "reason": move.reason.value,
        "actor": clean(move.actor, 128),
        "size": move.size or moved.size,
        "detail": to_json(move.detail),
    }


def note_in(connection: Connection, events: Sequence[MailEvent]) -> None:
    """`Ledger.note` inside a transaction. A STATE event is refused: only a move writes one."""
    if events:
        run_many(connection, _ADD_EVENT, _note_rows(connection, events, {}))


def _note_rows(connection: Connection, events: Sequence[MailEvent], known: Mapping[str, int]) -> list[dict[str, Any]]:
    """`known`: tenants of units that need not be looked up."""
    if any(event.kind is EventKind.STATE for event in events):
        raise ValueError("a STATE event is written by the move that it tells of")
    tenants = dict(known)
    for unit in {event.unit for event in events} - tenants.keys():
        found = run(connection, _TENANT, {"unit": unit}).fetchone()
        if found is None:
            raise NotFoundError(f"no such mail: {unit}")
        tenants[unit] = found[0]
    return [_note_row(event, tenants[event.unit]) for event in events]


def _note_row(event: MailEvent, tenant: int) -> dict[str, Any]:
    return {
        "at": event.at,
        "unit": event.unit,
        "tenant": tenant,
        "kind": event.kind.value,
        "from_state": None,
        "to_state": None,
        "reason": event.reason.value,
        "actor": clean(event.actor, 128),
        "size": 0,
        "detail": to_json(event.detail),
    }


def interrupt_dead_in(connection: Connection, *, limit: int) -> int:
    """`Ledger.interrupt_dead` inside a transaction."""
    units, leases = schema.units, schema.leases
    alive = and_(leases.c.name == WORKER + units.c.holder, leases.c.until > now(connection))
    dead = connection.scalars(
        select(units.c.id)
        .where(units.c.state == State.FORWARDING.value, ~select(leases.c.name).where(alive).exists())
        .limit(limit)
    ).all()
    move_in(
        connection,
        [Move(unit, State.INTERRUPTED, Reason.WORKER_DIED, expected=State.FORWARDING) for unit in dead],
    )
    return len(dead)
