"""How long mail took: nearest-rank percentiles. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over `count` mails, in milliseconds."""

    count: int
    p50: int
    p95: int
    p99: int


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest value that `percent` % of them do not exceed (nearest rank). `ordered`: rising, not empty."""
    return ordered[-(-percent * len(ordered) // 100) - 1]


def latency(milliseconds: Sequence[int]) -> Latency | None:
    """The percentiles of some latencies; None when there are none."""
    if not milliseconds:
        return None
    ordered = sorted(milliseconds)
    return Latency(len(ordered), *(percentile(ordered, percent) for percent in (50, 95, 99)))
