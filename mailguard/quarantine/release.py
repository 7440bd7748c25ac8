"""Releasing kept mail: the original message to its original recipient, through the queue, exactly once.

One transaction moves the unit in the ledger and puts it into the queue, on the condition that it is still where it was.
Whoever comes second, from whatever place, finds it moved and is told so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.engine import Connection

from mailguard.core.decision import Reason
from mailguard.core.events import EventKind, State
from mailguard.store import schema
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.complaints import Kind, complain
from mailguard.store.ledger import Move, QueueEntry, move_in
from mailguard.store.lifetimes import queue_lifetimes
from mailguard.store.trace import TracedUnit

PURPOSE = "release"
RELEASABLE = frozenset({State.QUARANTINED, State.UNDELIVERABLE, State.HELD})
"""States a release starts from; from RELEASED only when it is asked for again."""


class Outcome(StrEnum):
    """What became of one unit's release."""

    RELEASING = "releasing"
    """In the queue now, by this call."""
    UNDER_WAY = "under_way"
    """In the queue already, by an earlier call."""
    RELEASED = "released"
    """Delivered already; `again` would deliver it once more."""
    MALWARE = "malware"
    """Left alone: it needs `force`."""
    NOT_SCANNED = "not_scanned"
    """Left alone: its scan is still to be made, so it needs `force`."""
    NO_ROUTE = "no_route"
    """Left alone: its domain is no longer the tenant's."""
    NO_BODY = "no_body"
    """Left alone: its message is no longer kept."""
    NOT_KEPT = "not_kept"
    """Left alone: it is in a state that nothing is released from."""

    @property
    def is_done(self) -> bool:
        """Whether the unit is on its way or delivered, by whichever call."""
        return self in (Outcome.RELEASING, Outcome.UNDER_WAY, Outcome.RELEASED)


@dataclass(frozen=True, slots=True)
class Release:
    """One unit and what became of it. `malware` names the signatures that were found in it."""

    unit: TracedUnit
    outcome: Outcome
    malware: tuple[str, ...] = ()


def release(
    conn: Connection,
    units: Sequence[TracedUnit],
    *,
    actor: str,
    now: int,
    lifetime: int,
    why: str = "",
    force: bool = False,
    again: bool = False,
    false_positive: bool = False,
) -> list[Release]:
    """Release those of `units` that may be; what became of each, in their order.

    `now` is the database's time and `lifetime` how long delivery is tried for tenants without a time of their own, both in
    milliseconds. `force` releases malware
    and what was not scanned, `again` what was released already; both are recorded in the event, with `actor` and `why`.
    `false_positive`: those that are released should not have been kept, which is recorded too.
    Raises ConflictError when a unit was moved at the same moment (the caller may repeat the call) and UnavailableError.
    """
    states = _states_now(conn, [unit.id for unit in units])
    routes = _routed(conn, units)
    lifetimes = queue_lifetimes(conn, default=lifetime)
    marked = _marked_as_malware(conn, [unit.id for unit in units])
    results, moves, entries = [], [], []
    for unit in units:
        malware = unit.findings.malware or (("malware",) if unit.id in marked else ())
        state, purpose = states[unit.id]
        routed = (unit.tenant, unit.domain) in routes
        outcome = _outcome(unit, state, purpose, malware=malware, routed=routed, force=force, again=again)
        results.append(Release(unit, outcome, malware))
        if outcome is Outcome.RELEASING:
            detail: dict[str, object] = {"purpose": PURPOSE, "why": why} if why else {"purpose": PURPOSE}
            if again and state is State.RELEASED:
                detail["again"] = True
            if malware:
                detail["malware"] = list(malware)
            if malware or state is State.HELD:
                detail["forced"] = True
            entry = QueueEntry(PURPOSE, due_at=now, expires_at=now + lifetimes[unit.tenant])
            reason = Reason.RELEASED_BY_ADMIN
            moves.append(Move(unit.id, State.SPOOLED, reason, actor=actor, detail=detail, queue=entry, expected=state))
            entries.append(_entry(unit, state, detail, actor=actor, why=why))
    move_in(conn, moves)
    append_in(conn, *entries)
    if false_positive:
        wanted = [result.unit for result in results if result.outcome.is_done and Kind.FALSE_POSITIVE.fits(result.unit)]
        complain(conn, wanted, Kind.FALSE_POSITIVE, actor=actor, now=now, why=why)
    return results


def _entry(unit: TracedUnit, state: State, detail: Mapping[str, object], *, actor: str, why: str) -> AuditEntry:
    facts = {name: fact for name, fact in detail.items() if name not in ("why", "purpose")}
    return AuditEntry(
        AuditAction.QUARANTINE_RELEASE,
        actor,
        why,
        tenant=unit.tenant,
        subject=unit.id,
        detail={"from": state, **facts},
        personal={"recipient": unit.recipient, "sender": unit.mail_from},
    )


def _outcome(
    unit: TracedUnit,
    state: State,
    purpose: str,
    *,
    malware: tuple[str, ...],
    routed: bool,
    force: bool,
    again: bool,
) -> Outcome:
    conditions = (
        (state is State.SPOOLED and purpose == PURPOSE, Outcome.UNDER_WAY),
        (state is State.RELEASED and not again, Outcome.RELEASED),
        (state not in RELEASABLE and state is not State.RELEASED, Outcome.NOT_KEPT),
        (not unit.body, Outcome.NO_BODY),
        (bool(malware) and not force, Outcome.MALWARE),
        (state is State.HELD and not force, Outcome.NOT_SCANNED),
        (not routed, Outcome.NO_ROUTE),
    )
    return next((outcome for applies, outcome in conditions if applies), Outcome.RELEASING)


def _states_now(conn: Connection, ids: Sequence[str]) -> dict[str, tuple[State, str]]:
    """The state and queue purpose of each unit, the rows locked until the end of the transaction where the database can."""
    units, queue = schema.units, schema.queue
    locked = conn.execute(
        select(units.c.id, units.c.state).where(units.c.id.in_(ids)).order_by(units.c.id).with_for_update()
    ).all()
    purposes = {row.unit: row.purpose for row in conn.execute(select(queue).where(queue.c.unit.in_(ids)))}
    return {row.id: (State(row.state), purposes.get(row.id, "")) for row in locked}


def _routed(conn: Connection, units: Sequence[TracedUnit]) -> set[tuple[int, str]]:
    domains = schema.domains
    names = {unit.domain for unit in units}
    return {(row.tenant, row.name) for row in conn.execute(select(domains).where(domains.c.name.in_(names)))}


def _marked_as_malware(conn: Connection, ids: Sequence[str]) -> set[str]:
    """Units that were ever kept as malware: after a release that failed their reason is another."""
    events = schema.events
    rows = conn.execute(
        select(events.c.unit).where(
            events.c.unit.in_(ids), events.c.kind == str(EventKind.STATE), events.c.reason == str(Reason.MALWARE)
        )
    )
    return {row.unit for row in rows}
