"""Billing months: where they begin, how one is closed, and which month an event is of.

An event is of the first month that is not over before it (by its time) and was not closed before it (by the commit
watermark): one that was committed after its month had been closed is of the next month that is open.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.engine import Connection

from mailguard.core.errors import ConfigError, Problem
from mailguard.store import billing_months, schema
from mailguard.store.billing_months import Closing

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Month:
    """A billing month: from `start` up to but not including `end`, in milliseconds UTC."""

    name: str
    start: int
    end: int


def time_zone(name: str) -> tzinfo:
    """The billing time zone by its IANA name. Raises ConfigError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            [Problem("billing.time_zone", f"{name!r} is not a time zone such as Europe/Berlin")]
        ) from None


def month(text: str, *, zone: tzinfo) -> Month:
    """The billing month `YYYY-MM`: from midnight of its first day to that of the next month's, in `zone`.

    Raises ConfigError when it is not a month.
    """
    match = _MONTH.fullmatch(text)
    if match is None or not 1970 <= int(match[1]) < 9999:
        raise ConfigError([Problem("--month", f"{text!r} is not a month such as 2026-11")])
    return Month(text, _start(text, zone), _start(following(text), zone))


def following(name: str) -> str:
    """The name of the month after."""
    year, number = int(name[:4]), int(name[5:])
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


def preceding(name: str) -> str:
    """The name of the month before."""
    year, number = int(name[:4]), int(name[5:])
    return f"{year - (number == 1):04d}-{number - 1 or 12:02d}"


def month_at(at: int, *, zone: tzinfo) -> str:
    """The name of the month that a time (ms UTC) lies in."""
    name = f"{datetime.fromtimestamp(at // 1000, zone):%Y-%m}"
    # Where clocks go back over midnight the local date is that of the month before for a while; months are no such mixture.
    if at < _start(name, zone):
        return preceding(name)
    return name if at < _start(following(name), zone) else following(name)


@lru_cache(maxsize=1_000)
def _start(name: str, zone: tzinfo) -> int:
    return int(datetime(int(name[:4]), int(name[5:]), 1, tzinfo=zone).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Calendar:
    """The months as they were closed so far; those after them follow `zone`. Pure."""

    closings: tuple[Closing, ...]
    zone: tzinfo

    def month_of(self, at: int, event: int) -> str:
        """The month of the event with the id `event` that happened at `at` (ms UTC)."""
        first = max(
            bisect_right(self.closings, at, key=lambda closing: closing.ends_at),
            bisect_left(self.closings, event, key=lambda closing: closing.watermark),
        )
        if first < len(self.closings):
            return self.closings[first].month
        natural = month_at(at, zone=self.zone)
        return max(natural, following(self.closings[-1].month)) if self.closings else natural

    def is_closed(self, name: str) -> bool:
        """Whether a month is closed; so are those before the first one that was."""
        return bool(self.closings) and name <= self.closings[-1].month


def calendar(conn: Connection, *, zone: tzinfo) -> Calendar:
    """The months as they stand in the database."""
    return Calendar(billing_months.closings(conn), zone)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which events a month takes in: those before `end` and up to `watermark`, without those that an earlier month has.

    These are the ones before `start` and up to `taken`. Times in milliseconds UTC; None: no bound.
    """

    start: int
    end: int
    watermark: int | None
    taken: int | None
    is_empty: bool = False
    """It lies before the first month that was ever closed."""

    def has(self, at: int, event: int) -> bool:
        """Whether an event is of the month."""
        if self.is_empty or at >= self.end or (self.watermark is not None and event > self.watermark):
            return False
        return at >= self.start or (self.taken is not None and event > self.taken)

    @property
    def condition(self) -> ColumnElement[bool]:
        """The same about rows of `events`."""
        events = schema.events
        if self.is_empty:
            return events.c.id < 0
        parts = [events.c.at < self.end]
        if self.watermark is not None:
            parts.append(events.c.id <= self.watermark)
        if self.taken is None:
            parts.append(events.c.at >= self.start)
        else:
            # Written so that the usual case is one range of the index by time.
            parts.append(or_(events.c.at >= self.start, and_(events.c.at < self.start, events.c.id > self.taken)))
        return and_(*parts)


def bounds(closings: tuple[Closing, ...], period: Month) -> Bounds:
    """The bounds of a month, given all months that are closed."""
    names = [closing.month for closing in closings]
    if not names or period.name > following(names[-1]):
        return Bounds(period.start, period.end, None, None)
    if period.name < names[0]:
        return Bounds(period.start, period.end, None, None, is_empty=True)
    index = bisect_left(names, period.name)
    before = closings[index - 1] if index else None
    start, taken = (before.ends_at, before.watermark) if before else (0, None)
    if index < len(closings):
        return Bounds(start, closings[index].ends_at, closings[index].watermark, taken)
    return Bounds(start, max(period.end, start), None, taken)


def events_of(conn: Connection, period: Month) -> ColumnElement[bool]:
    """The condition on rows of `events` that they are of a month: the one definition for usage, bill and service level."""
    return bounds(billing_months.closings(conn), period).condition
