"""Time as the rest of the code sees it: whole milliseconds since 1970 in UTC, from a clock that is handed in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]
"""Returns the wall-clock time now, in milliseconds since 1970-01-01 UTC."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def system_clock() -> int:
    """The machine's wall clock, in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def to_datetime(milliseconds: int) -> datetime:
    """The aware UTC datetime of a stored time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_iso(milliseconds: int) -> str:
    """A stored time as `2026-11-24T04:19:51.000Z`, the form of logs and of `--json`."""
    return to_datetime(milliseconds).strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"
