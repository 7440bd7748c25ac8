"""Fills a ledger of SQLite with mails that never were: copies of one real mail, with ids, times and people of their own."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailguard.core.ids import new_message_id, unit_id

BATCH = 20_000
PEOPLE = 10_000
AUTHORS = 50_000
"""From fields, of a tenth as many domains."""
WITH_FILE = 4
"""Every so manieth mail has a file, of its own."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one table that belong to the real mail, and the order of its columns."""

    table: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    @property
    def insert(self) -> str:
        """The statement that adds one."""
        return (
            f"INSERT INTO {self.table} ({', '.join(self.columns)}) VALUES ({', '.join(':' + c for c in self.columns)})"
        )


def _rows(connection: sqlite3.Connection, table: str, where: str, value: object, *, without: str = "") -> _Rows:
    cursor = connection.execute(f"SELECT * FROM {table} WHERE {where} = ?", (value,))
    columns = tuple(column[0] for column in cursor.description)
    rows = tuple(dict(zip(columns, row, strict=True)) for row in cursor)
    return _Rows(table, tuple(column for column in columns if column != without), rows)


def copies(database: Path, message: str, *, events: int, since: int, until: int) -> int:
    """Copy one mail until there are `events` more, between two times in ms; how many mails that made.

    Raises ValueError when the mail is not there.
    """
    with closing(sqlite3.connect(database)) as connection:
        mail = _rows(connection, "messages", "id", message)
        if not mail.rows:
            raise ValueError(f"no mail {message} in {database}")
        unit = _rows(connection, "units", "message", message)
        event = _rows(connection, "events", "unit", unit.rows[0]["id"], without="id")
        place = _rows(connection, "queue", "unit", unit.rows[0]["id"])
        people = _people(connection)
        count = max(1, events // len(event.rows))
        step = (until - since) / count
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            ids = [
                (number, new_message_id(int(since + number * step)), int(since + number * step)) for number in numbers
            ]
            connection.executemany(mail.insert, _mails(mail.rows[0], ids, people))
            connection.executemany(_ADD_FILE, _files(ids))
            connection.executemany(unit.insert, _units(unit.rows[0], ids, people))
            connection.executemany(event.insert, _of_units(event.rows, ids))
            if place.rows:
                far = until + 10 * 86_400_000
                connection.executemany(place.insert, _places(place.rows[0], ids, far))
            connection.commit()
        connection.execute("ANALYZE")
        connection.commit()
        return count


def _people(connection: sqlite3.Connection) -> list[int]:
    names = [(f"person{number}@client.test",) for number in range(PEOPLE)]
    connection.executemany("INSERT OR IGNORE INTO addresses (address) VALUES (?)", names)
    found = connection.execute("SELECT id FROM addresses WHERE address LIKE 'person%@client.test' ORDER BY id")
    return [row[0] for row in found]


Ids = list[tuple[int, str, int]]


def _mails(row: dict[str, Any], ids: Ids, people: list[int]) -> Iterator[dict[str, Any]]:
    for number, name, at in ids:
        sender = people[number * 7 % len(people)]
        yield {
            **row,
            "id": name,
            "received_at": at,
            "mail_from": sender,
            "header_message_id": f"<made-{number}@client.test>",
            "header_from": author(number),
            "findings": _findings(row["findings"], number),
        }


def author(number: int) -> str:
    """The From field of a copy."""
    return f"author{number % AUTHORS}@domain{number % (AUTHORS // 10)}.test"


def file_hash(number: int) -> str:
    """The hash of a copy's file, if it has one."""
    return hashlib.sha256(b"%d" % number).hexdigest()


_ADD_FILE = "INSERT INTO message_files (message, number, sha256, name) VALUES (?, 1, ?, ?)"


def _files(ids: Ids) -> Iterator[tuple[str, str, str]]:
    return ((name, file_hash(number), f"file{number}.pdf") for number, name, _ in ids if number % WITH_FILE == 0)


def _findings(text: str, number: int) -> str:
    if number % WITH_FILE:
        return text
    file = {"name": f"file{number}.pdf", "true_type": "application/pdf", "size": 1_000, "sha256": file_hash(number)}
    return json.dumps({**json.loads(text), "attachments": [file]}, separators=(",", ":"))


def _units(row: dict[str, Any], ids: Ids, people: list[int]) -> Iterator[dict[str, Any]]:
    for number, name, at in ids:
        person = number % len(people)
        yield {
            **row,
            "id": unit_id(name, 1),
            "message": name,
            "recipient": people[person],
            "recipient_raw": f"person{person}@client.test",
            "received_at": at,
            "changed_at": at,
        }


def _of_units(rows: tuple[dict[str, Any], ...], ids: Ids) -> Iterator[dict[str, Any]]:
    for _, name, at in ids:
        for row in rows:
            yield {**row, "unit": unit_id(name, 1), "at": at}


def _places(row: dict[str, Any], ids: Ids, due: int) -> Iterator[dict[str, Any]]:
    for _, name, _at in ids:
        yield {**row, "unit": unit_id(name, 1), "message": name, "due_at": due, "expires_at": due + 1, "holder": ""}
