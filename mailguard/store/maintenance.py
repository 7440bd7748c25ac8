"""Announced maintenance windows: times in which the door may be closed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, or_, select, update
from sqlalchemy.engine import Connection

from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.schema_service import maintenance_windows
from mailguard.store.texts import clean


@dataclass(frozen=True, slots=True)
class Window:
    """A window from `start` up to but not including `end`, announced at `announced_at`; all in milliseconds UTC.

    `tenant` is None when it holds for all.
    """

    id: int
    tenant: int | None
    start: int
    end: int
    announced_at: int
    author: str = ""
    why: str = ""


def add_window(
    conn: Connection, *, tenant: int | None, start: int, end: int, now: int, author: str, why: str = ""
) -> Window:
    """Announce a window. Raises ConflictError when it has begun already, or ends before it begins."""
    if end <= start:
        raise ConflictError("the window ends before it begins")
    if start < now:
        raise ConflictError("the window has begun already: only what is announced before counts")
    number = conn.execute(
        insert(maintenance_windows)
        .values(
            tenant=tenant, starts_at=start, ends_at=end, announced_at=now, author=clean(author, 128), why=clean(why)
        )
        .returning(maintenance_windows.c.id)
    ).scalar_one()
    window = Window(int(number), tenant, start, end, now, author, why)
    append_in(conn, _entry(AuditAction.MAINTENANCE_ADD, window, author, why))
    return window


def remove_window(conn: Connection, number: int, *, now: int, actor: str, why: str = "") -> Window:
    """Take a window back. Raises NotFoundError, and ConflictError when it is over."""
    found = [window for window in windows(conn) if window.id == number]
    if not found:
        raise NotFoundError(f"no maintenance window {number}; see `mailguard maintenance list`")
    if found[0].end <= now:
        raise ConflictError(f"maintenance window {number} is over, and stays on record")
    conn.execute(update(maintenance_windows).where(maintenance_windows.c.id == number).values(removed_at=now))
    append_in(conn, _entry(AuditAction.MAINTENANCE_REMOVE, found[0], actor, why))
    return found[0]


def _entry(action: AuditAction, window: Window, actor: str, why: str) -> AuditEntry:
    detail = {"start": window.start, "end": window.end}
    return AuditEntry(action, actor, why, tenant=window.tenant, subject=str(window.id), detail=detail)


def windows(conn: Connection, *, tenant: int | None = None, start: int = 0, end: int | None = None) -> list[Window]:
    """The windows that overlap the time from `start` to `end`, of all tenants or those that hold for one; by their start."""
    table = maintenance_windows
    query = select(table).where(table.c.removed_at.is_(None), table.c.ends_at > start)
    if end is not None:
        query = query.where(table.c.starts_at < end)
    if tenant is not None:
        query = query.where(or_(table.c.tenant.is_(None), table.c.tenant == tenant))
    return [
        Window(row.id, row.tenant, row.starts_at, row.ends_at, row.announced_at, row.author, row.why)
        for row in conn.execute(query.order_by(table.c.starts_at, table.c.id))
    ]
