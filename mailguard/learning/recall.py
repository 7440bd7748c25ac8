"""The check "learned": what a tenant's lessons say of a mail, and which of them. It reads the database, and never writes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from mailguard.checks.base import CheckContext
from mailguard.core.clock import Clock, to_datetime
from mailguard.core.errors import UnavailableError
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import CheckResult, Findings, Symbol
from mailguard.learning.content import FEATURES, content_of
from mailguard.learning.delta import Delta, Example
from mailguard.learning.scale import LEARNED_HAM, LEARNED_SPAM, Scale
from mailguard.learning.sketch import similarity, sketch
from mailguard.learning.traits import Trait, traits_of
from mailguard.store.lessons import LessonQuery, Source, StoredLesson, delta_version, find_lessons, read_delta

CHECK = "learned"
WORTH_TELLING = 0.05
"""Points below which nothing is said."""
ALIKE = 0.2
"""Similarity of content from which a lesson is named as a reason."""
TOLD_OF = 1_000
"""Lessons of a tenant, the newest, that can be named as a reason; all that are in force count."""
TENANTS = 200
"""Tenants whose deltas a process keeps."""
_REASONS = 3

T = TypeVar("T")


class ReadsDatabase(Protocol):
    """What is needed of store.db.Database."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction on a reader thread."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """A tenant's delta with the lessons that can be named as its reasons, the oldest first."""

    version: int = 0
    delta: Delta | None = None
    lessons: tuple[StoredLesson, ...] = ()


class Memories:
    """Tenants' deltas as they are in the database: one look at the version a mail, and the rest when that has changed."""

    def __init__(self, db: ReadsDatabase, *, most: int = TENANTS) -> None:
        self._db = db
        self._most = most
        self._kept: OrderedDict[int, Memory] = OrderedDict()

    async def of(self, tenant: int) -> Memory:
        """A tenant's delta. While the database is away it is the last one; without that, raises UnavailableError."""
        kept = self._kept.get(tenant)
        try:
            fresh = await self._db.read(lambda connection: _newer(connection, tenant, kept.version if kept else -1))
        except UnavailableError:
            if kept is None:
                raise
            return kept
        if fresh is not None:
            kept = self._kept[tenant] = fresh
        self._kept.move_to_end(tenant)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return kept or Memory()


class LearnedCheck:
    """Adds to a mail's score, or takes from it, by what the tenant's people said of mail like it. A TenantCheck."""

    name = CHECK

    def __init__(self, memories: Memories, *, scale: Scale, clock: Clock) -> None:
        self._memories = memories
        self._scale = scale
        self._clock = clock

    async def run(self, tenant: Tenant, context: CheckContext, findings: Findings) -> CheckResult:
        """The symbol LEARNED_HAM or LEARNED_SPAM, with the lessons that it is by; neither when there is nothing to say."""
        memory = await self._memories.of(tenant.id)
        if memory.delta is None or not memory.delta.weights:
            return CheckResult(self.name)
        seen = next((result.classification for result in findings.results if result.classification), None)
        example = Example(content_of(seen.features) if seen else b"", traits_of(context.message, findings.auth))
        if example.is_empty:
            return CheckResult(self.name)
        points = self._scale.points(memory.delta.shift(example, at=self._clock()))
        if abs(points) < WORTH_TELLING:
            return CheckResult(self.name)
        spam = points > 0
        what = "like mail that was taught as spam" if spam else "like mail that was released or taught as wanted"
        reasons = reasons_of(memory.lessons, example, spam=spam)
        return CheckResult(self.name, symbols=(Symbol(LEARNED_SPAM if spam else LEARNED_HAM, points, what, reasons),))


def reasons_of(lessons: Sequence[StoredLesson], example: Example, *, spam: bool) -> tuple[str, ...]:
    """Which lessons speak so of a mail, those most like it first: `2 released mails of news@b.example, 2026-11-03 by ann`."""
    ours = sketch(example.content)
    ranked = []
    for lesson in lessons:
        likeness = _likeness(lesson, example.traits, ours) if lesson.spam is spam and lesson.step else 0.0
        if likeness >= ALIKE:
            ranked.append((likeness, lesson))
    ranked.sort(key=lambda pair: (-pair[0], -pair[1].id))
    groups: dict[tuple[str, str, str], list[StoredLesson]] = {}
    for _, lesson in ranked:
        groups.setdefault((lesson.header_from, lesson.source, lesson.teacher), []).append(lesson)
    told = [_reason(group) for group in list(groups.values())[:_REASONS]]
    if len(groups) > _REASONS:
        told.append(f"{sum(map(len, list(groups.values())[_REASONS:]))} more lessons")
    return tuple(told) or (f"no single lesson: {len(lessons)} in all",)


def _likeness(lesson: StoredLesson, traits: Sequence[Trait], ours: bytes) -> float:
    """1 and more for the same sender; else how alike the contents are."""
    shared = sum((trait.kind.value, trait.key) in lesson.traits for trait in traits)
    return shared + similarity(lesson.sketch, ours)


_SAID = {
    (Source.RELEASE, False): "released",
    (Source.USER, False): "reported as wanted by their recipient",
    (Source.USER, True): "reported as spam by their recipient",
    (Source.REPORT, True): "reported as spam",
}


def _reason(group: Sequence[StoredLesson]) -> str:
    newest = max(group, key=lambda lesson: lesson.at)
    said = _SAID.get((newest.source, newest.spam), f"taught as {'spam' if newest.spam else 'wanted'}")
    mails = f"{len(group)} mails" if len(group) > 1 else "a mail"
    sender = f" of {newest.header_from}" if newest.header_from else ""
    return f"{mails}{sender} {said}, {to_datetime(newest.at):%Y-%m-%d} by {newest.teacher}"


def _newer(connection: Connection, tenant: int, version: int) -> Memory | None:
    """What is stored, unless it is of this version. The version first: what changes meanwhile is read once more."""
    if (now := delta_version(connection, tenant)) == version:
        return None
    if not now:
        return Memory()
    stored = read_delta(connection, tenant)
    query = LessonQuery(tenant=tenant, in_force=True, limit=TOLD_OF)
    delta = Delta.unpacked(stored.weights)
    if stored.model != FEATURES:
        delta = delta.of_senders()
    return Memory(now, delta, tuple(find_lessons(connection, query)))
