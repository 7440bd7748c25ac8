"""Who got a file: by hash, by name, and all who got one of many, on both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, delete, insert, text

from mailguard.core.clock import DAY
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.events import State
from mailguard.core.reply import OK
from mailguard.core.verdict import Attachment, Findings
from mailguard.store import migrations, schema
from mailguard.store.file_trace import BOTH_RAN, files_known_since, find_delivered_with_files, find_mail_with_file
from mailguard.store.rejudge import Rejudged, rejudge_in
from tests.ledger_of import START, Clock, World

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    world = World(tmp_path, url=url, clock=Clock())
    yield world
    world.close()


def judge_anew(world: World, unit: str, findings: Findings) -> None:
    decision = Decision(1, Action.QUARANTINE, Reason.SPAM_SCORE, "", "default", "", OK)
    world.db.write_sync(lambda conn: rejudge_in(conn, unit[:26], findings, [Rejudged(unit, decision, 0.0, (), "")]))


def with_file(world: World, state: State, name: str, sha256: str, *, at: int = START, to: str = "joe@acme.test") -> str:
    (unit,) = world.mail(state, recipients=[to], received_at=at)
    files = Findings(attachments=(Attachment(name, "", "", 1, sha256),))
    judge_anew(world, unit, files)
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
        found = world.db.read_sync(lambda conn: find_delivered_with_files(conn, {A}, limit=limit))
        assert all(one.events for one in found)
        return [one.id for one in found]

    assert ids() == [has, again]
    assert ids(limit=1) == [again]


def test_more_hashes_than_are_asked_for_one_by_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailguard.store.file_trace._ASKED", 1)
    has = delivered(world, "a.exe", A)
    delivered(world, "b.exe", B)
    found = world.db.read_sync(lambda conn: find_delivered_with_files(conn, {A, "f" * 64}))
    assert [one.id for one in found] == [has]


def by_hash(world: World, sha256: str, *, since: int = 0) -> list[str]:
    found = world.db.read_sync(lambda conn: find_mail_with_file(conn, sha256=sha256, since=since))
    return [one.id for one in found]


def test_a_mail_is_recorded_with_its_files_and_judged_anew_has_others(world: World) -> None:
    (unit,) = world.mail()
    assert by_hash(world, "ab" * 32) == [unit]
    files = Findings(attachments=(Attachment("a", "", "", 1, A), Attachment("a/b\0", "", "", 1, A)))
    judge_anew(world, unit, files)
    assert (by_hash(world, "ab" * 32), by_hash(world, A)) == ([], [unit])


def forget_index(conn: Connection, **known: int) -> None:
    """As if the index had begun later than the mail there is."""
    conn.execute(delete(schema.message_files))
    for key, value in known.items():
        conn.execute(insert(schema.meta).values(key=key, value=str(value)))


def test_mail_from_before_the_index_is_found_by_its_findings(world: World) -> None:
    old = delivered(world, "old.exe", A)
    world.db.write_sync(lambda conn: forget_index(conn, files_indexed_from=START + 1, files_indexed_at=START + 9 * DAY))
    new = delivered(world, "new.exe", A, at=START + DAY)
    assert world.db.read_sync(files_known_since) == START + 1
    assert by_hash(world, A) == [old, new]
    assert by_hash(world, A, since=START + 1) == [new]
    assert [one.id for one in world.db.read_sync(lambda conn: find_mail_with_file(conn, name="old."))] == [old]
    assert [one.id for one in world.db.read_sync(lambda conn: find_delivered_with_files(conn, {A}))] == [old, new]


def test_what_the_previous_release_recorded_during_the_upgrade_is_found(world: World) -> None:
    before, after = BOTH_RAN
    times = [START - before - 1, START - before, START, START + after - 1, START + after]
    units = [delivered(world, "a.exe", A, at=at) for at in times]
    world.db.write_sync(lambda conn: forget_index(conn, files_indexed_from=0, files_indexed_at=START))
    assert by_hash(world, A) == units[1:4]


def test_the_upgrade_puts_the_files_of_kept_mail_into_the_index(world: World) -> None:
    units = [delivered(world, f"{at}.exe", A, at=START + at) for at in range(3)]
    (bare,) = world.mail(received_at=START)
    judge_anew(world, bare, Findings())

    def before(conn: Connection) -> None:
        conn.execute(text("DROP TABLE message_files"))
        for index in ("header_from", "header_from_domain"):
            conn.execute(text(f"DROP INDEX ix_messages_{index}"))
        for index in ("addresses_domain", "units_domain", "refusals_mail_from"):
            conn.execute(text(f"DROP INDEX ix_{index}"))
        conn.execute(text("UPDATE alembic_version SET version_num = '0009'"))

    def upgrade(conn: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = conn
        command.upgrade(config, "0010")
        conn.execute(text(f"UPDATE alembic_version SET version_num = '{migrations.HEAD}'"))

    world.db.write_sync(before)
    world.db.write_sync(upgrade)
    assert by_hash(world, A) == units
    assert world.db.read_sync(lambda conn: conn.execute(schema.message_files.select().order_by("message")).all()) == [
        (unit[:26], 1, A, f"{at}.exe") for at, unit in enumerate(units)
    ]
    assert world.db.read_sync(files_known_since) == 0
