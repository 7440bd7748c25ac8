"""Mail that was judged wrongly, as somebody said, and requests to release kept mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.engine import Connection

from mailguard.core.decision import Action, Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import EventKind, State
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.schema import events
from mailguard.store.schema_service import complaints, release_requests
from mailguard.store.statements import upserting
from mailguard.store.texts import clean
from mailguard.store.trace import TracedUnit


class Kind(StrEnum):
    """What was wrong."""

    SPAM = "spam"
    """It was delivered, and is spam."""
    VIRUS = "virus"
    """It was delivered, and holds a virus."""
    FALSE_POSITIVE = "false-positive"
    """It was kept or refused, and is wanted."""

    def fits(self, unit: TracedUnit) -> bool:
        """Whether a mail can have been judged wrongly so. What an admin released was judged by him."""
        if self is Kind.FALSE_POSITIVE:
            return unit.action in _STOPS
        return unit.state == State.DELIVERED


_STOPS = frozenset({Action.QUARANTINE, Action.HOLD, Action.REJECT, Action.DISCARD})


KEPT = frozenset({State.QUARANTINED, State.UNDELIVERABLE, State.HELD})
"""States that a release may be asked for in."""
_MISFITS = {
    Kind.SPAM: "only mail that was delivered can be reported as spam",
    Kind.VIRUS: "only mail that was delivered can be reported as a virus",
    Kind.FALSE_POSITIVE: "only mail that was kept or refused can have been so wrongly",
}


@dataclass(frozen=True, slots=True)
class Complaint:
    """One mail that was judged wrongly. `at` is in milliseconds UTC."""

    unit: str
    tenant: int
    kind: Kind
    at: int
    actor: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A request to release a mail, and when that was answered by a release or a deletion; None: not yet. In ms UTC."""

    unit: str
    tenant: int
    at: int
    answered_at: int | None
    actor: str = ""
    why: str = ""


def complain(
    conn: Connection, units: Sequence[TracedUnit], kind: Kind, *, actor: str, now: int, why: str = ""
) -> list[str]:
    """Record that these units were judged wrongly; the ids of those that had not been recorded so before.

    Raises ConflictError, and records none, when one of them cannot have been.
    """
    wrong = [f"{unit.id} ({unit.state})" for unit in units if not kind.fits(unit)]
    if wrong:
        raise ConflictError(f"{_MISFITS[kind]}: {', '.join(wrong)}")
    new = []
    for unit in units:
        row = {"unit": unit.id, "tenant": unit.tenant, "kind": kind.value, "at": now}
        added = conn.execute(
            upserting(conn, complaints)
            .values(**row, actor=clean(actor, 128), why=clean(why))
            .on_conflict_do_nothing(index_elements=["unit", "kind"])
            .returning(complaints.c.id)
        )
        if added.first() is not None:
            new.append(unit)
    append_in(conn, *(_entry(AuditAction.REPORT_MAIL, unit, actor, why, {"kind": kind.value}) for unit in new))
    return [unit.id for unit in new]


def withdraw(conn: Connection, units: Sequence[TracedUnit], kind: Kind, *, actor: str, why: str = "") -> list[str]:
    """Take back what was recorded of these units; the ids of those that it had been."""
    gone = []
    for unit in units:
        mine = (complaints.c.unit == unit.id) & (complaints.c.kind == kind.value)
        if conn.execute(delete(complaints).where(mine)).rowcount:
            gone.append(unit)
    facts = {"kind": kind.value, "withdrawn": True}
    append_in(conn, *(_entry(AuditAction.REPORT_MAIL, unit, actor, why, facts) for unit in gone))
    return [unit.id for unit in gone]


def list_complaints(
    conn: Connection, *, tenant: int | None = None, start: int = 0, end: int | None = None
) -> list[Complaint]:
    """Complaints from `start` up to but not including `end` (ms UTC), of all tenants or one, in order."""
    query = select(complaints).where(complaints.c.at >= start)
    if end is not None:
        query = query.where(complaints.c.at < end)
    if tenant is not None:
        query = query.where(complaints.c.tenant == tenant)
    return [
        Complaint(row.unit, row.tenant, Kind(row.kind), row.at, row.actor, row.why)
        for row in conn.execute(query.order_by(complaints.c.at, complaints.c.id))
    ]


def request_release(conn: Connection, units: Sequence[TracedUnit], *, actor: str, now: int, why: str = "") -> list[str]:
    """Record requests to release units; the ids of those of which no request was open.

    Raises ConflictError, and records none, when one of them is not kept.
    """
    wrong = [f"{unit.id} ({unit.state})" for unit in units if unit.state not in KEPT]
    if wrong:
        raise ConflictError(f"only kept mail can be released: {', '.join(wrong)}")
    waiting = {request.unit for request in _requests(conn, [unit.id for unit in units]) if request.answered_at is None}
    new = [unit for unit in units if unit.id not in waiting]
    for unit in new:
        last = conn.scalar(select(func.max(events.c.id)).where(events.c.unit == unit.id)) or 0
        conn.execute(
            insert(release_requests).values(
                unit=unit.id, tenant=unit.tenant, at=now, event=last, actor=clean(actor, 128), why=clean(why)
            )
        )
    append_in(conn, *(_entry(AuditAction.QUARANTINE_REQUEST, unit, actor, why, {}) for unit in new))
    return [unit.id for unit in new]


def list_requests(
    conn: Connection, *, tenant: int | None = None, start: int = 0, end: int | None = None
) -> list[ReleaseRequest]:
    """Requests made from `start` up to but not including `end` (ms UTC), of all tenants or one, in order."""
    table = release_requests
    conditions = [table.c.at >= start]
    if end is not None:
        conditions.append(table.c.at < end)
    if tenant is not None:
        conditions.append(table.c.tenant == tenant)
    return _select(conn, *conditions)


def _requests(conn: Connection, units: Sequence[str]) -> list[ReleaseRequest]:
    return _select(conn, release_requests.c.unit.in_(units))


def _entry(action: AuditAction, unit: TracedUnit, actor: str, why: str, facts: Mapping[str, object]) -> AuditEntry:
    return AuditEntry(
        action,
        actor,
        why,
        tenant=unit.tenant,
        subject=unit.id,
        detail={"state": unit.state, "reason": unit.reason, **facts},
        personal={"recipient": unit.recipient, "sender": unit.mail_from},
    )


def _select(conn: Connection, *conditions: ColumnElement[bool]) -> list[ReleaseRequest]:
    table = release_requests
    answered = (
        select(func.min(events.c.at))
        .where(
            events.c.unit == table.c.unit,
            events.c.id > table.c.event,
            events.c.kind == EventKind.STATE.value,
            events.c.reason.in_([Reason.RELEASED_BY_ADMIN.value, Reason.DELETED_BY_ADMIN.value]),
            events.c.to_state.in_([State.SPOOLED.value, State.DELETED.value]),
        )
        .scalar_subquery()
    )
    query = select(table, answered.label("answered_at")).where(*conditions).order_by(table.c.at, table.c.id)
    return [
        ReleaseRequest(row.unit, row.tenant, row.at, row.answered_at, row.actor, row.why) for row in conn.execute(query)
    ]
