"""The check "learned": what a tenant's lessons say of a mail, and which of them. It reads the database, and never writes."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from mailguard.checks.base import CheckContext
from mailguard.core.clock import Clock
from mailguard.core.errors import UnavailableError
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import CheckResult, Findings, Symbol
from mailguard.learning.content import FEATURES, content_of
from mailguard.learning.delta import Delta, Example
from mailguard.learning.reasons import Reasons
from mailguard.learning.scale import LEARNED_HAM, LEARNED_SPAM, Scale
from mailguard.learning.traits import traits_of
from mailguard.store.lessons import LessonQuery, delta_versions, find_lessons, read_delta

CHECK = "learned"
WORTH_TELLING = 0.05
"""Points below which nothing is said."""
TOLD_OF = 1_000
"""Lessons of a tenant, the newest, that can be named as a reason; all that are in force count."""
FRESH = 0.5
"""Seconds after which a process looks whether anything was taught: from then on it counts."""
TENANTS = 200
"""Tenants whose deltas a process keeps."""

T = TypeVar("T")


class ReadsDatabase(Protocol):
    """What is needed of store.db.Database."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction on a reader thread."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """A tenant's delta with the lessons that can be named as its reasons."""

    version: int = 0
    delta: Delta = field(default_factory=Delta)
    reasons: Reasons = field(default_factory=Reasons)


class Memories:
    """Tenants' deltas as they are in the database: the versions of all are looked at now and then, and what changed is read."""

    def __init__(self, db: ReadsDatabase, *, most: int = TENANTS, fresh: float = FRESH) -> None:
        self._db = db
        self._most = most
        self._fresh = fresh
        self._looked = -math.inf
        self._versions: dict[int, int] | None = None
        self._kept: OrderedDict[int, Memory] = OrderedDict()

    async def of(self, tenant: int) -> Memory:
        """A tenant's delta. While the database is away it is the last one; without that, raises UnavailableError."""
        kept = self._kept.get(tenant)
        try:
            version = (await self._current()).get(tenant, 0)
            if not version:
                return Memory()
            if kept is None or kept.version < version:
                kept = self._kept[tenant] = await self._db.read(lambda connection: _load(connection, tenant))
        except UnavailableError:
            if kept is None:
                raise
        self._kept.move_to_end(tenant)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return kept

    async def _current(self) -> dict[int, int]:
        now = time.monotonic()
        if self._versions is None or now - self._looked >= self._fresh:
            self._looked = now  # by one of those who ask at the same time; the others go by what was known
            self._versions = await self._db.read(delta_versions)
        return self._versions


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
        if not memory.delta.weights:
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
        reasons = memory.reasons.told(example, spam=spam)
        return CheckResult(self.name, symbols=(Symbol(LEARNED_SPAM if spam else LEARNED_HAM, points, what, reasons),))


def _load(connection: Connection, tenant: int) -> Memory:
    stored = read_delta(connection, tenant)
    delta = Delta.unpacked(stored.weights)
    if stored.model != FEATURES:
        delta = delta.of_senders()
    query = LessonQuery(tenant=tenant, in_force=True, limit=TOLD_OF)
    return Memory(stored.version, delta, Reasons.of(find_lessons(connection, query)))
