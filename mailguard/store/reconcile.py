"""Puts right what a crash, a restored backup or damage left of rows and bodies that belong together, and says what it found.

Only what has one right answer is mended: mail that waits is in the queue, what does not wait is not, a needed body that is
there is marked, a body of nothing goes. A needed body that is missing is named; the queue parks such mail when it is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, and_, delete, exists, insert, select, update

from mailguard.core.decision import Reason
from mailguard.core.events import KEEPS_BODY, EventKind, MailEvent, State
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store.blobs import BlobStore
from mailguard.store.bodies import sweep_orphans
from mailguard.store.db import Database, now
from mailguard.store.ledger import QUEUED, note_in
from mailguard.store.lifetimes import queue_lifetimes
from mailguard.store.schema import events, messages, queue, units

LIMIT = 1_000
"""Rows of a kind that one transaction mends; the rest is found the next time."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found. `requeued` and `dequeued` name units, `marked` and `missing` messages; `orphans`: bodies deleted."""

    requeued: tuple[str, ...] = ()
    dequeued: tuple[str, ...] = ()
    marked: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    orphans: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        lists = {
            "requeued": self.requeued,
            "dequeued": self.dequeued,
            "marked": self.marked,
            "missing": self.missing,
        }
        return {**{kind: len(found) for kind, found in lists.items()}, "orphans": self.orphans}


async def reconcile(db: Database, blobs: BlobStore, *, lifetime: int) -> Reconciled:
    """Mend and report. `lifetime` in milliseconds is how long mail is tried that comes back into the queue.

    It lists the blob store, and looks for each body that is needed: after a start, and once a day. Raises UnavailableError.
    """
    kept = await db.read(_kept_in)
    missing = await asyncio.to_thread(lambda: [message for message in kept if not blobs.exists(message)])
    # Asked again: what left the queue meanwhile has rightly lost its body.
    missing = await db.read(partial(_still_kept_in, candidates=missing))
    marked = await db.write(lambda connection: mark_in(connection, missing=missing))
    requeued = await db.write(lambda connection: requeue_in(connection, lifetime=lifetime))
    dequeued = await db.write(dequeue_in)
    orphans = await sweep_orphans(db, blobs)
    return Reconciled(tuple(requeued), tuple(dequeued), tuple(marked), tuple(missing), orphans)


def _kept_in(connection: Connection) -> Sequence[str]:
    kept = select(units.c.message).where(units.c.state.in_(list(KEEPS_BODY))).distinct()
    return connection.scalars(kept).all()


def _still_kept_in(connection: Connection, *, candidates: Sequence[str]) -> list[str]:
    found: list[str] = []
    for start in range(0, len(candidates), 500):
        of = units.c.message.in_(candidates[start : start + 500])
        found += connection.scalars(
            select(units.c.message).where(of, units.c.state.in_(list(KEEPS_BODY))).distinct()
        ).all()
    return found


def mark_in(connection: Connection, *, missing: Sequence[str]) -> Sequence[str]:
    """Mark messages whose body a unit needs as having one, but for those it is `missing` of; returns them."""
    needed = exists().where(units.c.message == messages.c.id, units.c.state.in_(list(KEEPS_BODY)))
    unmarked = connection.scalars(select(messages.c.id).where(~messages.c.blob, needed).limit(LIMIT)).all()
    wrong = [message for message in unmarked if message not in set(missing)]
    still = and_(messages.c.id.in_(wrong), ~messages.c.blob, needed)
    return connection.scalars(update(messages).where(still).values(blob=True).returning(messages.c.id)).all()


def requeue_in(connection: Connection, *, lifetime: int) -> list[str]:
    """Give a place in the queue, due now, to units that wait without one; returns them."""
    at = now(connection)
    lost = connection.execute(
        select(units.c.id, units.c.message, units.c.tenant, units.c.domain, units.c.state, units.c.reason)
        .where(units.c.state.in_(list(QUEUED)), ~exists().where(queue.c.unit == units.c.id))
        .order_by(units.c.id)
        .limit(LIMIT)
        .with_for_update()
    ).all()
    if not lost:
        return []
    lifetimes = queue_lifetimes(connection, default=lifetime)
    connection.execute(
        insert(queue),
        [
            {
                "unit": row.id,
                "message": row.message,
                "tenant": row.tenant,
                "domain": row.domain,
                "purpose": "rescan"
                if row.state == State.HELD
                else spooled_purpose(connection, unit=row.id, tenant=row.tenant),
                "queued_at": at,
                "due_at": at,
                "expires_at": at + lifetimes[row.tenant],
                "fence": at,
            }
            for row in lost
        ],
    )
    note_in(connection, [_note(row.id, row.reason, at, "requeued") for row in lost])
    return [row.id for row in lost]


def dequeue_in(connection: Connection) -> list[str]:
    """Take units out of the queue that do not wait any more; returns them."""
    at = now(connection)
    over = connection.execute(
        select(units.c.id, units.c.reason)
        .join(queue, queue.c.unit == units.c.id)
        .where(units.c.state.not_in(list(QUEUED)))
        .order_by(units.c.id)
        .limit(LIMIT)
        .with_for_update()
    ).all()
    connection.execute(delete(queue).where(queue.c.unit.in_([row.id for row in over])))
    note_in(connection, [_note(row.id, row.reason, at, "dequeued") for row in over])
    return [row.id for row in over]


def _note(unit: str, reason: str, at: int, what: str) -> MailEvent:
    return MailEvent(unit, at, EventKind.NOTE, Reason(reason), detail={"reconciled": what})


def spooled_purpose(connection: Connection, *, unit: str, tenant: int) -> str:
    """What a unit that has no place in the queue was spooled for. What was released once stays a release, however often it was parked."""
    if tenant == SYSTEM_TENANT:
        is_report = exists().where(events.c.unit == unit, events.c.reason == str(Reason.REPORT_SENT))
        return "report" if connection.execute(select(is_report)).scalar_one() else "dsn"
    was_released = exists().where(
        events.c.unit == unit,
        events.c.to_state == str(State.SPOOLED),
        events.c.reason == str(Reason.RELEASED_BY_ADMIN),
    )
    return "release" if connection.execute(select(was_released)).scalar_one() else "forward"
