"""What was used on the days of a month that a contract covers: of a whole month as it was metered, of a part from the events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from mailguard.billing.contract import Contract, first_of, month_after
from mailguard.billing.draft import Used
from mailguard.billing.meter import BilledMailbox, billed_mailboxes
from mailguard.billing.months import Month, events_of
from mailguard.billing.tally import BILLED, BILLED_UNIT
from mailguard.core.events import EventKind
from mailguard.store import schema


@dataclass(frozen=True, slots=True)
class BilledUnit:
    """A message for one recipient that was delivered or released, for the first time in the month at `at` (ms UTC)."""

    unit: str
    at: int
    recipient: str
    octets: int


def mailboxes_of(conn: Connection, contract: Contract, period: Month, *, zone: tzinfo) -> tuple[BilledMailbox, ...]:
    """The mailboxes that had mail on the covered days of a closed month, by name."""
    month = first_of(period.name)
    first, end = contract.days_within(month, month_after(month))
    if first == end:
        return ()
    metered = billed_mailboxes(conn, period, contract.tenant)
    if (first, end) == (month, month_after(month)) and not _has_mail_before(conn, contract, period, zone):
        return metered
    names = {address: one.mailbox for one in metered for address in one.addresses}
    found: dict[str, BilledMailbox] = {}
    for unit in units_of(conn, contract, period, zone=zone):
        name = names.get(unit.recipient, unit.recipient)
        mine = found.get(name)
        if mine is None:
            found[name] = BilledMailbox(name, unit.unit, unit.at, 1, unit.octets, (unit.recipient,))
        else:
            found[name] = replace(
                mine,
                messages=mine.messages + 1,
                octets=mine.octets + unit.octets,
                addresses=tuple(sorted({*mine.addresses, unit.recipient})),
            )
    return tuple(found[name] for name in sorted(found))


def units_of(conn: Connection, contract: Contract, period: Month, *, zone: tzinfo) -> list[BilledUnit]:
    """The mails that count on the covered days of a month, in the order of their times.

    Mail that was recorded after its own month had been closed counts in this one, if the contract had begun when it came and
    covers the month's first day.
    """
    month = first_of(period.name)
    first, end = contract.days_within(month, month_after(month))
    if first == end:
        return []
    events, units, addresses = schema.events, schema.units, schema.addresses
    at = func.min(events.c.at).label("at")
    query = (
        select(BILLED_UNIT.label("unit"), addresses.c.address, at, func.min(events.c.size).label("size"))
        .join(units, units.c.id == events.c.unit)
        .join(addresses, addresses.c.id == units.c.recipient)
        .where(
            events_of(conn, period),
            events.c.tenant == contract.tenant,
            events.c.kind == EventKind.STATE.value,
            events.c.to_state.in_(sorted(state.value for state in BILLED)),
            units.c.probe.is_(False),
        )
        .group_by(BILLED_UNIT, addresses.c.address)
        .order_by(at, BILLED_UNIT)
    )
    since = midnight(contract.start, zone)
    until = None if end == month_after(month) else midnight(end, zone)
    return [
        BilledUnit(row.unit, row.at, row.address, row.size)
        for row in conn.execute(query)
        if row.at >= since and (until is None or row.at < until)
    ]


def _has_mail_before(conn: Connection, contract: Contract, period: Month, zone: tzinfo) -> bool:
    """Whether the month has mail from before the contract, recorded when its own month was closed: the meter counts it."""
    events = schema.events
    query = select(events.c.id).where(
        events_of(conn, period),
        events.c.tenant == contract.tenant,
        events.c.at < midnight(contract.start, zone),
    )
    return conn.execute(query.limit(1)).first() is not None


def used_by(mailboxes: Sequence[BilledMailbox]) -> Used:
    """The sum of it."""
    return Used(len(mailboxes), sum(one.messages for one in mailboxes), sum(one.octets for one in mailboxes))


def midnight(day: date, zone: tzinfo) -> int:
    """When a day of the billing time zone begins, in ms UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
