"""Between the score, which policy decides by, and the logits that lessons are counted in. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LEARNED_HAM, LEARNED_SPAM = "LEARNED_HAM", "LEARNED_SPAM"


@dataclass(frozen=True, slots=True)
class Scale:
    """`points_per_logit` is what the classifier's symbol weighs; mail is taken for spam from `boundary` points on.

    What was learned adds or takes `most` points at most.
    """

    points_per_logit: float = 1.0
    boundary: float = 5.0
    most: float = 8.0

    def points(self, shift: float) -> float:
        """What a shift of the logit adds to the score."""
        return round(max(-self.most, min(self.most, shift * self.points_per_logit)), 2)

    def margin(self, score: float) -> float:
        """How far on the side of spam a score is, in logits."""
        return (score - self.boundary) / self.points_per_logit

    def score(self, margin: float) -> float:
        """The score that has a margin."""
        return self.boundary + margin * self.points_per_logit


def without_learned(score: float, symbols: Iterable[tuple[str, float]]) -> float:
    """What a recorded score is without what had been learned by then. `symbols` are its names and points."""
    return round(score - sum(points for name, points in symbols if name in (LEARNED_HAM, LEARNED_SPAM)), 3)
