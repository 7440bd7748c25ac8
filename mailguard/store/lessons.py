"""Lessons and what they come to, as rows: added, read and marked; what they mean is worked out in `learning`.

A tenant's lessons are changed by one transaction at a time: whoever changes them has locked its row of `deltas`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from mailguard.core.errors import NotFoundError
from mailguard.core.ids import MESSAGE_ID_LENGTH
from mailguard.store.redact import Redaction
from mailguard.store.schema import messages, units
from mailguard.store.schema_learning import deltas, lessons
from mailguard.store.statements import upserting
from mailguard.store.texts import clean, to_json


class Source(StrEnum):
    """How something was taught."""

    RELEASE = "release"
    """Released from quarantine."""
    LEARN = "learn"
    """By `mailguard quarantine learn`."""
    REPORT = "report"
    """By `mailguard report`."""
    USER = "user"
    """Sent by its recipient to a feedback address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLesson:
    """A lesson as it is added. Units as in the table `lessons`."""

    tenant: int
    unit: str
    at: int
    spam: bool
    source: Source
    teacher: str
    why: str
    model: str
    features: bytes
    traits: Sequence[tuple[str, int]]
    sketch: bytes
    base: float
    step: float
    score_before: float
    score_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLesson:
    """A lesson with the mail that it is about. Its features are read apart, by those who learn from them."""

    id: int
    tenant: int
    unit: str
    at: int
    spam: bool
    source: Source
    teacher: str
    why: str
    model: str
    traits: tuple[tuple[str, int], ...]
    sketch: bytes
    base: float
    step: float
    score_before: float
    score_after: float
    undone_at: int | None
    undone_by: str
    retired_at: int | None
    header_from: str
    subject: str

    @property
    def in_force(self) -> bool:
        """Whether it counts."""
        return self.undone_at is None and self.retired_at is None


@dataclass(frozen=True, slots=True)
class Taught:
    """Who taught a lesson, and by how much it moves mail, in points."""

    id: int
    teacher: str
    step: float


@dataclass(frozen=True, slots=True)
class StoredDelta:
    """A tenant's delta as stored. `version` is 0 before the first lesson; `model` says what the content's numbers mean."""

    version: int = 0
    weights: bytes = b""
    lessons: int = 0
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonQuery:
    """Which lessons; what is empty does not matter. At most `limit`, the newest; 0: all."""

    tenant: int | None = None
    ids: Sequence[int] | None = None
    message: str = ""
    """All units of it."""
    teacher: str = ""
    in_force: bool = False
    since: int = 0
    limit: int = 0


def lock_delta(connection: Connection, tenant: int) -> StoredDelta:
    """A tenant's delta, which nobody else changes until the end of this transaction."""
    first = upserting(connection, deltas).values(tenant=tenant, version=0, weights=b"", changed_at=0)
    connection.execute(first.on_conflict_do_nothing(index_elements=["tenant"]))
    row = connection.execute(select(deltas).where(deltas.c.tenant == tenant).with_for_update()).one()
    return StoredDelta(row.version, row.weights, row.lessons, row.model)


def save_delta(connection: Connection, tenant: int, weights: bytes, *, model: str, lessons: int, now: int) -> None:
    """Put a new delta in place of the locked one."""
    mine = update(deltas).where(deltas.c.tenant == tenant)
    values = {"weights": weights, "model": model, "lessons": lessons, "changed_at": now}
    connection.execute(mine.values(version=deltas.c.version + 1, **values))


def delta_versions(connection: Connection) -> dict[int, int]:
    """The versions of all deltas, by their tenants."""
    return {row.tenant: row.version for row in connection.execute(select(deltas.c.tenant, deltas.c.version))}


def read_delta(connection: Connection, tenant: int) -> StoredDelta:
    """A tenant's delta as it is now."""
    row = connection.execute(select(deltas).where(deltas.c.tenant == tenant)).one_or_none()
    return StoredDelta() if row is None else StoredDelta(row.version, row.weights, row.lessons, row.model)


def add_lesson(connection: Connection, lesson: NewLesson) -> int:
    """Add a lesson; its id."""
    statement = insert(lessons).values(
        tenant=lesson.tenant,
        unit=lesson.unit,
        message=lesson.unit[:MESSAGE_ID_LENGTH],
        at=lesson.at,
        spam=lesson.spam,
        source=lesson.source.value,
        teacher=clean(lesson.teacher, 320),
        why=clean(lesson.why),
        model=clean(lesson.model, 64),
        features=lesson.features,
        traits=to_json([[kind, key] for kind, key in lesson.traits]),
        sketch=lesson.sketch,
        base=lesson.base,
        step=lesson.step,
        score_before=lesson.score_before,
        score_after=lesson.score_after,
    )
    return int(connection.execute(statement.returning(lessons.c.id)).scalar_one())


