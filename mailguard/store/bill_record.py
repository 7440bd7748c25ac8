"""What the audit log has of plans and closed months: recorded once, by whoever comes upon it first."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, insert, select, update

from mailguard.core.clock import to_iso
from mailguard.store import billing_months
from mailguard.store.audit import AuditAction, AuditEntry, AuditQuery, append_in, canonical, lock_head, search
from mailguard.store.schema import meta

_KEY = "plans_seen"


def record_plans_in(connection: Connection, hashes: Mapping[str, str], *, actor: str) -> int:
    """Record plans, by name and hash, where they differ from what they were when last seen; how many did."""
    lock_head(connection)
    found = connection.scalar(select(meta.c.value).where(meta.c.key == _KEY))
    before: dict[str, str] = json.loads(found or "{}")
    entries = [
        AuditEntry(AuditAction.PLAN_CHANGE, actor, subject=name, detail={"hash": [before.get(name), hashes.get(name)]})
        for name in sorted(before.keys() | hashes.keys())
        if before.get(name) != hashes.get(name)
    ]
    if entries:
        value = canonical(dict(hashes))
        if not connection.execute(update(meta).where(meta.c.key == _KEY).values(value=value)).rowcount:
            connection.execute(insert(meta).values(key=_KEY, value=value))
        append_in(connection, *entries)
    return len(entries)


def record_closings_in(connection: Connection, *, actor: str) -> int:
    """Record the months that are closed and not recorded yet; how many."""
    lock_head(connection)
    recorded = {entry.subject for entry in search(connection, AuditQuery(action="bill.close", limit=0))}
    entries = [
        AuditEntry(
            AuditAction.BILL_CLOSE,
            actor,
            subject=closing.month,
            detail={"closed_at": to_iso(closing.closed_at), "watermark": closing.watermark},
        )
        for closing in billing_months.closings(connection)
        if closing.month not in recorded
    ]
    append_in(connection, *entries)
    return len(entries)
