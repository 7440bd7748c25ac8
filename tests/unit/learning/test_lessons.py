"""Teaching and undoing in the database: effects, limits, several processes, and the record."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mailguard.core.clock import DAY
from mailguard.learning import lessons as module
from mailguard.learning.delta import ADMIN, USER, Delta, Example
from mailguard.learning.lessons import Outcome, Result, Teaching, teach, undo
from mailguard.learning.scale import Scale
from mailguard.store import audit
from mailguard.store.audit import AuditQuery
from mailguard.store.db import Database
from mailguard.store.lessons import LessonQuery, Source, StoredDelta, find_lessons, get_lessons, read_delta
from tests.ledger_of import World
from tests.unit.learning.examples import NEWS, example

SCALE = Scale()


def teaching(world: World, number: int = 0, *, family: int = 1, spam: bool = False, score: float = 8.2) -> Teaching:
    (unit,) = world.mail()
    return Teaching(world.tenant, unit, spam, score, example(family, number, NEWS if family == 1 else ()), "features 1")


def taught(
    world: World, *teachings: Teaching, source: Source = Source.LEARN, teacher: str = "ann", db: Database | None = None
) -> list[Result]:
    def work(conn):  # type: ignore[no-untyped-def]
        return teach(conn, teachings, source=source, teacher=teacher, now=world.db.now(conn), scale=SCALE, why="so")

    return (db or world.db).write_sync(work)


def stored(world: World) -> StoredDelta:
    return world.db.read_sync(lambda conn: read_delta(conn, world.tenant))


def undone(world: World, *ids: int) -> list[int]:
    def work(conn):  # type: ignore[no-untyped-def]
        return undo(conn, get_lessons(conn, ids), actor="bob", now=world.db.now(conn), why="no")

    return world.db.write_sync(work)


def test_a_lesson_tells_what_it_moves_and_the_next_one_goes_on_from_there(world: World) -> None:
    first, second = taught(world, teaching(world)), taught(world, teaching(world, 1))
    assert first[0].outcome is Outcome.LEARNED
    assert (first[0].before, first[0].after) == (8.2, 1.0)
    assert second[0].before < 4.0
    assert second[0].after == 1.0
    assert stored(world).version == 2
    assert stored(world).lessons == 2
    kept = world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery(tenant=world.tenant)))
    assert [(one.teacher, one.source, one.why, one.model, one.score_after) for one in kept] == [
        ("ann", Source.LEARN, "so", "features 1", 1.0)
    ] * 2


def test_it_is_of_its_tenant_alone(world: World) -> None:
    taught(world, teaching(world))
    assert world.db.read_sync(lambda conn: read_delta(conn, 1)) == StoredDelta()


def test_undone_in_the_middle_is_as_never_learned(world: World) -> None:
    lessons = [teaching(world, number, family=number % 3, spam=number % 3 == 2, score=5.0) for number in range(7)]
    numbers = [taught(world, one)[0].lesson for one in lessons]
    assert undone(world, numbers[3], numbers[5]) == [numbers[3], numbers[5]]
    assert undone(world, numbers[3]) == []
    left = stored(world)
    kept = world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery(tenant=world.tenant)))
    assert [one.id for one in kept if not one.in_force] == [numbers[3], numbers[5]]
    undone(world, *numbers)
    assert stored(world).weights == b""
    for number, one in enumerate(lessons):
        if number not in (3, 5):
            taught(world, one)
    assert stored(world).weights == left.weights


def test_taught_twice_is_known_and_otherwise_takes_the_first_back(world: World) -> None:
    one = teaching(world, score=6.0)
    (first,) = taught(world, one)
    assert taught(world, one)[0].outcome is Outcome.KNOWN
    (other,) = taught(world, replace(one, spam=True), teacher="bob")
    assert other.outcome is Outcome.LEARNED
    assert (other.before, other.after) == (6.0, 9.0)
    (earlier,) = world.db.read_sync(lambda conn: get_lessons(conn, [first.lesson]))
    assert earlier.undone_by == "bob"
    assert stored(world).lessons == 1
    user = taught(world, one, source=Source.USER, teacher="joe@acme.test")
    assert user[0].outcome is Outcome.OVERRULED


def test_probes_and_mail_of_which_nothing_is_known_teach_nothing(world: World) -> None:
    one = teaching(world)
    assert taught(world, replace(one, probe=True))[0].outcome is Outcome.PROBE
    assert taught(world, replace(one, example=Example()))[0].outcome is Outcome.NOTHING
    assert stored(world).weights == b""


def test_a_user_is_bounded_by_the_day_and_others_are_not_by_him(world: World) -> None:
    lessons = [teaching(world, number, family=number + 5, score=9.0) for number in range(USER.lessons + 1)]
    results = taught(world, *lessons[:3], source=Source.USER, teacher="joe@acme.test")
    results += [taught(world, one, source=Source.USER, teacher="joe@acme.test")[0] for one in lessons[3:]]
    assert [result.outcome for result in results] == [Outcome.LEARNED] * USER.lessons + [Outcome.LIMIT]
    kept = world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery(tenant=world.tenant)))
    assert sum(one.step for one in kept) == pytest.approx(USER.influence)
    assert taught(world, teaching(world, 77))[0].outcome is Outcome.LEARNED
    assert world.clock is not None
    world.clock.now += DAY
    assert taught(world, lessons[-1], source=Source.USER, teacher="joe@acme.test")[0].outcome is Outcome.LEARNED


def test_the_oldest_are_retired(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LESSONS", 5)
    monkeypatch.setattr(module, "RETIRED", 2)
    results = [taught(world, teaching(world, number, family=number))[0] for number in range(6)]
    assert stored(world).lessons == 3
    kept = world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery(tenant=world.tenant, in_force=True)))
    assert [one.id for one in kept] == [result.lesson for result in results[3:]]


def test_several_processes_teach_at_the_same_time_and_nothing_is_lost(world: World) -> None:
    lessons = [teaching(world, number, family=number) for number in range(12)]
    others = [Database.open(world.url, readers=1, clock=world.clock) for _ in range(3)]
    try:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda pair: taught(world, pair[1], db=others[pair[0] % 3]), enumerate(lessons)))
    finally:
        for one in others:
            one.close_sync()
    assert (stored(world).version, stored(world).lessons) == (12, 12)
    before = stored(world).weights
    # Undoing a new one works all of it out anew: the same, since each was learned on top of the one before.
    (last,) = taught(world, teaching(world, 99, family=99))
    undone(world, last.lesson)
    assert stored(world).weights == before
    assert Delta.unpacked(before).shift(lessons[3].example, at=world.db.read_sync(world.db.now)) < -3.0


def test_of_other_features_senders_are_left(world: World) -> None:
    taught(world, teaching(world), teaching(world, family=2))
    at = world.db.read_sync(world.db.now)
    taught(world, replace(teaching(world, family=3), model="features 2"))
    delta = Delta.unpacked(stored(world).weights)
    assert stored(world).model == "features 2"
    assert delta.shift(Example(b"", NEWS), at=at) < -3.0
    assert delta.shift(example(3), at=at) < -6.0
    assert -2.0 < delta.shift(example(2), at=at) < 0.0
    kept = world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery(tenant=world.tenant, in_force=True)))
    assert [one.model for one in kept] == ["features 1", "features 1", "features 2"]
    assert kept[1].step == 0.0  # neither a sender nor content that still means anything


def test_it_is_on_the_record(world: World) -> None:
    (result,) = taught(world, one := teaching(world))
    undone(world, result.lesson)
    learned, back = world.db.read_sync(lambda conn: audit.search(conn, AuditQuery(action="lessons")))
    assert (learned.action, learned.subject, learned.texts_of("actor"), learned.texts_of("why")) == (
        "lessons.teach",
        one.unit,
        "ann",
        "so",
    )
    assert learned.detail == {"lesson": result.lesson, "as": "ham", "by": "learn", "score": [8.2, 1.0]}
    assert (back.action, back.texts_of("actor"), back.detail["lesson"]) == ("lessons.undo", "bob", result.lesson)


def test_an_admins_day_holds_a_large_release() -> None:
    assert ADMIN.lessons >= 100


def test_a_bounded_users_lessons_replay_to_the_last_bit(world: World) -> None:
    """Undoing works all of it out anew: with nothing to undo before it, that must be what was stored."""
    for number in range(14):
        one = teaching(world, number, family=number % 5 + 2, score=5.3 + 0.37 * number)
        taught(world, one, source=Source.USER, teacher="joe@acme.test")
    before = stored(world).weights
    (last,) = taught(world, teaching(world, 99, family=99, spam=True, score=8.9), teacher="ann")
    undone(world, last.lesson)
    assert stored(world).weights == before
