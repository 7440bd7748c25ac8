"""Which profiles, rules and plans are in force, so that a change of them is in the audit log once, whoever notices it first."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, insert, select, update

from mailguard.store.audit import AuditAction, AuditEntry, append_in, canonical, lock_head
from mailguard.store.schema import meta

RULES = "rules"
"""The name that stands for the content rules."""
PROFILE, PLAN = "profile ", "plan "
"""What comes before the names of the others."""
_KEY = "policies_in_force"


def record_policies_in(
    connection: Connection, hashes: Mapping[str, str], *, actor: str, node: str, unknown: str = ""
) -> int:
    """Record what is in force now, as hashes by `profile NAME`, `plan NAME` or RULES, where it differs from what was; how many.

    `unknown`: of names that begin so it is not known what is in force, so they stay. `node` names the worker that noticed. Nodes whose files differ record each other's as changes: which then shows.
    """
    lock_head(connection)  # of several that notice the same at once, the first records it
    found = connection.scalar(select(meta.c.value).where(meta.c.key == _KEY))
    before: dict[str, str] = json.loads(found or "{}")
    now = {**{name: kept for name, kept in before.items() if unknown and name.startswith(unknown)}, **hashes}
    entries = [
        AuditEntry(
            _action(name),
            actor,
            subject=name.removeprefix(PROFILE).removeprefix(PLAN),
            detail={"hash": [before.get(name), now.get(name)], "node": node},
        )
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if not entries:
        return 0
    value = canonical(now)
    if not connection.execute(update(meta).where(meta.c.key == _KEY).values(value=value)).rowcount:
        connection.execute(insert(meta).values(key=_KEY, value=value))
    append_in(connection, *entries)
    return len(entries)


def _action(name: str) -> AuditAction:
    if name == RULES:
        return AuditAction.POLICY_RULES
    return AuditAction.PLAN_CHANGE if name.startswith(PLAN) else AuditAction.POLICY_CHANGE
