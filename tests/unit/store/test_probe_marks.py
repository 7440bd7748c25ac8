"""Marks of the probe's mails: each makes one mail free, and old ones are forgotten."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select

from mailguard.core.clock import HOUR
from mailguard.core.ids import new_message_id
from mailguard.store.db import Database
from mailguard.store.probe_marks import KEPT, take_mark_in
from mailguard.store.schema_service import probe_marks

NOW = 1_764_000_000_000


def test_a_mark_is_taken_once(db: Database) -> None:
    mark = new_message_id(NOW)
    taken = [db.write_sync(lambda conn: take_mark_in(conn, mark, unit="u-1", at=NOW)) for _ in range(3)]
    assert taken == [True, False, False]


def test_old_marks_are_forgotten_and_younger_ones_are_not(db: Database) -> None:
    def take(at: int) -> Callable[..., bool]:
        return lambda conn: take_mark_in(conn, new_message_id(at), unit="u-1", at=at)

    for minute in range(30):
        db.write_sync(take(NOW + minute))
    db.write_sync(take(NOW + KEPT - HOUR))
    for _ in range(3):
        db.write_sync(take(NOW + KEPT + HOUR))
    left = db.read_sync(lambda conn: conn.execute(select(func.count()).select_from(probe_marks)).scalar_one())
    assert left == 4
