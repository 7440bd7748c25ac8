"""Teaching and undoing: a tenant's lessons and its delta change together, in the caller's transaction, and on the record.

However many processes teach at the same time, a tenant's lessons come one after the other: each waits for the lock of its delta.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection

from mailguard.core.ids import MESSAGE_ID_LENGTH
from mailguard.learning.delta import ADMIN, USER, Bounds, Delta, Example, Lesson, day_of, replay
from mailguard.learning.scale import Scale
from mailguard.learning.sketch import sketch
from mailguard.learning.traits import Trait, TraitKind
from mailguard.store import lessons as store
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.lessons import LessonQuery, NewLesson, Source, StoredDelta, StoredLesson
from mailguard.store.texts import clean

MOST_LESSONS = 2_000
"""Lessons of a tenant that are in force at most; beyond them the oldest RETIRED ones are retired."""
RETIRED = 500
USER_ACTOR = "user"
"""Who acted, in the audit log, when a user taught: the address stands beside it, and is erased with the mail."""
TENANT_DAY = 2_000
"""Lessons of a tenant in a UTC day, whoever teaches them."""


class Outcome(StrEnum):
    """What became of a lesson."""

    LEARNED = "learned"
    KNOWN = "known"
    """This mail was taught so already, and that is in force."""
    OVERRULED = "overruled"
    """An admin has taught otherwise of this mail; a user does not change that."""
    LIMIT = "limit"
    """Its teacher, or the tenant, has taught as much today as one may."""
    NOTHING = "nothing"
    """Neither content nor sender of the mail is known."""
    PROBE = "probe"
    """It is a mail of `mailguard probe`."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """What shall be taught of one unit. `score` is its score without what was learned before; `model` says what its
    features mean.
    """

    tenant: int
    unit: str
    spam: bool
    score: float
    example: Example
    model: str = ""
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it: mail like it goes from score `before` to `after`. `lesson` is 0 when none was added."""

    unit: str
    outcome: Outcome
    before: float = 0.0
    after: float = 0.0
    lesson: int = 0


def teach(
    conn: Connection,
    teachings: Sequence[Teaching],
    *,
    source: Source,
    teacher: str,
    now: int,
    scale: Scale,
    why: str = "",
) -> list[Result]:
    """Teach of some units; what came of each, in their order. `now` is the database's time.

    The teacher is bounded as an admin, or as a user when `source` is one's mail. Call it after every lock of other changes.
    """
    classroom: dict[int, _Class] = {}
    for tenant in sorted({one.tenant for one in teachings}):  # in order, so that no two wait for each other
        classroom[tenant] = _Class(conn, tenant, source=source, teacher=teacher, why=why, now=now, scale=scale)
    results = [classroom[one.tenant].teach(one) for one in teachings]
    entries = []
    for tenant, room in classroom.items():
        entries += room.finish()
        entries += [
            AuditEntry(
                AuditAction.LESSONS_TEACH,
                USER_ACTOR if source is Source.USER else teacher,
                why,
                tenant=tenant,
                subject=one.unit,
                personal={"teacher": teacher} if source is Source.USER else {},
                detail={
                    "lesson": result.lesson,
                    "as": "spam" if one.spam else "ham",
                    "by": source.value,
                    "score": [result.before, result.after],
                },
            )
            for one, result in zip(teachings, results, strict=True)
            if one.tenant == tenant and result.lesson
        ]
    append_in(conn, *entries)
    return results


def undo(conn: Connection, lessons: Sequence[StoredLesson], *, actor: str, now: int, why: str = "") -> list[int]:
    """Undo lessons as if they had never been learned; the numbers of those that were in force."""
    undone: list[StoredLesson] = []
    for tenant in sorted({lesson.tenant for lesson in lessons}):
        stored = store.lock_delta(conn, tenant)
        wanted = [lesson.id for lesson in lessons if lesson.tenant == tenant]
        query = LessonQuery(tenant=tenant, ids=wanted, in_force=True)
        mine = store.find_lessons(conn, query)  # as it is under the lock: somebody may have been faster
        if mine:
            store.mark_undone(conn, [lesson.id for lesson in mine], by=actor, now=now)
            _relearn(conn, tenant, model=stored.model, now=now)
            undone += mine
    append_in(conn, *(_undone(lesson, actor=actor, why=why) for lesson in undone))
    return [lesson.id for lesson in undone]


def bounds_of(source: Source) -> Bounds:
    """How much whoever teaches so may do."""
    return USER if source is Source.USER else ADMIN


def traits_from(stored: Iterable[tuple[str, int]]) -> tuple[Trait, ...]:
    """Traits as they were stored; kinds that this release does not know are left out."""
    return tuple(Trait(TraitKind(kind), key) for kind, key in stored if kind in set(TraitKind))


