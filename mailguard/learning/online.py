"""The protocol of TREC's spam track: mail in the order it came in, each judged, then the judge is told what it was.

With less than all told, or later, it shows what a tenant sees whose users release and report a part of their mail.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mailguard.core.clock import SECOND
from mailguard.core.errors import ConfigError, Problem
from mailguard.learning.content import content_of
from mailguard.learning.delta import Delta, Example, Lesson
from mailguard.learning.evaluate import Evaluation, decided_anew, evaluate
from mailguard.learning.scale import Scale
from mailguard.learning.scanning import CorpusMail, ScannedMail
from mailguard.policy.profile import Threshold


class OnlineLearner(Protocol):
    """What learns from mail that it has judged."""

    def shift(self, mail: ScannedMail) -> float:
        """What was learned so far adds to the mail's score, in points."""
        ...

    def learn(self, mail: ScannedMail, *, spam: bool) -> None:
        """Hear what a mail was. `mail` is as it was scanned, with the score that nothing learned has changed."""
        ...


class TenantLearner:
    """Learns as a tenant's delta does from what its administrator releases and reports."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._delta = Delta()

    def shift(self, mail: ScannedMail) -> float:
        """See OnlineLearner."""
        return self._scale.points(self._delta.shift(_example(mail), at=_at(mail)))

    def learn(self, mail: ScannedMail, *, spam: bool) -> None:
        """See OnlineLearner."""
        self._delta.learn(Lesson(_example(mail), spam, self._scale.margin(mail.score), at=_at(mail)))


def _example(mail: ScannedMail) -> Example:
    return Example(content_of(mail.classification.features) if mail.classification else b"", mail.traits)


def _at(mail: ScannedMail) -> int:
    return mail.date * SECOND


@dataclass(frozen=True, slots=True)
class Feedback:
    """How the judge is told: of a `share` of the mail, chosen by `seed`; `delay` later, counted in mails or in seconds.

    TREC's immediate feedback is all of it, at once. With `mistakes` it is told only of mail that it got wrong.
    """

    share: float = 1.0
    delay: int = 0
    in_seconds: bool = False
    mistakes: bool = False
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """So many mails of the stream, one after the other: as it would have gone without learning, and as it went."""

    first: int
    """The place of its first mail in the stream, from 1."""
    static: Evaluation
    learned: Evaluation


@dataclass(frozen=True, slots=True)
class OnlineRun:
    """All of a stream in blocks. `told` is of how many mails the judge heard what they were."""

    static: Evaluation
    learned: Evaluation
    blocks: tuple[Block, ...]
    told: int


def run_online(
    stream: Sequence[ScannedMail],
    learner: OnlineLearner,
    *,
    thresholds: Sequence[Threshold],
    feedback: Feedback,
    block: int = 1000,
    worst: int = 10,
) -> OnlineRun:
    """Judge `stream` in its order while `learner` is told as `feedback` says; what could not be scanned is left out."""
    static = [one for one in stream if not one.problem]
    chosen = random.Random(feedback.seed)  # noqa: S311 - which mails users report, the same in each run
    waiting: deque[tuple[int, ScannedMail]] = deque()
    learned: list[ScannedMail] = []
    told = 0
    for place, one in enumerate(static):
        now = one.date if feedback.in_seconds else place
        while waiting and waiting[0][0] <= now:
            earlier = waiting.popleft()[1]
            learner.learn(earlier, spam=earlier.mail.spam)
            told += 1
        judged = decided_anew(one, one.score + learner.shift(one), thresholds)
        learned.append(judged)
        wrong = (judged.action.value != "deliver") is not one.mail.spam
        if chosen.random() < feedback.share and (wrong or not feedback.mistakes):
            waiting.append((now + feedback.delay + (0 if feedback.in_seconds else 1), one))
    starts = range(0, len(static), block)
    return OnlineRun(
        evaluate(static, thresholds=thresholds, engine="without learning", worst=worst),
        evaluate(learned, thresholds=thresholds, engine="learning", worst=worst),
        tuple(
            Block(
                start + 1,
                evaluate(static[start : start + block], thresholds=thresholds, worst=0),
                evaluate(learned[start : start + block], thresholds=thresholds, worst=0),
            )
            for start in starts
        ),
        told,
    )


def chronological(scanned: Iterable[ScannedMail]) -> list[ScannedMail]:
    """By the Date field; what has none comes first. Mail of one second stays in the order given."""
    return sorted(scanned, key=lambda one: one.date)


def read_index(index: Path) -> Iterator[CorpusMail]:
    """The stream of a TREC index: lines of `spam` or `ham` and a path relative to the index. Raises ConfigError."""
    try:
        lines = index.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise ConfigError([Problem(str(index), f"cannot be read: {error.strerror}")]) from None
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        label, _, path = line.strip().partition(" ")
        if not line.strip():
            continue
        if label.lower() not in ("ham", "spam") or not path.strip():
            problems.append(Problem(f"{index}:{number}", "is not `spam PATH` or `ham PATH`"))
            continue
        if not problems:
            yield CorpusMail(index.parent / path.strip(), label.lower() == "spam", str(index.parent))
    if problems:
        raise ConfigError(problems)
