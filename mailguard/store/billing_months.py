"""Closed billing months, and the commit watermark by which they are closed. The rule is in billing.months."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, insert, select, text
from sqlalchemy.engine import Connection

from mailguard.store.schema import billing_months, events


@dataclass(frozen=True, slots=True)
class Closing:
    """A closed month (`YYYY-MM`). Times in milliseconds UTC; it has no event whose id is beyond `watermark`."""

    month: str
    ends_at: int
    closed_at: int
    watermark: int


def closings(conn: Connection) -> tuple[Closing, ...]:
    """All closed months, in order."""
    rows = conn.execute(select(billing_months).order_by(billing_months.c.month))
    return tuple(Closing(row.month, row.ends_at, row.closed_at, row.watermark) for row in rows)


def add(conn: Connection, closing: Closing) -> None:
    """Close a month."""
    conn.execute(
        insert(billing_months).values(
            month=closing.month, ends_at=closing.ends_at, closed_at=closing.closed_at, watermark=closing.watermark
        )
    )


def take_turn(conn: Connection) -> None:
    """Until this transaction ends nobody else closes a month or moves the meter on; readers do not wait.

    SQLite has one writer anyway.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("LOCK TABLE billing_months IN SHARE ROW EXCLUSIVE MODE"))


def commit_watermark(conn: Connection, *, patience: int | None = None) -> int:
    """The highest id of an event such that every event up to it is committed, or never will be.

    On PostgreSQL ids are given out before the commit, so whoever is writing events is waited for: for `patience`
    milliseconds, or as long as the connection waits for locks. Nobody starts to write meanwhile, so the transaction should
    end soon. Raises a driver's error that counts as "away" when it took longer.
    """
    if conn.dialect.name == "postgresql":
        before = conn.scalar(text("SHOW lock_timeout"))
        if patience is not None:
            conn.execute(text("SELECT set_config('lock_timeout', :value, true)"), {"value": str(patience)})
        conn.execute(text("LOCK TABLE events IN SHARE MODE"))
        conn.execute(text("SELECT set_config('lock_timeout', :value, true)"), {"value": before})
    return int(conn.scalar(select(func.max(events.c.id))) or 0)
