"""The kept mail: finding it, recording who looked at it, and deleting it.

Everything here works on an open transaction; bodies are the blob store's, which drops what no unit needs any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.engine import Connection

from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import EventKind, MailEvent, State
from mailguard.store import schema, trace
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.ledger import Move, move_in, note_in
from mailguard.store.matching import recipient_condition, sender_condition
from mailguard.store.trace import TracedUnit

IN_QUARANTINE = frozenset({State.QUARANTINED, State.UNDELIVERABLE, State.HELD})
"""What the quarantine lists by itself: kept from its recipient, and waiting for somebody's word or a new scan."""
DELETABLE = frozenset({State.QUARANTINED, State.UNDELIVERABLE, State.HELD, State.PARKED, State.RELEASED})
"""What an admin may delete before its retention ends."""


@dataclass(frozen=True, slots=True)
class HoldQuery:
    """Which kept mail; empty fields do not matter.

    `sender` and `recipient` are an address or a domain (`sender` also `<>`). Times in milliseconds UTC, of the receipt.
    At most `limit` units, the newest; 0: all.
    """

    tenant: int | None = None
    recipient: str = ""
    sender: str = ""
    reason: Reason | None = None
    since: int = 0
    until: int = 0
    states: frozenset[State] = IN_QUARANTINE
    limit: int = 100
    probes: bool = False
    """Also mail of `mailguard probe`, which goes by itself."""

    @property
    def names_something(self) -> bool:
        """Whether any filter is set, so that it does not mean the whole quarantine of all tenants."""
        return bool(self.tenant is not None or self.recipient or self.sender or self.reason or self.since or self.until)


def search(conn: Connection, query: HoldQuery) -> list[TracedUnit]:
    """The kept units that match, the oldest first."""
    units = schema.units
    conditions: list[ColumnElement[bool]] = [units.c.state.in_(sorted(str(state) for state in query.states))]
    if not query.probes:
        conditions.append(units.c.probe.is_(False))
    if query.tenant is not None:
        conditions.append(units.c.tenant == query.tenant)
    if query.recipient:
        conditions.append(recipient_condition(query.recipient))
    if query.sender:
        conditions.append(sender_condition(query.sender))
    if query.reason:
        conditions.append(units.c.reason == str(query.reason))
    if query.since:
        conditions.append(units.c.received_at >= query.since)
    if query.until:
        conditions.append(units.c.received_at < query.until)
    return trace.find_units(conn, conditions, limit=query.limit or trace.EVERYTHING)


def record_access(conn: Connection, units: Sequence[TracedUnit], *, actor: str, now: int, why: str = "") -> None:
    """Note in the trace of each unit that somebody reads its message. To be committed before the message is shown."""
    detail = {"what": "raw message", **({"why": why} if why else {})}
    note_in(
        conn,
        [MailEvent(unit.id, now, EventKind.ACCESS, Reason(unit.reason), actor=actor, detail=detail) for unit in units],
    )
    append_in(conn, *(_entry(AuditAction.QUARANTINE_VIEW, unit, actor=actor, why=why) for unit in units))


def delete(conn: Connection, units: Sequence[TracedUnit], *, actor: str, why: str = "") -> None:
    """Delete kept mail before its retention ends: all of these or, with a ConflictError, none."""
    wrong = [f"{unit.id} is {unit.state}" for unit in units if State(unit.state) not in DELETABLE]
    if wrong:
        raise ConflictError(f"only kept mail can be deleted: {', '.join(wrong)}")
    detail = {"why": why} if why else {}
    move_in(conn, [Move(unit.id, State.DELETED, Reason.DELETED_BY_ADMIN, actor=actor, detail=detail) for unit in units])
    append_in(conn, *(_entry(AuditAction.QUARANTINE_DELETE, unit, actor=actor, why=why) for unit in units))


def _entry(action: AuditAction, unit: TracedUnit, *, actor: str, why: str) -> AuditEntry:
    return AuditEntry(
        action,
        actor,
        why,
        tenant=unit.tenant,
        subject=unit.id,
        detail={"state": unit.state, "reason": unit.reason},
        personal={"recipient": unit.recipient, "sender": unit.mail_from},
    )


def totals(conn: Connection) -> list[tuple[int, str, int, int]]:
    """Kept mail by tenant id and state: how many units and the octets of their messages, for metrics. Without probes."""
    units, messages = schema.units, schema.messages
    rows = conn.execute(
        select(units.c.tenant, units.c.state, func.count(), func.coalesce(func.sum(messages.c.size), 0))
        .join(messages, messages.c.id == units.c.message)
        .where(units.c.state.in_(sorted(str(state) for state in IN_QUARANTINE)), units.c.probe.is_(False))
        .group_by(units.c.tenant, units.c.state)
    )
    return [(int(tenant), str(state), int(count), int(size)) for tenant, state, count, size in rows]
