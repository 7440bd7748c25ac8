"""The service level of a month from the raw rows, by docs/sla.md alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from tests.simulation.counted import Event, Months
from tests.simulation.paper import Range, day_at, midnight

HOUR = 3_600_000
SLOT = HOUR
"""How often the door is probed here."""
_DIGITS = Decimal("0.0001")
_STOPPED = ("quarantined", "rejected", "discarded")


class Service:
    """What was measured, by month and tenant. `as_of`: when, in ms UTC."""

    def __init__(self, zone: ZoneInfo, months: Months) -> None:
        self._zone, self._months = zone, months

    def measure(
        self, conn: Connection, month: str, tenant: int, covered: Range, served: Range, *, as_of: int
    ) -> dict[str, Decimal | None]:
        """Each promise's figure on the covered days of a month; None: nothing to measure.

        `served`: all days of the contract, since mail of earlier months that was recorded late is of this one.
        """
        start, until = (midnight(day, self._zone) for day in covered)
        events = [
            event
            for event in self._months.events[month, tenant]
            if not event.probe and served[0] <= day_at(event.at, self._zone) < served[1]
        ]
        reported = _reports(conn, tenant, start, until)
        wrongly = {row.unit for row in conn.execute(text("SELECT unit FROM complaints WHERE kind = 'false-positive'"))}
        viruses = _stopped(events, ("malware",), wrongly, _STOPPED)
        spam = _stopped(events, ("spam_score", "rejected_for_others"), wrongly, (*_STOPPED, "forwarding"))
        missed = reported["spam"]
        good = len({event.unit for event in events if event.became in ("delivered", "released")})
        return {
            "availability": _availability(conn, tenant, start, until),
            "delay_p95_seconds": _delay(events),
            "virus_catch": _caught(viruses, reported["virus"]),
            "spam_catch": _caught(spam, missed),
            "false_positive_rate": _rate(reported["false-positive"], good),
            "release_response_hours": _release(conn, tenant, start, until, as_of),
        }


def _reports(conn: Connection, tenant: int, start: int, end: int) -> dict[str, int]:
    """Mails by what they were reported as. Spam that was delivered with a mark was stopped."""
    found: dict[str, int] = defaultdict(int)
    query = """
        SELECT c.kind, u.action FROM complaints c JOIN units u ON u.id = c.unit
        WHERE c.tenant = :tenant AND c.at >= :start AND c.at < :end
    """
    for row in conn.execute(text(query), {"tenant": tenant, "start": start, "end": end}):
        found[row.kind] += not (row.kind == "spam" and row.action == "tag")
    return found


def _stopped(events: Sequence[Event], reasons: Sequence[str], wrongly: set[str], states: Sequence[str]) -> int:
    return len(
        {
            event.unit
            for event in events
            if event.reason in reasons and event.became in states and event.unit not in wrongly
        }
    )


def _caught(stopped: int, missed: int) -> Decimal | None:
    if not stopped + missed:
        return None
    return (Decimal(100 * stopped) / (stopped + missed)).quantize(_DIGITS, ROUND_FLOOR)


def _rate(wrongly: int, good: int) -> Decimal | None:
    if not good:
        return Decimal(100) if wrongly else None
    return min(Decimal(100), (Decimal(100 * wrongly) / good).quantize(_DIGITS, ROUND_CEILING))


def _nearest(values: Sequence[int]) -> int:
    """The least that 95 % of the values do not exceed."""
    ordered = sorted(values)
    return next(value for number, value in enumerate(ordered, start=1) if number * 100 >= 95 * len(ordered))


def _delay(events: Sequence[Event]) -> Decimal | None:
    waits = [json.loads(event.detail).get("latency_ms") for event in events if event.became == "delivered"]
    known = [wait for wait in waits if isinstance(wait, int)]
    return Decimal(_nearest(known)) / 1000 if known else None


def _release(conn: Connection, tenant: int, start: int, end: int, as_of: int) -> Decimal | None:
    query = "SELECT unit, at, event FROM release_requests WHERE tenant = :tenant AND at >= :start AND at < :end"
    answer = """
        SELECT min(at) FROM events WHERE unit = :unit AND id > :event AND kind = 'state'
        AND (to_state = 'spooled' AND reason = 'released_by_admin' OR to_state = 'deleted')
    """
    waits = []
    for row in conn.execute(text(query), {"tenant": tenant, "start": start, "end": end}).all():
        answered = conn.execute(text(answer), {"unit": row.unit, "event": row.event}).scalar()
        waits.append((as_of if answered is None else answered) - row.at)
    return (Decimal(_nearest(waits)) / HOUR).quantize(_DIGITS, ROUND_CEILING) if waits else None


def _availability(conn: Connection, tenant: int, start: int, end: int) -> Decimal | None:
    """Slots in which from one place at least all probes got through, of those that maintenance does not touch."""
    query = "SELECT at, place, up FROM probes WHERE tenant = :tenant AND at >= :start AND at < :end"
    slots: dict[int, dict[str, bool]] = defaultdict(dict)
    for at, place, up in conn.execute(text(query), {"tenant": tenant, "start": start, "end": end}):
        places = slots[(at - start) // SLOT]
        places[place] = places.get(place, True) and bool(up)
    out = _maintenance(conn, tenant, start, end)
    counted = [slot for slot in range((end - start) // SLOT) if slot not in out]
    up_ = sum(any(slots[slot].values()) for slot in counted if slot in slots)
    return (Decimal(100 * up_) / len(counted)).quantize(_DIGITS, ROUND_FLOOR) if counted else None


def _maintenance(conn: Connection, tenant: int, start: int, end: int) -> set[int]:
    """The slots touched by what was announced 24 hours before, 8 hours of it at most, the earliest first. By the minute."""
    query = """
        SELECT starts_at, ends_at FROM maintenance_windows
        WHERE removed_at IS NULL AND (tenant IS NULL OR tenant = :tenant) AND announced_at <= starts_at - :day
    """
    minutes: set[int] = set()
    for begins, ends in conn.execute(text(query), {"tenant": tenant, "day": 24 * HOUR}):
        minutes |= set(range(max(begins, start), min(ends, end), 60_000))
    return {(minute - start) // SLOT for minute in sorted(minutes)[: 8 * 60]}
