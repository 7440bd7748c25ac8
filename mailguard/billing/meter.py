"""The month's usage of each tenant, counted from the MailEvents that were committed with each change of state.

The unit of counting is the ledger's: one message for one recipient. Each figure also says how many distinct messages those
were and their octets, each message once. Nothing is kept up to date on the side, so a figure can always be worked out again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import ColumnElement, and_, case, distinct, func, literal_column, select
from sqlalchemy.engine import Connection

from mailguard.core.errors import ConfigError, Problem
from mailguard.core.events import EventKind, State
from mailguard.core.ids import MESSAGE_ID_LENGTH
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store import schema

_MONTH = re.compile(r"^(\d{4})-(0[1-9]|1[0-2])$")


@dataclass(frozen=True, slots=True)
class Month:
    """A billing month: from `start` up to but not including `end`, in milliseconds UTC."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Count:
    """`units`: messages, one for each recipient; `messages`: distinct ones; `size`: octets, each message once."""

    units: int = 0
    messages: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one tenant used in a month."""

    tenant: int
    received: Count = Count()
    """Accepted recipients whose DATA was completed, whatever became of them."""
    delivered: Count = Count()
    """Taken by the next hop, other than out of quarantine."""
    quarantined: Count = Count()
    """Put into quarantine; a release that failed and came back is not counted again."""
    rejected: Count = Count()
    """Answered with 5yz after the data."""
    deferred: Count = Count()
    """Answered with 4yz after the data; the sender tries again, and that is received anew."""
    released: Count = Count()
    """Delivered out of quarantine; each `--again` counts."""
    active_recipients: int = 0
    """Distinct recipient addresses, in normal form, that mail was delivered or released to."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was counted."""
        return self == Usage(self.tenant)


COUNTED = tuple(field.name for field in fields(Usage) if field.name not in ("tenant", "active_recipients"))
"""Names of the counts, in the order of the report."""


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
    match = _MONTH.match(text)
    if match is None or not 1970 <= int(match[1]) < 9999:
        raise ConfigError([Problem("--month", f"{text!r} is not a month such as 2026-11")])
    year, number = int(match[1]), int(match[2])
    start = datetime(year, number, 1, tzinfo=zone)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return Month(text, int(start.timestamp() * 1000), int(end.timestamp() * 1000))


def usage(conn: Connection, period: Month, *, tenant: int | None = None) -> list[Usage]:
    """The usage of every tenant with events in the month, or of one, by tenant id.

    The provider's own `system` tenant, which only sends, is left out unless it is asked for.
    """
    events = schema.events
    conditions = [events.c.kind == str(EventKind.STATE), events.c.at >= period.start, events.c.at < period.end]
    conditions.append(events.c.tenant != SYSTEM_TENANT if tenant is None else events.c.tenant == tenant)
    counts = _counts(conn, conditions)
    recipients = _active_recipients(conn, conditions)
    found = [Usage(number, **counts[number], active_recipients=recipients.get(number, 0)) for number in sorted(counts)]
    return found or ([Usage(tenant)] if tenant is not None else [])


def _which() -> dict[str, ColumnElement[bool]]:
    """Which state events each count takes in."""
    events = schema.events
    to = events.c.to_state
    return {
        "received": events.c.from_state.is_(None),
        "delivered": to == str(State.DELIVERED),
        # Out of the queue into quarantine comes only a release that failed.
        "quarantined": and_(to == str(State.QUARANTINED), func.coalesce(events.c.from_state, "") != str(State.SPOOLED)),
        "rejected": to == str(State.REJECTED),
        "deferred": to == str(State.DEFERRED),
        "released": to == str(State.RELEASED),
    }


def _counts(conn: Connection, conditions: list[ColumnElement[bool]]) -> dict[int, dict[str, Count]]:
    """One pass: first each message's share of each count, then their sums."""
    events = schema.events
    # Literals: as parameters, PostgreSQL could not tell that the grouped expression is the selected one.
    first: ColumnElement[int] = literal_column("1")
    length: ColumnElement[int] = literal_column(str(MESSAGE_ID_LENGTH))
    message = func.substr(events.c.unit, first, length).label("message")
    shares = select(events.c.tenant, message)
    for name, condition in _which().items():
        shares = shares.add_columns(
            func.sum(case((condition, 1), else_=0)).label(f"{name}_units"),
            func.max(case((condition, events.c.size), else_=0)).label(f"{name}_size"),
        )
    share = shares.where(*conditions).group_by(events.c.tenant, message).subquery()
    totals = select(share.c.tenant)
    for name in COUNTED:
        units, size = share.c[f"{name}_units"], share.c[f"{name}_size"]
        totals = totals.add_columns(
            func.sum(units).label(f"{name}_units"),
            func.sum(case((units > 0, 1), else_=0)).label(f"{name}_messages"),
            func.sum(size).label(f"{name}_size"),
        )
    rows = conn.execute(totals.group_by(share.c.tenant)).mappings()
    return {
        int(row["tenant"]): {
            name: Count(int(row[f"{name}_units"]), int(row[f"{name}_messages"]), int(row[f"{name}_size"]))
            for name in COUNTED
        }
        for row in rows
    }


def _active_recipients(conn: Connection, conditions: list[ColumnElement[bool]]) -> dict[int, int]:
    events, units = schema.events, schema.units
    rows = conn.execute(
        select(events.c.tenant, func.count(distinct(units.c.recipient)))
        .join(units, units.c.id == events.c.unit)
        .where(*conditions, events.c.to_state.in_([str(State.DELIVERED), str(State.RELEASED)]))
        .group_by(events.c.tenant)
    )
    return {int(tenant): int(count) for tenant, count in rows}
