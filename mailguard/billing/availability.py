"""Availability of the door from probe results. Pure.

Time is cut into slots, each of which expects a probe. A slot counts as up when from at least one place all probes in it got
through; one without any is down, since a dead host reports nothing. Slots that announced maintenance touches do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from mailguard.core.clock import HOUR
from mailguard.store.maintenance import Window
from mailguard.store.probes import ProbeResult

Span = tuple[int, int]
"""From, up to but not including; in milliseconds UTC."""
PLACES = Decimal("0.0001")
"""What measured figures are rounded to, each to the client's good."""
ALL = Decimal(100)


@dataclass(frozen=True, slots=True)
class Availability:
    """Slots by what became of them; `missing` are those of the `down` ones in which nobody probed."""

    up: int = 0
    down: int = 0
    missing: int = 0
    excluded: int = 0

    @property
    def percent(self) -> Decimal | None:
        """Of the slots that count, those that were up; rounded down. None when none counts."""
        counted = self.up + self.down
        return (ALL * self.up / counted).quantize(PLACES, ROUND_FLOOR) if counted else None


def availability(
    probes: Sequence[ProbeResult], excluded: Sequence[Span], *, grid: int, start: int, end: int, length: int
) -> Availability:
    """The slots of `length` milliseconds, counted from `grid` on, that lie within [start, end). `excluded`: without overlaps."""
    first = -(-(start - grid) // length)  # rounded up
    last = (end - grid) // length
    seen: dict[int, dict[str, bool]] = {}
    for probe in probes:
        slot = (probe.at - grid) // length
        places = seen.setdefault(slot, {})
        places[probe.place] = places.get(probe.place, True) and probe.up
    out = set(_touched(excluded, grid=grid, length=length, first=first, last=last))
    up = sum(any(seen[slot].values()) for slot in seen if first <= slot < last and slot not in out)
    missing = sum(slot not in seen and slot not in out for slot in range(first, last))
    counted = max(0, last - first) - len(out)
    return Availability(up, counted - up, missing, len(out))


def _touched(spans: Sequence[Span], *, grid: int, length: int, first: int, last: int) -> Iterator[int]:
    for start, end in spans:
        yield from range(max(first, (start - grid) // length), min(last, -(-(end - grid) // length)))


def maintenance(windows: Sequence[Window], *, start: int, end: int, notice: int, most: int) -> tuple[Span, ...]:
    """What announced maintenance takes out of [start, end), in order and without overlaps.

    A window must have been announced `notice` milliseconds before it begins. Together they take `most` milliseconds at most,
    the earliest first; what goes beyond counts like any other time.
    """
    announced = sorted((max(one.start, start), min(one.end, end)) for one in windows if _in_time(one, notice))
    merged: list[Span] = []
    for begins, ends in announced:
        begins = max(begins, merged[-1][1] if merged else begins)  # noqa: PLW2901 - the rest of it
        ends = min(ends, begins + most)  # noqa: PLW2901
        if begins < ends:
            most -= ends - begins
            merged.append((begins, ends))
    return tuple(merged)


def _in_time(window: Window, notice: int) -> bool:
    return window.announced_at <= window.start - notice


def hours(milliseconds: int) -> Decimal:
    """A length of time in hours, exactly."""
    return Decimal(milliseconds) / HOUR
