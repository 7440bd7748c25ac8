"""Moving the meter on, and closing months: the two things that write what the bill is counted by.

Both take a `write`, which runs a work in a transaction of its own: mail must never wait for long.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

from mailguard.billing.mailboxes import rules_of
from mailguard.billing.months import Calendar, Month, calendar, following, month
from mailguard.billing.tally import AT_ONCE, count_events
from mailguard.core.clock import to_iso
from mailguard.core.errors import ConflictError
from mailguard.store import billing_months, metered
from mailguard.store.billing_months import Closing
from mailguard.store.engine import now

T = TypeVar("T")


class Write(Protocol):
    """Runs a work in a write transaction of its own and returns its result: `Database.write_sync`, or the like."""

    def __call__(self, work: Callable[[Connection], T], /) -> T: ...


def catch_up(write: Write, *, zone: tzinfo, patience: int | None = None, at_once: int = AT_ONCE) -> int:
    """Count what was committed so far; the id that the meter has reached.

    `patience`: milliseconds for which transactions that write events are waited for. `at_once`: how many steps are counted in
    one transaction. Raises UnavailableError.
    """
    target = write(partial(billing_months.commit_watermark, patience=patience))
    while (reached := write(partial(advance, target=target, zone=zone, at_once=at_once))) < target:
        pass
    return reached


def advance(conn: Connection, *, target: int, zone: tzinfo, at_once: int) -> int:
    """Count the next `at_once` steps up to the id `target`, a commit watermark; the id that the meter has reached."""
    billing_months.take_turn(conn)
    return _count_next(conn, target, calendar(conn, zone=zone), at_once)


def close_month(write: Write, period: Month, *, zone: tzinfo) -> Closing:
    """Close a month that is over by the database's clock, and those before it; once, whoever calls it and how often.

    The mailboxes that its recipients stand for are fixed with it. Raises ConflictError when it is not over, UnavailableError.
    """
    catch_up(write, zone=zone)
    closing = write(partial(_close, period=period, zone=zone))
    for one in write(lambda conn: [closed.month for closed in billing_months.closings(conn)]):
        for tenant in write(partial(metered.open_mailboxes, month=one)):
            write(partial(keep_mailboxes, month=one, tenant=tenant))
    return closing


def keep_mailboxes(conn: Connection, month: str, tenant: int) -> None:
    """Fix for good which mailbox each recipient of a month stands for: those that are still open, by the lists as they are."""
    rules = rules_of(conn, [tenant])[tenant]
    rows = metered.recipients_of(conn, month, tenant=tenant)
    metered.keep_mailboxes(
        conn, month, tenant, {row.recipient: rules.mailbox_of(row.address) for row in rows if row.mailbox is None}
    )


def keep_mailboxes_of(conn: Connection, tenant: int) -> None:
    """The same in all months, before a tenant's lists go with it."""
    for one in metered.months_with_open_mailboxes(conn, tenant):
        keep_mailboxes(conn, one, tenant)


def _count_next(conn: Connection, target: int, months: Calendar, at_once: int = AT_ONCE) -> int:
    before = metered.position(conn)
    part = next(count_events(conn, before, until=target, month_of=months.month_of, at_once=at_once), None)
    if part is None:
        return before
    reached, counted = part
    metered.add_counts(conn, counted.counts)
    metered.add_recipients(conn, counted.recipients)
    metered.set_position(conn, reached)
    return reached


def _close(conn: Connection, *, period: Month, zone: tzinfo) -> Closing:
    billing_months.take_turn(conn)
    months = calendar(conn, zone=zone)
    closed = {closing.month: closing for closing in months.closings}
    at = now(conn)
    if period.name in closed:
        return closed[period.name]
    if months.is_closed(period.name):  # before the first: nothing was ever recorded then
        return Closing(period.name, period.end, months.closings[0].closed_at, 0)
    if at < period.end:
        raise ConflictError(f"{period.name} is not over; it can be closed from {to_iso(period.end)} on")
    watermark = billing_months.commit_watermark(conn)
    while _count_next(conn, watermark, months) < watermark:
        pass
    name = following(months.closings[-1].month) if closed else metered.first_month(conn) or period.name
    end = months.closings[-1].ends_at if closed else 0
    while name <= period.name:
        end = max(end, month(name, zone=zone).end)
        closed[name] = Closing(name, end, at, watermark)
        billing_months.add(conn, closed[name])
        name = following(name)
    return closed.get(period.name) or Closing(period.name, period.end, at, 0)
