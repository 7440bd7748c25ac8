"""Upkeep of message bodies: each is deleted once no unit of its message can need it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection, Exists, and_, exists, or_, select, update

from mailguard.core.clock import DAY
from mailguard.core.events import KEEPS_BODY, State
from mailguard.core.ids import received_ms
from mailguard.store.blobs import BlobStore
from mailguard.store.db import Database, now
from mailguard.store.schema import messages, units

_WAITING = KEEPS_BODY | {State.FORWARDING, State.RELEASED}
"""States from which a unit may still come to need the body: `release --again` takes a RELEASED one back to the queue."""
_JOURNAL_DELAY = 7 * DAY
"""How long, in milliseconds, the outcome of an INTERRUPTED unit may still come out of a journal."""
ORPHAN_AGE = DAY
"""Age in milliseconds at which a body that belongs to nothing is removed. Its row is committed within minutes or never."""


async def release_bodies(db: Database, blobs: BlobStore, *, limit: int = 200, of: Sequence[str] | None = None) -> int:
    """Delete bodies that nothing needs any more, `limit` at most; returns how many. Raises UnavailableError.

    `of` looks at these messages only, after an outcome; upkeep looks at all. The mark goes first: a crash in between leaves
    an orphan, which `sweep_orphans` finds, never a mark without its body.
    """
    released = await db.write(lambda connection: unmark_in(connection, limit=limit, of=of))
    for message in released:
        await asyncio.to_thread(blobs.delete, message)
    return len(released)


def unmark_in(connection: Connection, *, limit: int, of: Sequence[str] | None = None) -> Sequence[str]:
    """Inside a transaction: messages that were marked to have a body, and need none any more, are so no longer."""
    unneeded = and_(messages.c.blob, ~_needed(now(connection)))
    asked = unneeded if of is None else and_(messages.c.id.in_(of), unneeded)
    found = connection.scalars(select(messages.c.id).where(asked).limit(limit)).all()
    # Asked again in the update: between the two another process may have moved a unit.
    still = and_(messages.c.id.in_(found), unneeded)
    return connection.scalars(update(messages).where(still).values(blob=False).returning(messages.c.id)).all()


async def sweep_orphans(db: Database, blobs: BlobStore) -> int:
    """Delete bodies that no message is marked to have; returns how many. For upkeep, once a day: it lists the store."""
    removed = 0
    batch: list[str] = []
    for body in await asyncio.to_thread(lambda: list(blobs.ids())):
        batch.append(body)
        if len(batch) == 500:
            removed += await _sweep(db, blobs, batch)
            batch = []
    return removed + await _sweep(db, blobs, batch)


async def _sweep(db: Database, blobs: BlobStore, bodies: Sequence[str]) -> int:
    orphans = await db.read(lambda connection: orphans_in(connection, bodies))
    for body in orphans:
        await asyncio.to_thread(blobs.delete, body)
    return len(orphans)


def orphans_in(connection: Connection, bodies: Sequence[str]) -> list[str]:
    """Which of these bodies nothing has, and nothing can come to have."""
    at = now(connection)
    kept = select(messages.c.id).where(messages.c.id.in_(bodies), or_(messages.c.blob, _needed(at)))
    known = set(connection.scalars(kept))
    return [body for body in bodies if body not in known and received_ms(body) < at - ORPHAN_AGE]


def _needed(at: int) -> Exists:
    interrupted = and_(units.c.state == State.INTERRUPTED, units.c.changed_at > at - _JOURNAL_DELAY)
    return exists().where(units.c.message == messages.c.id, or_(units.c.state.in_(list(_WAITING)), interrupted))
