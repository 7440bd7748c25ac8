"""Tenants' allow and deny entries: the writing half. They are read along with the tenant, in store.tenants."""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.tenant import ListKind
from mailguard.store import schema
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.tenants import bump, tenant_by_name
from mailguard.store.texts import clean


def add_list_entry(
    conn: Connection,
    *,
    tenant: str,
    kind: ListKind,
    pattern: str,
    now: int,
    author: str = "",
    reason: str = "",
    expires_at: int = 0,
) -> None:
    """Add an allow or deny entry. Raises ConflictError when a live one has the same pattern; an expired one is replaced."""
    record = tenant_by_name(conn, tenant)
    entries = schema.list_entries
    same = (entries.c.tenant == record.tenant.id) & (entries.c.kind == str(kind)) & (entries.c.pattern == pattern)
    old = conn.execute(select(entries.c.author, entries.c.expires_at).where(same)).one_or_none()
    if old is not None:
        if old.expires_at == 0 or old.expires_at > now:
            by = f", by {old.author}" if old.author else ""
            raise ConflictError(f"{pattern} is on {tenant}'s {kind} list already{by}; remove it first to change it")
        conn.execute(delete(entries).where(same))
    conn.execute(
        insert(entries).values(
            tenant=record.tenant.id,
            kind=str(kind),
            pattern=pattern,
            author=clean(author, 128),
            reason=clean(reason),
            created_at=now,
            expires_at=expires_at,
        )
    )
    bump(conn)
    append_in(
        conn,
        AuditEntry(
            AuditAction.LIST_ADD,
            author,
            reason,
            tenant=record.tenant.id,
            detail={"list": str(kind), "expires_at": expires_at},
            personal={"pattern": pattern},
        ),
    )


def remove_list_entry(
    conn: Connection, *, tenant: str, kind: ListKind, pattern: str, actor: str = "", why: str = ""
) -> None:
    """Remove an allow or deny entry. Raises NotFoundError."""
    record = tenant_by_name(conn, tenant)
    entries = schema.list_entries
    removed = conn.execute(
        delete(entries).where(
            entries.c.tenant == record.tenant.id, entries.c.kind == str(kind), entries.c.pattern == pattern
        )
    ).rowcount
    if not removed:
        raise NotFoundError(f"{pattern} is not on {tenant}'s {kind} list; see `mailguard tenant {kind} list {tenant}`")
    bump(conn)
    append_in(
        conn,
        AuditEntry(
            AuditAction.LIST_REMOVE,
            actor,
            why,
            tenant=record.tenant.id,
            detail={"list": str(kind)},
            personal={"pattern": pattern},
        ),
    )
