"""How far a reader of the ledger's events has come: numbers in `meta`, moved in the transaction that counts what was read.

Soft facts are added up from events so, off the hot path; of two workers that count the same, the later one is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, func, insert, select, update

from mailguard.core.clock import SECOND
from mailguard.core.errors import ConflictError
from mailguard.store.db import now
from mailguard.store.schema import meta

SETTLED = 10 * SECOND
"""On PostgreSQL ids are given out before the commit: what is younger than this (ms) waits for those before it."""


def settled_until(connection: Connection) -> int:
    """Up to what time (ms UTC) events may be read: none with a lower id can come any more."""
    return now(connection) - (SETTLED if connection.dialect.name == "postgresql" else 0)


def positions(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    """The last id that was counted, by key; 0 where nothing was."""
    found = connection.execute(select(meta).where(meta.c.key.in_(keys)))
    return dict.fromkeys(keys, 0) | {row.key: int(row.value) for row in found}


def advance(connection: Connection, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Move the bookmarks that have moved. Raises ConflictError when somebody else moved one since `before` was read."""
    for key, position in after.items():
        if before[key] != position:
            _move(connection, key, before[key], position)


def _move(connection: Connection, key: str, before: int, after: int) -> None:
    mine = update(meta).where(meta.c.key == key, meta.c.value == str(before)).values(value=str(after))
    if connection.execute(mine).rowcount:
        return
    if connection.scalar(select(func.count()).select_from(meta).where(meta.c.key == key)):
        raise ConflictError("these events were counted by somebody else")
    connection.execute(insert(meta).values(key=key, value=str(after)))
