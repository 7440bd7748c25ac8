"""Where the score stands between ham and spam, and how far what was learned may move it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LEARNED_HAM, LEARNED_SPAM = "LEARNED_HAM", "LEARNED_SPAM"


@dataclass(frozen=True, slots=True)
class Scale:
    """Mail is taken for spam from `boundary` points on. What was learned adds or takes `most` points at most."""

    boundary: float = 5.0
    most: float = 8.0

    def points(self, shift: float) -> float:
        """What a delta's shift adds to the score."""
        return round(max(-self.most, min(self.most, shift)), 2)

    def margin(self, score: float) -> float:
        """How far on the side of spam a score is."""
        return score - self.boundary

    def score(self, margin: float) -> float:
        """The score that has a margin."""
        return self.boundary + margin


def without_learned(score: float, symbols: Iterable[tuple[str, float]]) -> float:
    """What a recorded score is without what had been learned by then. `symbols` are its names and points."""
    return round(score - sum(points for name, points in symbols if name in (LEARNED_HAM, LEARNED_SPAM)), 3)
