"""Who got a file: by hash, by name, and all who got one of many, on both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from mailguard.core.clock import DAY
from mailguard.core.events import State
from mailguard.core.verdict import Attachment, Findings
from mailguard.store import schema
from mailguard.store.file_trace import find_delivered_with_files, find_mail_with_file
from mailguard.store.findings import findings_to_json
from tests.ledger_of import START, Clock, World

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    world = World(tmp_path, url=url, clock=Clock())
    yield world
    world.close()


def with_file(world: World, state: State, name: str, sha256: str, *, at: int = START, to: str = "joe@acme.test") -> str:
    (unit,) = world.mail(state, recipients=[to], received_at=at)
    files = Findings(attachments=(Attachment(name, "", "", 1, sha256),))
    row = schema.messages.c.id == unit[:26]
    world.db.write_sync(
        lambda conn: conn.execute(update(schema.messages).where(row).values(findings=findings_to_json(files)))
    )
    return unit


def delivered(world: World, name: str, sha256: str, *, at: int = START) -> str:
    unit = with_file(world, State.FORWARDING, name, sha256, at=at)
    world.move(unit, State.DELIVERED)
    return unit


def test_by_hash_and_by_name(world: World) -> None:
    first = delivered(world, "Rechnung Mürz.zip/b.exe", A)
    second = with_file(world, State.QUARANTINED, "100%_sure.pdf", B, at=START + DAY)
    third = with_file(world, State.QUARANTINED, "100 are sure.pdf", A, at=START + 2 * DAY, to="ann@acme.test")

    def ids(**wanted: str | int) -> list[str]:
        return [one.id for one in world.db.read_sync(lambda conn: find_mail_with_file(conn, **wanted))]  # type: ignore[arg-type]

    assert ids(sha256=A) == [first, third]
    assert ids(sha256=A.upper()) == [first, third]
    assert ids(sha256=A, since=START + DAY) == [third]
    assert ids(sha256=A, until=START + DAY) == [first]
    assert ids(sha256=A, limit=1) == [third]
    assert ids(sha256=A, tenant=world.tenant + 1) == []
    assert ids(name="Mürz.zip") == [first]
    assert ids(name="100%_sure") == [second]  # no wildcards
    assert ids(name='"') == []
    assert ids(name="exe", sha256=B) == []


def test_who_has_a_file_that_is_listed_later(world: World) -> None:
    has = delivered(world, "a.exe", A)
    delivered(world, "b.exe", B)
    with_file(world, State.QUARANTINED, "a.exe", A)
    again = delivered(world, "a.exe", A, at=START + DAY)

    def ids(limit: int = 10) -> list[str]:
        found = world.db.read_sync(lambda conn: find_delivered_with_files(conn, {A}.__contains__, limit=limit))
        assert all(one.events for one in found)
        return [one.id for one in found]

    assert ids() == [has, again]
    assert ids(limit=1) == [again]
