"""Leases by the database's clock: which worker instances live, and who does scheduled work, with fences.

A lease that was not renewed in time is anybody's. Its fence grows each time it changes hands, so work that an old holder
left half done can be told from the new one's.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, delete, or_, select, update

from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError
from mailguard.store.db import Database, now
from mailguard.store.schema import leases, queue, units
from mailguard.store.statements import upserting

WORKER = "worker:"
"""Prefix of the lease by which a worker instance shows that it lives: `worker:<instance>`, held by the instance."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it stands. `until` is in milliseconds UTC of the database's clock."""

    name: str
    holder: str
    until: int
    fence: int


class Leases:
    """Takes, renews and gives up leases."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def acquire(self, name: str, holder: str, *, lease_ms: int) -> Lease | None:
        """Take the lease, or renew one's own; None while another holds it. Raises UnavailableError."""
        return await self._db.write(lambda connection: acquire_in(connection, name, holder, lease_ms=lease_ms))

    async def release(self, name: str, holder: str) -> bool:
        """Give it up; False when one did not hold it any more."""
        return await self._db.write(lambda connection: release_in(connection, name, holder))

    async def beat(self, instance: str, *, lease_ms: int) -> Lease | None:
        """Say that a worker instance lives. When the fence has grown, it was thought dead in the meantime."""
        return await self.acquire(WORKER + instance, instance, lease_ms=lease_ms)

    async def leave(self, instance: str) -> bool:
        """Say that a worker instance has ended, whatever work it had; False when it was thought dead already."""
        return await self._db.write(lambda connection: leave_in(connection, instance))

    async def bury(self, instance: str) -> int:
        """A worker instance is known to be dead: what it held need not wait for its leases to run out. See bury_in."""
        return await self._db.write(lambda connection: bury_in(connection, instance))

    async def workers(self) -> tuple[Lease, ...]:
        """The worker instances that live."""
        return await self._db.read(workers_in)

    async def forget_workers(self, *, older_ms: int) -> int:
        """Remove the leases of workers that ran out longer ago than this; returns how many."""
        return await self._db.write(lambda connection: _forget_workers_in(connection, older_ms=older_ms))


def acquire_in(connection: Connection, name: str, holder: str, *, lease_ms: int) -> Lease | None:
    """`Leases.acquire` inside a transaction."""
    at = now(connection)
    statement = upserting(connection, leases).values(name=name, holder=holder, until=at + lease_ms, fence=at)
    held_on = and_(leases.c.holder == holder, leases.c.until > at)
    row = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "holder": holder,
                "until": at + lease_ms,
                "fence": case((held_on, leases.c.fence), else_=leases.c.fence + 1),
            },
            where=or_(leases.c.holder == holder, leases.c.until <= at),
        ).returning(leases.c.fence)
    ).one_or_none()
    return None if row is None else Lease(name, holder, at + lease_ms, row.fence)


def release_in(connection: Connection, name: str, holder: str) -> bool:
    """`Leases.release` inside a transaction. The row stays, so that fences go on growing."""
    at = now(connection)
    held = and_(leases.c.name == name, leases.c.holder == holder, leases.c.until > at)
    return connection.execute(update(leases).where(held).values(until=at)).rowcount == 1


def leave_in(connection: Connection, instance: str) -> bool:
    """`Leases.leave` inside a transaction: gives up all that the instance holds, so that others need not wait for it."""
    at = now(connection)
    held = and_(leases.c.holder == instance, leases.c.until > at)
    given_up = connection.scalars(update(leases).where(held).values(until=at).returning(leases.c.name))
    return WORKER + instance in given_up.all()


def bury_in(connection: Connection, instance: str) -> int:
    """Inside a transaction: all leases of an instance end now, and what it claimed of the queue is due; returns how many.

    Only for an instance whose process is known to have ended: one that is merely silent may still be sending. Its claims
    keep its name, so that the next claim counts a crash. Mail whose next hop may yet say that it took it (RFC 5321
    §4.5.3.2.6) waits for the end of its lease.
    """
    at = now(connection)
    leave_in(connection, instance)
    awaited = select(units.c.id).where(units.c.id == queue.c.unit, units.c.reason == Reason.OUTCOME_UNKNOWN.value)
    claimed = and_(queue.c.holder == instance, queue.c.due_at > at, ~queue.c.held, ~awaited.exists())
    return connection.execute(update(queue).where(claimed).values(due_at=at)).rowcount


def require_in(connection: Connection, lease: Lease) -> None:
    """Inside a transaction that does scheduled work. Raises ConflictError when the lease has passed to another."""
    held = and_(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.fence == lease.fence)
    statement = select(leases.c.until).where(held)
    if connection.execute(statement.with_for_update()).one_or_none() is None:
        raise ConflictError(f"the lease {lease.name} has passed to another")


def workers_in(connection: Connection) -> tuple[Lease, ...]:
    """The worker instances that live."""
    alive = and_(leases.c.name.startswith(WORKER, autoescape=True), leases.c.until > now(connection))
    rows = connection.execute(select(leases).where(alive).order_by(leases.c.name))
    return tuple(Lease(row.name, row.holder, row.until, row.fence) for row in rows)


def _forget_workers_in(connection: Connection, *, older_ms: int) -> int:
    old = leases.c.until < now(connection) - older_ms
    return connection.execute(delete(leases).where(leases.c.name.startswith(WORKER, autoescape=True), old)).rowcount
