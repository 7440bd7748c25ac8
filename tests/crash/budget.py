"""How often each kind of kill comes, of the MAILGUARD_CRASHES that each database gets in all; and the order they come in."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise

CRASHES = int(os.environ.get("MAILGUARD_CRASHES", "20"))
"""Kills on each database, over all tests."""
LIMIT = float(os.environ.get("MAILGUARD_CRASH_SECONDS", "inf"))
"""For each file and database; for slow machines."""
AT_RANDOM = {
    "sqlite": {"worker": 2, "relay": 1, "hop": 1, "scanner": 2},
    "postgres": {"worker": 1, "relay": 1, "hop": 1, "scanner": 1, "database": 2},
}
"""Of twenty: the kills at random. The others are one at each of thirteen steps, and one of the whole relay after them."""


def counts(shares: Mapping[str, int]) -> dict[str, int]:
    """How often each kind is killed; once at least. `shares` are of twenty."""
    bounds = [round(CRASHES * done / 20) for done in accumulate(shares.values(), initial=0)]
    return {kind: max(1, end - start) for kind, (start, end) in zip(shares, pairwise(bounds), strict=True)}


def order(budget: Mapping[str, int], dice: random.Random) -> Iterator[str]:
    """The kills, each kind all over the time: rounds of one of each that is left, in random order.

    After LIMIT seconds no round begins any more.
    """
    began = time.monotonic()
    for turn in range(max(budget.values())):
        if turn and time.monotonic() > began + LIMIT:
            return
        left = sorted(kind for kind, count in budget.items() if count > turn)
        yield from dice.sample(left, len(left))