def find_lessons(connection: Connection, query: LessonQuery) -> list[StoredLesson]:
    """The lessons that match, the oldest first."""
    conditions = []
    if query.tenant is not None:
        conditions.append(lessons.c.tenant == query.tenant)
    if query.ids is not None:
        conditions.append(lessons.c.id.in_(query.ids))
    if query.message:
        conditions.append(lessons.c.message == query.message)
    if query.teacher:
        conditions.append(lessons.c.teacher == query.teacher)
    if query.in_force:
        conditions += [lessons.c.undone_at.is_(None), lessons.c.retired_at.is_(None)]
    if query.since:
        conditions.append(lessons.c.at >= query.since)
    columns = [column for column in lessons.c if column.name != "features"]
    statement = (
        select(*columns, messages.c.header_from, messages.c.subject)
        .join(units, units.c.id == lessons.c.unit)
        .join(messages, messages.c.id == units.c.message)
        .where(*conditions)
        .order_by(lessons.c.id.desc())
    )
    rows = connection.execute(statement.limit(query.limit) if query.limit else statement).all()
    return [_lesson(row) for row in reversed(rows)]


def get_lessons(connection: Connection, ids: Sequence[int]) -> list[StoredLesson]:
    """Lessons by their numbers. Raises NotFoundError, naming those that are not there."""
    found = find_lessons(connection, LessonQuery(ids=ids))
    missing = sorted(set(ids) - {lesson.id for lesson in found})
    if missing:
        raise NotFoundError(f"there is no lesson {', '.join(map(str, missing))}; see `mailguard lessons list`")
    return found


def features_of(connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """The features of lessons by their numbers."""
    found: dict[int, bytes] = {}
    for start in range(0, len(ids), 500):
        chosen = lessons.c.id.in_(ids[start : start + 500])
        found.update(
            (row.id, row.features) for row in connection.execute(select(lessons.c.id, lessons.c.features).where(chosen))
        )
    return found


def taught_since(connection: Connection, tenant: int, since: int) -> list[Taught]:
    """The lessons in force that were taught from `since` on (ms UTC), in order."""
    columns = (lessons.c.id, lessons.c.teacher, lessons.c.step)
    statement = select(*columns).where(
        lessons.c.tenant == tenant,
        lessons.c.at >= since,
        lessons.c.undone_at.is_(None),
        lessons.c.retired_at.is_(None),
    )
    return [Taught(row.id, row.teacher, row.step) for row in connection.execute(statement.order_by(lessons.c.id))]


def set_steps(connection: Connection, steps: Mapping[int, float]) -> None:
    """What lessons move now, after others were taken away before them."""
    if steps:
        statement = update(lessons).where(lessons.c.id == bindparam("lesson")).values(step=bindparam("moved"))
        connection.execute(statement, [{"lesson": lesson, "moved": step} for lesson, step in steps.items()])


def mark_undone(connection: Connection, ids: Sequence[int], *, by: str, now: int) -> None:
    """Lessons count no longer, because somebody said so."""
    mine = update(lessons).where(lessons.c.id.in_(ids))
    connection.execute(mine.values(undone_at=now, undone_by=clean(by, 320), features=b"", step=0.0))


def retire(connection: Connection, ids: Sequence[int], *, now: int) -> None:
    """Lessons count no longer, because newer ones take their place."""
    mine = update(lessons).where(lessons.c.id.in_(ids))
    connection.execute(mine.values(retired_at=now, features=b"", step=0.0))


def forget_said_in(connection: Connection, ids: Iterable[str], redaction: Redaction) -> None:
    """Addresses in what people said when they taught something of these units. The lessons stay: they hold hashes alone."""
    for row in connection.execute(select(lessons).where(lessons.c.unit.in_(list(ids)))).all():
        said = {
            "teacher": redaction.text(row.teacher),
            "why": redaction.text(row.why),
            "undone_by": redaction.text(row.undone_by),
        }
        connection.execute(update(lessons).where(lessons.c.id == row.id).values(**said))


def _lesson(row: Row[Any]) -> StoredLesson:
    return StoredLesson(
        id=row.id,
        tenant=row.tenant,
        unit=row.unit,
        at=row.at,
        spam=bool(row.spam),
        source=Source(row.source),
        teacher=row.teacher,
        why=row.why,
        model=row.model,
        traits=tuple((str(kind), int(key)) for kind, key in json.loads(row.traits)),
        sketch=row.sketch,
        base=row.base,
        step=row.step,
        score_before=row.score_before,
        score_after=row.score_after,
        undone_at=row.undone_at,
        undone_by=row.undone_by,
        retired_at=row.retired_at,
        header_from=row.header_from,
        subject=row.subject,
    )
