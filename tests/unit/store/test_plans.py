"""Searches are made by an index, on both databases: the plans are looked at, not the time they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, event, text
from sqlalchemy.engine import Engine

from mailguard.core.events import State
from mailguard.store import schema, trace
from mailguard.store.claims import claim_in
from mailguard.store.db import Database
from mailguard.store.file_trace import find_delivered_with_files, find_mail_with_file
from mailguard.store.queue import hasten_domain_in, next_due_in, postpone_domain_in
from mailguard.store.trace import TraceQuery
from tests.ledger_of import World

HASH = "ab" * 32
FAR = 2**200


MAILS = 3_000
"""So many that a database would rather not read them all."""


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    world = World(tmp_path, url=url)
    units = world.mail(State.SPOOLED, recipients=["joe@acme.test", "ann@acme.test"])
    world.db.write_sync(lambda conn: fill(conn, units[0]))
    yield world
    world.close()


def fill(conn: Connection, unit: str) -> None:
    """Copies of a mail of one recipient: each of a sender and for a recipient of its own, and with a place in the queue."""
    number = "lpad(CAST(n AS text), 22, '0')" if conn.dialect.name == "postgresql" else "printf('%022d', n)"
    message, person = f"'01M8' || {number}", "'person' || n || '@d' || n || '.test'"
    places: list[tuple[Table, str, dict[str, str]]] = [
        (
            schema.messages,
            f"id = '{unit[:26]}'",
            {
                "id": message,
                "header_from": person,
                "header_message_id": person,
                "received_at": "received_at + n",
                "mail_from": "(SELECT max(id) FROM addresses) - n",
            },
        ),
        (
            schema.units,
            f"id = '{unit}'",
            {
                "id": f"{message} || '-1'",
                "message": message,
                "domain": "'d' || n || '.test'",
                "received_at": "received_at + n",
                "recipient": "(SELECT max(id) FROM addresses) - n",
                "tenant": "1",
                "state": "'delivered'",
            },
        ),
        (
            schema.queue,
            f"unit = '{unit}'",
            {
                "unit": f"{message} || '-1'",
                "message": message,
                "domain": "CASE WHEN n % 20 = 0 THEN domain ELSE 'd' || n || '.test' END",
                "due_at": "due_at + (n % 2 * 2 - 1) * 1000 * n",  # half of it is due
            },
        ),
        (schema.events, f"unit = '{unit}'", {"unit": f"{message} || '-1'"}),
        (
            schema.message_files,
            f"message = '{unit[:26]}'",
            {"message": message, "sha256": f"'{'0' * 42}' || {number}"},
        ),
    ]
    numbers = f"WITH RECURSIVE num(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM num WHERE n < {MAILS})"
    conn.execute(text(f"{numbers} INSERT INTO addresses (address) SELECT {person} FROM num"))
    for table, where, changed in places:
        columns = [column.name for column in table.c if (table.name, column.name) != ("events", "id")]
        values = ", ".join(changed.get(name, name) for name in columns)
        conn.execute(
            text(
                f"{numbers} INSERT INTO {table.name} ({', '.join(columns)}) "
                f"SELECT {values} FROM {table.name}, num WHERE {where}"
            )
        )
    conn.execute(text("ANALYZE"))


@contextmanager
def asked(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are sent meanwhile, with their parameters."""
    sent: list[tuple[str, Any]] = []

    def before(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", before)
    yield sent
    event.remove(engine, "before_cursor_execute", before)


def plans(db: Database, work: Callable[[Connection], object]) -> str:
    """How the database goes about each statement of a work."""
    lines: list[str] = []

    def explained(conn: Connection) -> None:
        with asked(conn.engine) as sent:
            work(conn)
        for statement, parameters in sent:
            if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE")):
                how = "EXPLAIN " if db.dialect == "postgresql" else "EXPLAIN QUERY PLAN "
                rows = conn.exec_driver_sql(how + statement, parameters)
                lines.extend(str(row[-1]) for row in rows)

    db.write_sync(explained)
    return "\n".join(lines)


def by(**wanted: Any) -> Callable[[Connection], object]:
    return lambda conn: trace.search(conn, TraceQuery(**wanted))


SEARCHES: dict[str, tuple[Callable[[Connection], object], list[str]]] = {
    "sender": (by(sender="eve@evil.test"), ["ix_messages_mail_from", "ix_messages_header_from"]),
    "sender's domain": (
        by(sender="evil.test"),
        ["ix_addresses_domain", "ix_messages_mail_from", "ix_messages_header_from_domain"],
    ),
    "recipient": (by(recipient="joe@acme.test"), ["ix_units_recipient"]),
    "recipient's domain": (by(recipient="acme.test"), ["ix_units_domain"]),
    "message-id": (by(header_message_id="<1@evil.test>"), ["ix_messages_header_message_id"]),
    "tenant": (by(tenant=2), ["ix_units_tenant_state"]),
    "all": (by(), ["ix_messages_received_at"]),
    "hash": (lambda conn: find_mail_with_file(conn, sha256=HASH), ["ix_message_files_sha256"]),
    "hashes": (
        lambda conn: find_delivered_with_files(conn, {f"{number:064x}" for number in range(FAR, FAR + 3)}),
        ["ix_message_files_sha256"],
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_goes_by_its_index(world: World, name: str) -> None:
    work, indexes = SEARCHES[name]
    told = plans(world.db, work)
    for index in indexes:
        assert index in told, told
    if world.db.dialect == "sqlite":
        assert "SCAN messages" not in told.replace("SCAN messages USING INDEX ix_messages_received_at", ""), told
        assert "SCAN units" not in told, told


QUEUE: dict[str, tuple[Callable[[Connection], object], list[str]]] = {
    "when the next is due": (next_due_in, ["ix_queue_due_at"]),
    "claim": (lambda conn: claim_in(conn, "w", limit=5, lease_ms=1), ["ix_queue_tenant_due_at", "ix_queue_message"]),
    "hasten": (lambda conn: hasten_domain_in(conn, "acme.test", limit=5), ["ix_queue_domain"]),
    "postpone": (lambda conn: postpone_domain_in(conn, "acme.test", until=1), ["ix_queue_domain"]),
}


@pytest.mark.parametrize("name", QUEUE)
def test_the_queue_is_never_read_through(world: World, name: str) -> None:
    work, indexes = QUEUE[name]
    told = plans(world.db, work)
    for index in indexes:
        assert index in told, told
    assert "SCAN queue\n" not in f"{told}\n", told
    assert "Seq Scan on queue" not in told, told
    assert "TEMP B-TREE" not in told or name == "claim", told