class _Class:
    """One tenant's lessons of one call: the delta is locked when it begins and stored when it is finished."""

    def __init__(
        self, conn: Connection, tenant: int, *, source: Source, teacher: str, why: str, now: int, scale: Scale
    ) -> None:
        self._conn = conn
        self._tenant = tenant
        self._source = source
        self._teacher = clean(teacher, 320)
        self._why = why
        self._now = now
        self._scale = scale
        stored = store.lock_delta(conn, tenant)
        self._delta = Delta.unpacked(stored.weights)
        self._count = stored.lessons
        self._model = stored.model
        self._today = store.taught_since(conn, tenant, day_of(now))
        self._undone: list[StoredLesson] = []
        self._changed = False

    def teach(self, one: Teaching) -> Result:
        bounds = bounds_of(self._source)
        refusal = self._refusal(one, bounds)
        if refusal is not None:
            return Result(one.unit, refusal, one.score, one.score)
        other = self._earlier(one)
        if isinstance(other, Outcome):
            return Result(one.unit, other, one.score, one.score)
        if other:
            self._take_back(other)
        if one.model and one.model != self._model:
            self._model = one.model
            if self._count:
                self._relearn()  # of what was learned by other features senders are left
        used = 0.0
        for taught in self._today:  # added up as delta.Influence does, to the last bit
            if taught.teacher == self._teacher:
                used += taught.step
        base = self._scale.margin(one.score)
        lesson = Lesson(one.example, one.spam, base, at=self._now, teacher=self._teacher, bounds=bounds)
        moved = self._delta.learn(lesson, room=max(0.0, bounds.influence - used))
        before = round(one.score + self._scale.points(moved.before), 2)
        after = round(one.score + self._scale.points(moved.after), 2)
        number = store.add_lesson(
            self._conn,
            NewLesson(
                tenant=self._tenant,
                unit=one.unit,
                at=self._now,
                spam=one.spam,
                source=self._source,
                teacher=self._teacher,
                why=self._why,
                model=one.model,
                features=one.example.content,
                traits=[(trait.kind.value, trait.key) for trait in one.example.traits],
                sketch=sketch(one.example.content),
                base=base,
                step=moved.step,
                score_before=before,
                score_after=after,
            ),
        )
        self._today.append(store.Taught(number, self._teacher, moved.step))
        self._count += 1
        self._changed = True
        return Result(one.unit, Outcome.LEARNED, before, after, number)

    def finish(self) -> list[AuditEntry]:
        """Store the delta; what is to be told of lessons that were taken back."""
        if self._count > MOST_LESSONS:
            oldest = store.find_lessons(self._conn, LessonQuery(tenant=self._tenant, in_force=True))
            store.retire(
                self._conn, [lesson.id for lesson in oldest[: self._count - MOST_LESSONS + RETIRED]], now=self._now
            )
            _relearn(self._conn, self._tenant, model=self._model, now=self._now)
        elif self._changed:
            packed = self._delta.packed()
            store.save_delta(self._conn, self._tenant, packed, model=self._model, lessons=self._count, now=self._now)
        actor = USER_ACTOR if self._source is Source.USER else self._teacher
        return [_undone(lesson, actor=actor, why="taught otherwise") for lesson in self._undone]

    def _refusal(self, one: Teaching, bounds: Bounds) -> Outcome | None:
        if one.probe:
            return Outcome.PROBE
        if one.example.is_empty:
            return Outcome.NOTHING
        mine = sum(taught.teacher == self._teacher for taught in self._today)
        return Outcome.LIMIT if mine >= bounds.lessons or len(self._today) >= TENANT_DAY else None

    def _earlier(self, one: Teaching) -> Outcome | list[StoredLesson]:
        """Why it is not to be taught again, or the lessons of the same message that say otherwise and do not count any more.

        An admin speaks for all recipients of a message, and a user for himself.
        """
        query = LessonQuery(tenant=self._tenant, message=one.unit[:MESSAGE_ID_LENGTH], in_force=True)
        found = store.find_lessons(self._conn, query)
        by_admin = [lesson for lesson in found if lesson.source is not Source.USER]
        if self._source is Source.USER:
            mine = [lesson for lesson in found if lesson.unit == one.unit]
            if any(lesson.spam is not one.spam for lesson in by_admin):
                return Outcome.OVERRULED
        else:
            mine = by_admin
        if any(lesson.spam is one.spam for lesson in mine):
            return Outcome.KNOWN
        return [lesson for lesson in (mine if self._source is Source.USER else found) if lesson.spam is not one.spam]

    def _take_back(self, earlier: Sequence[StoredLesson]) -> None:
        store.mark_undone(self._conn, [lesson.id for lesson in earlier], by=self._teacher, now=self._now)
        self._relearn()
        self._undone += earlier

    def _relearn(self) -> None:
        stored = _relearn(self._conn, self._tenant, model=self._model, now=self._now)
        self._delta, self._count = Delta.unpacked(stored.weights), stored.lessons
        self._today = store.taught_since(self._conn, self._tenant, day_of(self._now))


def _relearn(conn: Connection, tenant: int, *, model: str, now: int) -> StoredDelta:
    """Work the delta out anew from the lessons in force, under its lock, and store it. Of other models senders count alone."""
    rows = store.find_lessons(conn, LessonQuery(tenant=tenant, in_force=True))
    features = store.features_of(conn, [row.id for row in rows])
    delta, moves = replay(
        Lesson(
            Example(features[row.id] if row.model == model else b"", traits_from(row.traits)),
            row.spam,
            row.base,
            at=row.at,
            teacher=row.teacher,
            bounds=bounds_of(row.source),
        )
        for row in rows
    )
    changed = {row.id: moved.step for row, moved in zip(rows, moves, strict=True) if moved.step != row.step}
    store.set_steps(conn, changed)
    packed = delta.packed()
    store.save_delta(conn, tenant, packed, model=model, lessons=len(rows), now=now)
    return StoredDelta(0, packed, len(rows), model)


def _undone(lesson: StoredLesson, *, actor: str, why: str) -> AuditEntry:
    detail = {"lesson": lesson.id, "as": "spam" if lesson.spam else "ham"}
    return AuditEntry(AuditAction.LESSONS_UNDO, actor, why, tenant=lesson.tenant, subject=lesson.unit, detail=detail)
