"""When to try again: exponential, within bounds, spread by chance. Pure but for the dice, which are handed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random, SystemRandom

from mailguard.core.clock import HOUR, MINUTE


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from `first` to `most` milliseconds, give or take the fraction `spread`."""

    first: int = MINUTE
    most: int = HOUR
    spread: float = 0.1
    random: Random = field(default_factory=SystemRandom, compare=False)

    def next_attempt(self, attempts: int, *, now: int) -> int:
        """When to try a next hop again after `attempts` failures (1 or more), in milliseconds UTC as `now` is.

        By default from 1 minute to 1 hour, ±10 %, so that a hop that comes back is not met by all its mail at once.
        RFC 5321 §4.5.4.1 asks for at least 30 minutes on average after the first hours, and 4–5 days in all.
        """
        return now + round(self.wait(attempts))

    def wait(self, attempts: int) -> float:
        """Milliseconds until the next attempt after `attempts` failures."""
        if attempts < 1:
            raise ValueError("no attempt has failed yet")
        plain = min(self.most, self.first << min(attempts - 1, 40))
        return plain * self.random.uniform(1 - self.spread, 1 + self.spread)
