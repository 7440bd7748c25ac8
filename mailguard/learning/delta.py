"""A tenant's delta: what its lessons add to the score of a mail, in points. A pure function of the lessons in force.

A lesson moves what is like its mail by as much as its own margin lacks (passive-aggressive learning), and no further; docs/learning.md
tells the arithmetic, and how the constants were found.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mailguard.core.clock import DAY
from mailguard.learning.traits import Trait, TraitKind

MARGIN = 4.0
"""Points by which a lesson's mail shall be on the right side afterwards."""
LEAST_STEP = 0.01
"""Points below which a lesson moves nothing: what lacks so little is right."""
HALF_LIFE = 365 * DAY
"""Milliseconds in which a lesson loses half its weight."""
MOST_WEIGHTS = 20_000
"""Weights of one delta; beyond them the smallest are dropped, down to FEWER_WEIGHTS, so that this is not done each time."""
FEWER_WEIGHTS = 15_000
CONTENT, BIAS = 0.44, 0.04
"""What content and the tenant's bias are of a mail's squared length; its traits are the rest, if it has any."""
TRAIT_MASS: Mapping[TraitKind, float] = {
    TraitKind.ADDRESS: 0.2,
    TraitKind.PERSON: 0.36,
    TraitKind.DOMAIN: 0.16,
    TraitKind.LIST: 0.16,
    TraitKind.SHAPE: 0.16,
}
"""The same of each trait."""

_BIAS_KEY = 1 << 33
_TRAITS = 1 << 32
_HALVINGS = 200
"""Half-lives before and after _EPOCH beyond which time stands still: a mail may say that it is of the year 9999."""
_EPOCH = 1_767_225_600_000
"""2026-01-01. Weights are kept as they would be then, so that time passes without touching them."""


