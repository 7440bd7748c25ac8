"""A change of the profiles or rules is in the audit log once, however many workers notice it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from mailguard.store import audit
from mailguard.store.audit import AuditQuery
from mailguard.store.db import Database
from mailguard.store.policies_in_force import RULES, record_policies_in
from tests.unit.store.conftest import OpenDatabase


def record(hashes: Mapping[str, str], *, unknown: str = "") -> partial[int]:
    return partial(record_policies_in, hashes=hashes, actor="relay", node="w1", unknown=unknown)


def recorded(db: Database) -> list[tuple[str, str, object]]:
    found = db.read_sync(lambda conn: audit.search(conn, AuditQuery()))
    return [(entry.action, entry.subject, entry.detail["hash"]) for entry in found]


async def test_what_changed_is_recorded_once(open_db: OpenDatabase) -> None:
    first, second = open_db(), open_db()
    start = {"profile default": "a", "profile strict": "b", RULES: "r"}
    counts = await asyncio.gather(*(db.write(record(start)) for db in (first, second, first, second)))
    assert sorted(counts) == [0, 0, 0, 3]
    changed = {"profile default": "a2", RULES: "r2"}
    counts = await asyncio.gather(first.write(record(changed)), second.write(record(changed)))
    assert sorted(counts) == [0, 3]
    assert recorded(first) == [
        ("policy.change", "default", [None, "a"]),
        ("policy.change", "strict", [None, "b"]),
        ("policy.rules", "rules", [None, "r"]),
        ("policy.change", "default", ["a", "a2"]),
        ("policy.change", "strict", ["b", None]),
        ("policy.rules", "rules", ["r", "r2"]),
    ]


async def test_plans_that_cannot_be_read_are_not_taken_for_removed(db: Database) -> None:
    await db.write(record({"plan basic": "p", "profile default": "a"}))
    assert await db.write(record({"profile default": "b"}, unknown="plan ")) == 1
    assert await db.write(record({"profile default": "b"})) == 1
    assert recorded(db)[-2:] == [("policy.change", "default", ["a", "b"]), ("plan.change", "basic", ["p", None])]
