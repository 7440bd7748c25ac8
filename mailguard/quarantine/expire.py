"""The end of retention: kept mail becomes EXPIRED, in small transactions so that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.engine import Connection

from mailguard.core.clock import DAY, HOUR
from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.store import schema
from mailguard.store.ledger import Move, move_in

EXPIRING = frozenset({State.QUARANTINED, State.UNDELIVERABLE, State.PARKED, State.RELEASED})
"""What retention ends. HELD is not among them: its place in the queue says when it is given up."""
PROBES = HOUR
"""Milliseconds for which kept mail of `mailguard probe` is kept, whatever the profile says: nobody will want it."""

T = TypeVar("T")


class WritesDatabase(Protocol):
    """What Expiry needs of store.db.Database."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return when it is committed."""
        ...

    def now(self, connection: Connection, /) -> int:
        """The database's clock, in milliseconds UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days kept mail of a profile is kept, from when it came into its present state."""

    quarantine_days: float
    malware_days: float


class Expiry:
    """Ends what is past its tenant's retention. Several may run at once; each unit expires once."""

    def __init__(self, db: WritesDatabase, *, retention: Callable[[str], Retention], batch: int = 200) -> None:
        """`retention` tells it by the name of a profile; `batch` is how many units one transaction takes."""
        self._db = db
        self._retention = retention
        self._batch = batch

    async def run(self) -> int:
        """Expire all that is due now; how many units. Raises UnavailableError; what was done by then stays done."""
        total = 0
        while True:
            try:
                count = await self._db.write(self._expire)
            except ConflictError:
                continue  # somebody released or deleted one of them at this moment: it is not due any more
            total += count
            if count < self._batch:
                return total

    def _expire(self, conn: Connection) -> int:
        return expire(conn, now=self._db.now(conn), retention=self._retention, limit=self._batch)


def expire(conn: Connection, *, now: int, retention: Callable[[str], Retention], limit: int) -> int:
    """Expire at most `limit` units that are past their tenant's retention at `now` (ms UTC); how many."""
    tenants, units = schema.tenants, schema.units
    profiles = conn.execute(select(tenants.c.profile).distinct()).scalars().all()
    past: list[ColumnElement[bool]] = [and_(units.c.probe, units.c.changed_at < now - PROBES)]
    for profile in profiles:
        days = retention(profile)
        malware = units.c.reason == str(Reason.MALWARE)
        past.append(
            and_(
                tenants.c.profile == profile,
                or_(
                    and_(malware, units.c.changed_at < now - round(days.malware_days * DAY)),
                    and_(~malware, units.c.changed_at < now - round(days.quarantine_days * DAY)),
                ),
            )
        )
    due = conn.execute(
        select(units.c.id, units.c.state)
        .join(tenants, tenants.c.id == units.c.tenant)
        .where(units.c.state.in_(sorted(str(state) for state in EXPIRING)), or_(*past))
        .order_by(units.c.changed_at)
        .limit(limit)
    ).all()
    move_in(conn, [Move(row.id, State.EXPIRED, Reason.RETENTION, expected=State(row.state)) for row in due])
    return len(due)
