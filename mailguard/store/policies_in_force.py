"""Which profiles and rules the relay filters by, so that a change of them is in the audit log once, whoever notices it first."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, insert, select, update

from mailguard.store.audit import AuditAction, AuditEntry, append_in, canonical, lock_head
from mailguard.store.schema import meta

RULES = "rules"
"""The name that stands for the content rules; no profile has a file of that name in its place."""
_KEY = "policies_in_force"


def record_policies_in(connection: Connection, hashes: Mapping[str, str], *, actor: str, node: str) -> int:
    """Record what is in force now, as hashes by `profile NAME` or RULES, where it differs from what was; how many changed.

    `node` names the worker that noticed. Nodes whose files differ record each other's as changes: which then shows.
    """
    lock_head(connection)  # of several that notice the same at once, the first records it
    found = connection.scalar(select(meta.c.value).where(meta.c.key == _KEY))
    before: dict[str, str] = json.loads(found or "{}")
    entries = [
        AuditEntry(
            AuditAction.POLICY_RULES if name == RULES else AuditAction.POLICY_CHANGE,
            actor,
            subject=name.removeprefix("profile "),
            detail={"hash": [before.get(name), hashes.get(name)], "node": node},
        )
        for name in sorted(before.keys() | hashes.keys())
        if before.get(name) != hashes.get(name)
    ]
    if not entries:
        return 0
    value = canonical(dict(hashes))
    if not connection.execute(update(meta).where(meta.c.key == _KEY).values(value=value)).rowcount:
        connection.execute(insert(meta).values(key=_KEY, value=value))
    append_in(connection, *entries)
    return len(entries)