@dataclass(frozen=True, slots=True)
class Example:
    """What is learned from, and what a delta is applied to: a mail's content features and its sender's traits.

    `content` is packed as learning.content has it: 32 bits each, little-endian. It may be empty: then the traits alone speak.
    """

    content: bytes = b""
    traits: tuple[Trait, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be learned from it."""
        return not (self.content or self.traits)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one teacher may do in a day: `lessons`, and `influence` in points, of which one lesson takes `step` at most."""

    step: float
    influence: float
    lessons: int


ADMIN = Bounds(step=8.0, influence=400.0, lessons=500)
"""Who has the command line, and released or judged the mail itself."""
USER = Bounds(step=2.0, influence=12.0, lessons=20)
"""Who forwards mail to a feedback address."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson as a delta learns it. `base` is the mail's margin without any delta, in points: positive is spam.

    `at` is in milliseconds UTC; `teacher` with `bounds` limits it.
    """

    example: Example
    spam: bool
    base: float
    at: int = _EPOCH
    teacher: str = ""
    bounds: Bounds = ADMIN


@dataclass(frozen=True, slots=True)
class Moved:
    """What a lesson did to mail like its own: the shift in points before and after it, and its `step` (0: nothing to do)."""

    before: float
    after: float
    step: float


@dataclass(slots=True)
class Delta:
    """The weights that the lessons so far came to. Build it with `learn`, in the order of the lessons."""

    weights: dict[int, float] = field(default_factory=dict)

    def shift(self, example: Example, *, at: int = _EPOCH) -> float:
        """What it adds to the score of a mail at `at` (ms UTC): negative speaks for it."""
        if not self.weights:
            return 0.0
        return self._dot(example) / _growth(at)

    def learn(self, lesson: Lesson, *, room: float = math.inf) -> Moved:
        """Learn one lesson. `room`: what is left of its teacher's influence of the day, in points."""
        sign = 1.0 if lesson.spam else -1.0
        before = self.shift(lesson.example, at=lesson.at)
        lacking = MARGIN - sign * (lesson.base + before)
        step = max(0.0, min(lesson.bounds.step, lacking, room))
        if step < LEAST_STEP or lesson.example.is_empty:
            return Moved(before, before, 0.0)
        scale = sign * step / _squared(lesson.example) * _growth(lesson.at)
        weights = self.weights
        for key, value in _vector(lesson.example):
            weights[key] = weights.get(key, 0.0) + scale * value
        if len(weights) > MOST_WEIGHTS:
            self._prune()
        return Moved(before, before + sign * step, step)

    def _dot(self, example: Example) -> float:
        get = self.weights.get
        content = _unpacked(example.content)
        total = 0.0
        if content:
            total = math.fsum(get(feature, 0.0) for feature in content) * math.sqrt(CONTENT / len(content))
        for key, value in _beside_content(example):
            total += get(key, 0.0) * value
        return total

    def _prune(self) -> None:
        least = sorted(map(abs, self.weights.values()))[-FEWER_WEIGHTS]
        kept = {key: weight for key, weight in self.weights.items() if abs(weight) > least}
        # Of those that weigh the same, the lower keys: as everyone chooses who learns the same lessons.
        same = sorted(key for key, weight in self.weights.items() if abs(weight) == least)
        kept.update((key, self.weights[key]) for key in same[: FEWER_WEIGHTS - len(kept)])
        self.weights = kept

    def packed(self) -> bytes:
        """It as stored: keys (unsigned, 64 bits), then weights (double), little-endian. Exact."""
        items = sorted(self.weights.items())
        keys, values = array("Q", (key for key, _ in items)), array("d", (value for _, value in items))
        return _little(keys) + _little(values)

    def of_senders(self) -> Delta:
        """What was learned of senders alone, as long as content cannot be compared."""
        return Delta({key: weight for key, weight in self.weights.items() if _TRAITS <= key < _BIAS_KEY})

    @classmethod
    def unpacked(cls, packed: bytes) -> Delta:
        """What was packed."""
        half = len(packed) // 2
        keys, values = array("Q", packed[:half]), array("d", packed[half:])
        if sys.byteorder == "big":
            keys.byteswap()
            values.byteswap()
        return cls(dict(zip(keys, values, strict=True)))


class Influence:
    """How much of its influence each teacher has used, by UTC day."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, int], float] = {}

    def room(self, lesson: Lesson) -> float:
        """What is left for this lesson, in points."""
        return max(0.0, lesson.bounds.influence - self._used.get(_teacher_day(lesson), 0.0))

    def use(self, lesson: Lesson, step: float) -> None:
        """Note a step."""
        key = _teacher_day(lesson)
        self._used[key] = self._used.get(key, 0.0) + step


def replay(lessons: Iterable[Lesson]) -> tuple[Delta, list[Moved]]:
    """The delta that these lessons come to, in their order, and what each did."""
    delta, influence, moves = Delta(), Influence(), []
    for lesson in lessons:
        moved = delta.learn(lesson, room=influence.room(lesson))
        influence.use(lesson, moved.step)
        moves.append(moved)
    return delta, moves


def day_of(at: int) -> int:
    """The start of a time's UTC day, in milliseconds."""
    return at - at % DAY


def _growth(at: int) -> float:
    """By how much more a lesson at `at` weighs than one at _EPOCH."""
    return math.exp2(max(-_HALVINGS, min(_HALVINGS, (at - _EPOCH) / HALF_LIFE)))


def _teacher_day(lesson: Lesson) -> tuple[str, int]:
    return lesson.teacher, day_of(lesson.at)


def _vector(example: Example) -> Iterator[tuple[int, float]]:
    content = _unpacked(example.content)
    if content:
        value = math.sqrt(CONTENT / len(content))
        for feature in content:
            yield feature, value
    yield from _beside_content(example)


def _squared(example: Example) -> float:
    """The square of its vector's length."""
    return math.fsum((*([CONTENT, BIAS] if example.content else []), *(TRAIT_MASS[one.kind] for one in example.traits)))


def _beside_content(example: Example) -> Iterator[tuple[int, float]]:
    for trait in example.traits:
        yield _TRAITS + trait.key, math.sqrt(TRAIT_MASS[trait.kind])
    if example.content:
        yield _BIAS_KEY, math.sqrt(BIAS)


def _unpacked(content: bytes) -> array[int]:
    features = array("I")
    features.frombytes(content)
    if sys.byteorder == "big":
        features.byteswap()
    return features


def _little(values: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()
