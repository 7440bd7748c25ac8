"""The marks of the probe's mails that were believed: each is once, so that one that was seen cannot be used again."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from mailguard.core.clock import DAY
from mailguard.store.schema_service import probe_marks
from mailguard.store.statements import upserting

KEPT = DAY
"""Milliseconds for which a mark that was used is remembered; it is believed for a fraction of that."""
_AT_ONCE = 20
"""Old rows that each new one takes along: more than come, so that there are never many."""


def take_mark_in(connection: Connection, mark: str, *, unit: str, at: int) -> bool:
    """Use the mark with the id `mark` for a unit, at `at` (ms UTC); False when it was used before."""
    row = upserting(connection, probe_marks).values(id=mark, at=at, unit=unit).on_conflict_do_nothing()
    if connection.execute(row.returning(probe_marks.c.id)).first() is None:
        return False
    old = select(probe_marks.c.id).where(probe_marks.c.at < at - KEPT).order_by(probe_marks.c.id).limit(_AT_ONCE)
    connection.execute(delete(probe_marks).where(probe_marks.c.id.in_(old)))
    return True
