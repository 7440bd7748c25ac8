"""The audit log on both databases: one chain whoever appends, nothing in it can be changed, and what is erased stays proven."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from mailguard.core.errors import NotFoundError
from mailguard.store import audit
from mailguard.store.audit import GENESIS, AuditAction, AuditEntry, AuditQuery, append_in
from mailguard.store.audit_check import Defect, verify_in
from mailguard.store.db import Database
from tests.unit.store.conftest import OpenDatabase

RELEASE = AuditAction.QUARANTINE_RELEASE


def an_entry(number: int = 1, *, actor: str = "ann", **fields: object) -> AuditEntry:
    values: dict[str, object] = {
        "why": f"reason {number}",
        "tenant": 2,
        "subject": f"01J8ZQ4W2M7T5RKX3F9C1B6NDE-{number}",
        "detail": {"again": False, "number": number},
        "personal": {"recipient": f"joe{number}@acme.test"},
        **fields,
    }
    return AuditEntry(RELEASE, actor, **values)  # type: ignore[arg-type]


def add(db: Database, *entries: AuditEntry) -> None:
    db.write_sync(lambda conn: append_in(conn, *entries))


def tamper(db: Database, statement: str) -> None:
    """Change what the triggers protect, as somebody could who owns the database."""
    if db.dialect == "postgresql":

        def work(conn: Connection) -> None:
            conn.execute(text("SET LOCAL session_replication_role = replica"))
            conn.execute(text(statement))

        db.write_sync(work)
        return
    with closing(sqlite3.connect(str(db._writing.url.database))) as file, file:
        for (trigger,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP TRIGGER {trigger}")
        file.execute(statement)


def defects(db: Database, *, noted: str = "") -> set[tuple[Defect, int]]:
    report = db.read_sync(lambda conn: verify_in(conn, noted=noted))
    assert report.holds is (not report.defects)
    return {(defect.defect, defect.sequence) for defect in report.defects}


def test_an_empty_log_holds(db: Database) -> None:
    report = db.read_sync(verify_in)
    assert (report.holds, report.entries, report.head.hash) == (True, 0, GENESIS)


def test_entries_are_chained_and_read_back(db: Database) -> None:
    add(db, an_entry(1), an_entry(2, actor="bob"))
    add(db, AuditEntry(AuditAction.POLICY_CHANGE, "relay", subject="default", detail={"hash": "ab"}))
    first, second, third = db.read_sync(lambda conn: audit.search(conn, AuditQuery()))
    assert [record.sequence for record in (first, second, third)] == [1, 2, 3]
    assert [first.previous, second.previous, third.previous] == [GENESIS, first.hash, second.hash]
    assert (first.texts_of("actor"), first.texts_of("why"), first.texts_of("recipient")) == (
        "ann",
        "reason 1",
        "joe1@acme.test",
    )
    assert (first.detail, first.tenant, third.tenant) == ({"again": False, "number": 1}, 2, None)
    assert [text.role for text in third.texts] == ["actor"]  # nobody said why: there is nothing to keep
    report = db.read_sync(verify_in)
    assert (report.holds, report.entries, report.texts, report.head.hash) == (True, 3, 7, third.hash)
    assert db.read_sync(audit.head_in) == report.head


def test_the_chain_can_be_checked_with_nothing_but_a_hash_function(db: Database) -> None:
    """What docs/audit.md says of the format, written down once more."""
    add(db, an_entry(1), an_entry(2))
    previous = "0" * 64
    for record in db.read_sync(lambda conn: audit.search(conn, AuditQuery())):
        for one in record.texts:
            assert one.text is not None and one.salt is not None
            said = json.dumps([one.role, one.text], separators=(",", ":")).encode()
            assert hmac.new(bytes.fromhex(one.salt), said, "sha256").hexdigest() == one.commitment
        value = {
            "action": record.action,
            "at": record.at,
            "commitments": [[one.role, one.commitment] for one in record.texts],
            "detail": dict(record.detail),
            "previous": previous,
            "sequence": record.sequence,
            "subject": record.subject,
            "tenant": record.tenant,
        }
        made = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        assert hashlib.sha256(made).hexdigest() == record.hash
        previous = record.hash


def test_searching(db: Database) -> None:
    add(db, an_entry(1), an_entry(2, actor="bob", tenant=3))
    add(db, AuditEntry(AuditAction.QUEUE_HOLD, "ann", tenant=2, subject="01J8ZQ4W2M7T5RKX3F9C1B6NDF-1"))

    def found(**fields: object) -> list[int]:
        query = AuditQuery(**fields)  # type: ignore[arg-type]
        return [record.sequence for record in db.read_sync(lambda conn: audit.search(conn, query))]

    assert found(tenant=2) == [1, 3]
    assert found(action="quarantine") == [1, 2]
    assert found(action="quarantine.release") == [1, 2]
    assert found(action="q") == []
    assert found(actor="bob") == [2]
    assert found(subject="01J8ZQ4W2M7T5RKX3F9C1B6NDE") == [1, 2]
    assert found(subject="01J8ZQ4W2M7T5RKX3F9C1B6NDE-2") == [2]
    assert found(limit=1) == [3]
    assert found(until=1) == []
    assert db.read_sync(lambda conn: audit.get(conn, 2)).sequence == 2
    with pytest.raises(NotFoundError, match="the last one is 3"):
        db.read_sync(lambda conn: audit.get(conn, 4))


def test_an_entry_is_undone_with_its_change(db: Database) -> None:
    def work(conn: Connection) -> None:
        append_in(conn, an_entry(1))
        raise NotFoundError("the change failed")

    with pytest.raises(NotFoundError):
        db.write_sync(work)
    add(db, an_entry(2))
    assert [record.detail["number"] for record in db.read_sync(lambda conn: audit.search(conn, AuditQuery()))] == [2]
    assert defects(db) == set()


def test_thousands_of_addresses_share_a_few_texts(db: Database) -> None:
    many = [f"joe{number}@acme.test" for number in range(5_000)]
    add(db, AuditEntry(AuditAction.RECIPIENT_IMPORT, "ann", tenant=2, personal={"added": many}))
    (record,) = db.read_sync(lambda conn: audit.search(conn, AuditQuery()))
    added = [one.text for one in record.texts if one.role == "added"]
    assert len(added) == 200
    assert "\n".join(filter(None, added)).split("\n") == many


def test_hostile_text_is_kept_as_it_can_be(db: Database) -> None:
    add(db, an_entry(1, actor="a\0b\ud800", why='"}],[\u202e\n', personal={"pattern": "é" * 5_000}))
    assert defects(db) == set()
    (record,) = db.read_sync(lambda conn: audit.search(conn, AuditQuery()))
    assert record.texts_of("actor") == "a\ufffdb\ufffd"


# --- append-only -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET subject = 'x'",
        "UPDATE audit SET sequence = 9 WHERE sequence = 2",
        "DELETE FROM audit WHERE sequence = 2",
        "DELETE FROM audit",
        "INSERT INTO audit (sequence, at, action, previous, hash) VALUES (9, 0, 'x', 'x', 'x')",
        "INSERT INTO audit (sequence, at, action, previous, hash) VALUES (3, 0, 'x', 'wrong', 'x')",
        "UPDATE audit_subjects SET text = 'nobody'",
        "UPDATE audit_subjects SET text = NULL",
        "UPDATE audit_subjects SET text = NULL, salt = NULL, erased_at = 1, role = 'x'",
        "DELETE FROM audit_subjects",
        "UPDATE audit_head SET hash = 'x'",
        "UPDATE audit_head SET sequence = 1",
        "DELETE FROM audit_head",
        "INSERT INTO audit_head VALUES (2, 0, 'x')",
    ],
)
def test_the_database_itself_refuses_changes(db: Database, statement: str) -> None:
    add(db, an_entry(1), an_entry(2))
    if "INSERT INTO audit_head" in statement and db.dialect == "postgresql":
        statement = "INSERT INTO audit_head VALUES (1, 0, 'x')"
    with pytest.raises(DBAPIError):
        db.write_sync(lambda conn: conn.execute(text(statement)))
    assert defects(db) == set()


@pytest.mark.parametrize("table", ["audit", "audit_subjects", "audit_head"])
def test_neither_replacing_nor_truncating_gets_past_the_triggers(db: Database, table: str) -> None:
    add(db, an_entry(1), an_entry(2))
    if db.dialect == "postgresql":
        statement = f"TRUNCATE {table} CASCADE"
    else:
        statement = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
    with pytest.raises(DBAPIError, match="append-only"):
        db.write_sync(lambda conn: conn.execute(text(statement)))


# --- verify ----------------------------------------------------------------------------------------------------------

CHANGED, MISSING, ORDER = Defect.CHANGED, Defect.MISSING, Defect.OUT_OF_ORDER


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit SET subject = 'x' WHERE sequence = 2", {(CHANGED, 2)}),
        ("UPDATE audit SET tenant = 7 WHERE sequence = 2", {(CHANGED, 2)}),
        ("UPDATE audit SET at = at + 1 WHERE sequence = 4", {(CHANGED, 4)}),
        ("UPDATE audit SET detail = 'not JSON' WHERE sequence = 2", {(CHANGED, 2), (Defect.TEXT_UNKNOWN, 2)}),
        ("UPDATE audit SET hash = 'x' WHERE sequence = 2", {(CHANGED, 2), (ORDER, 3)}),
        ("DELETE FROM audit WHERE sequence = 2", {(MISSING, 3), (Defect.TEXT_UNKNOWN, 2)}),
        ("DELETE FROM audit WHERE sequence = 1", {(MISSING, 2), (Defect.TEXT_UNKNOWN, 1)}),
        ("DELETE FROM audit WHERE sequence = 4", {(Defect.TRUNCATED, 4), (Defect.TEXT_UNKNOWN, 4)}),
        (
            "INSERT INTO audit (sequence, at, action, previous, hash) SELECT 5, 0, 'x', hash, 'x' FROM audit "
            "WHERE sequence = 4",
            {(CHANGED, 5), (Defect.BEYOND_HEAD, 5)},
        ),
        ("UPDATE audit_head SET sequence = 3", {(Defect.BEYOND_HEAD, 4)}),
        ("UPDATE audit_head SET hash = 'x'", {(CHANGED, 4)}),
        ("DELETE FROM audit_head", {(Defect.BEYOND_HEAD, 4)}),
        ("UPDATE audit_subjects SET text = 'eve' WHERE entry = 3 AND number = 0", {(Defect.TEXT_CHANGED, 3)}),
        ("UPDATE audit_subjects SET role = 'why' WHERE entry = 3 AND number = 0", {(Defect.TEXT_CHANGED, 3)}),
        ("DELETE FROM audit_subjects WHERE entry = 3 AND number = 0", {(Defect.TEXT_MISSING, 3)}),
        ("INSERT INTO audit_subjects VALUES (3, 9, 'x', '00', 'x', NULL)", {(Defect.TEXT_UNKNOWN, 3)}),
        (
            "UPDATE audit_subjects SET text = NULL, salt = NULL, erased_at = 1 WHERE entry = 3 AND number = 0",
            {(Defect.ERASED_UNRECORDED, 3)},
        ),
    ],
)
def test_verify_names_what_was_done_to_the_log(db: Database, statement: str, expected: set[tuple[Defect, int]]) -> None:
    add(db, *map(an_entry, range(1, 5)))
    assert defects(db) == set()
    tamper(db, statement)
    assert defects(db) == expected


def test_entries_that_changed_places_are_found(db: Database) -> None:
    add(db, *map(an_entry, range(1, 5)))
    for statement in (
        "sequence = 90 WHERE sequence = 2",
        "sequence = 2 WHERE sequence = 3",
        "sequence = 3 WHERE sequence = 90",
    ):
        tamper(db, f"UPDATE audit SET {statement}")
    assert {(ORDER, 2), (ORDER, 3), (ORDER, 4), (CHANGED, 2), (CHANGED, 3)} <= defects(db)


def test_a_truncated_log_is_told_by_the_head_that_was_noted(db: Database) -> None:
    """Whoever removes the tail and mends the head leaves a chain that holds: only what was kept elsewhere tells."""
    add(db, *map(an_entry, range(1, 5)))
    noted = db.read_sync(audit.head_in).hash
    add(db, an_entry(5))
    report = db.read_sync(lambda conn: verify_in(conn, noted=noted.upper()))
    assert (report.holds, report.noted) == (True, 4)
    tamper(db, "DELETE FROM audit_subjects WHERE entry > 3")
    tamper(db, "DELETE FROM audit WHERE sequence > 3")
    tamper(db, "UPDATE audit_head SET sequence = 3, hash = (SELECT hash FROM audit WHERE sequence = 3)")
    assert defects(db) == set()
    assert defects(db, noted=noted) == {(Defect.UNKNOWN_HEAD, 0)}


# --- appended at once ------------------------------------------------------------------------------------------------


async def test_two_databases_append_at_once_to_one_chain(open_db: OpenDatabase) -> None:
    first, second = open_db(), open_db()
    await asyncio.gather(
        *(db.write(_append(number)) for number in range(40) for db in (first, second)),
    )
    report = await first.read(verify_in)
    assert (report.holds, report.entries) == (True, 80)


def _append(number: int) -> Callable[[Connection], object]:
    return lambda conn: append_in(conn, an_entry(number))
