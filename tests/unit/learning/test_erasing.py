"""Lessons and personal data: who taught is exported and erased; what was learned stays, since it is hashes alone."""

from __future__ import annotations

from mailguard.core.events import State
from mailguard.learning.delta import Example
from mailguard.learning.lessons import Teaching, teach
from mailguard.learning.scale import Scale
from mailguard.store import retention
from mailguard.store.audit import AuditQuery
from mailguard.store.audit import search as audit_search
from mailguard.store.erasure import StandIns, erase_mentions_in, tables
from mailguard.store.lessons import LessonQuery, Source, find_lessons, read_delta
from mailguard.store.person import person
from mailguard.store.privacy import stored
from mailguard.store.redact import ERASED
from mailguard.store.schema_learning import lessons
from tests.ledger_of import World
from tests.unit.learning.examples import NEWS


def taught(world: World) -> str:
    (unit,) = world.mail(State.FORWARDING)
    world.move(unit, State.DELIVERED)
    one = Teaching(world.tenant, unit, True, 3.0, Example(b"", NEWS))
    world.db.write_sync(
        lambda conn: teach(
            conn,
            [one],
            source=Source.USER,
            teacher="joe@acme.test",
            now=world.db.now(conn),
            scale=Scale(),
            why="says joe@acme.test",
        )
    )
    return unit


def test_what_a_person_taught_is_exported(world: World) -> None:
    unit = taught(world)
    rest = world.db.read_sync(lambda conn: stored(conn, person(conn, "joe@acme.test"), tenant=None))
    (lesson,) = rest.lessons
    assert (lesson["unit"], lesson["spam"], lesson["source"]) == (unit, True, "user")
    assert "features" not in lesson
    other = world.db.read_sync(lambda conn: stored(conn, person(conn, "ann@acme.test"), tenant=None))
    assert other.lessons == []


def test_who_taught_is_erased_and_what_was_learned_stays(world: World) -> None:
    taught(world)
    before = world.db.read_sync(lambda conn: read_delta(conn, world.tenant))
    assert lessons in tables()

    def erase(conn):  # type: ignore[no-untyped-def]
        who = person(conn, "joe@acme.test")
        erase_mentions_in(conn, who, StandIns(dict.fromkeys(who.texts, "erased1@acme.test")), lessons)

    world.db.write_sync(erase)
    (lesson,) = world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery()))
    assert (lesson.teacher, lesson.why, lesson.in_force) == (ERASED, f"says {ERASED}", True)
    assert world.db.read_sync(lambda conn: read_delta(conn, world.tenant)) == before


def test_with_old_mail_goes_who_taught_of_it(world: World) -> None:
    taught(world)
    (entry,) = world.db.read_sync(lambda conn: audit_search(conn, AuditQuery(action="lessons")))
    assert (entry.texts_of("actor"), entry.texts_of("teacher")) == ("user", "joe@acme.test")
    now = world.db.read_sync(world.db.now)
    keeping = retention.Keeping(world.tenant, now + 1, 0)
    assert world.db.write_sync(lambda conn: retention.erase_old_mail_in(conn, keeping, now=now)) == 1
    (lesson,) = world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery()))
    assert (lesson.teacher, lesson.subject) == (ERASED, "")
    world.db.write_sync(lambda conn: retention.erase_old_audit_texts_in(conn, keeping, now=now + 1))
    (entry, *_) = world.db.read_sync(lambda conn: audit_search(conn, AuditQuery(action="lessons")))
    assert (entry.texts_of("actor"), entry.texts_of("teacher")) == ("user", "(erased)")
