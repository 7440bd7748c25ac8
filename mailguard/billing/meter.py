"""The month's usage of each tenant, and the mailboxes it is billed for, from the MailEvents committed with each change of state.

What was counted once is kept (store.metered) and only the events since are read; all of it can be counted again from the
events, and comes to the same. Months are those of billing.months.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy.engine import Connection

from mailguard.billing.mailboxes import rules_of
from mailguard.billing.months import Bounds, Month, bounds, month, time_zone
from mailguard.billing.tally import COUNTS, Tally, count_events
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store import billing_months, metered
from mailguard.store.metered import Count

__all__ = [
    "COUNTED",
    "BilledMailbox",
    "Count",
    "Month",
    "MonthUsage",
    "Usage",
    "billed_mailboxes",
    "month",
    "recount",
    "time_zone",
    "usage",
    "usage_of_month",
]

NOTHING = Count()
COUNTED = tuple(COUNTS)
"""Names of the counts, in the order of the report."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one tenant used in a month."""

    tenant: int
    received: Count = NOTHING
    """Accepted recipients whose DATA was completed, whatever became of them."""
    delivered: Count = NOTHING
    """Taken by the next hop, other than out of quarantine."""
    quarantined: Count = NOTHING
    """Put into quarantine; a release that failed and came back is not counted again."""
    rejected: Count = NOTHING
    """Answered with 5yz after the data."""
    deferred: Count = NOTHING
    """Answered with 4yz after the data; the sender tries again, and that is received anew."""
    released: Count = NOTHING
    """Delivered out of quarantine; each `--again` counts."""
    active_recipients: int = 0
    """Distinct recipient addresses, in normal form, that mail was delivered or released to."""
    billed_mailboxes: int = 0
    """The mailboxes that these stand for."""
    billed_messages: int = 0
    """Messages, one for each recipient, that were delivered or released: each once, however often it was released."""
    billed_octets: int = 0
    """Their octets."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was counted."""
        return self == Usage(self.tenant)


@dataclass(frozen=True, slots=True)
class MonthUsage:
    """What a tenant's bill of a month is worked out from. `messages`: one for each recipient; `octets`: theirs."""

    mailboxes: int = 0
    messages: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class BilledMailbox:
    """A mailbox that had mail delivered or released in a month, and how that can be proved.

    `unit`: the first such mail, at `first_at` (ms UTC). `messages` and `octets` are of all of them; `addresses` (in normal
    form) are those that stand for the mailbox.
    """

    mailbox: str
    unit: str
    first_at: int
    messages: int
    octets: int
    addresses: tuple[str, ...]


def usage(conn: Connection, period: Month, *, tenant: int | None = None) -> list[Usage]:
    """The usage of every tenant with events in the month, or of one, by tenant id.

    The provider's own `system` tenant, which only sends, is left out unless it is asked for.
    """
    return _usage(conn, _read(conn, period, tenant), tenant)


def recount(conn: Connection, period: Month, *, tenant: int | None = None) -> list[Usage]:
    """`usage` with everything counted anew from the events, to prove it. Reads all events that there are."""
    total = _beyond(conn, period, 0)
    stored = metered.recipients_of(conn, period.name, tenant=tenant)
    kept = {(row.tenant, row.recipient): row.mailbox for row in stored}
    return _usage(conn, _Read(total, kept), tenant)


def usage_of_month(conn: Connection, period: Month, tenant: int) -> MonthUsage:
    """What a tenant's bill of a month is worked out from. Whether the month is closed is for the caller to see to."""
    (found,) = usage(conn, period, tenant=tenant)
    return MonthUsage(found.billed_mailboxes, found.billed_messages, found.billed_octets)


def billed_mailboxes(conn: Connection, period: Month, tenant: int) -> tuple[BilledMailbox, ...]:
    """The mailboxes behind `usage_of_month`, by name."""
    return _billed(conn, _read(conn, period, tenant), tenant).get(tenant, ())


@dataclass(frozen=True, slots=True)
class _Read:
    """What was counted of a month, and of its recipients (tenant, address id) the mailboxes that are fixed for good."""

    total: Tally
    kept: Mapping[tuple[int, int], str | None]


def _read(conn: Connection, period: Month, tenant: int | None) -> _Read:
    """What is kept of a month's counts, with what came since."""
    while True:
        reached = metered.position(conn)
        stored = list(metered.recipients_of(conn, period.name, tenant=tenant))
        total = Tally(
            {
                (period.name, owner, name): one
                for owner, name, one in metered.counts_of(conn, period.name, tenant=tenant)
            },
            {(period.name, row.tenant, row.recipient): row.counted for row in stored},
        )
        total.add(_beyond(conn, period, reached))
        if metered.position(conn) == reached:  # else the meter was moved on between two of these statements
            return _Read(total, {(row.tenant, row.recipient): row.mailbox for row in stored})


def _beyond(conn: Connection, period: Month, reached: int) -> Tally:
    """What the events beyond the id `reached` add to a month."""
    limits = bounds(billing_months.closings(conn), period)
    result = Tally()
    if limits.watermark is None or reached < limits.watermark:
        of_month = partial(_name_if, limits, period.name)
        for _, part in count_events(conn, reached, until=limits.watermark, month_of=of_month):
            result.add(part)
    return result


def _name_if(limits: Bounds, name: str, at: int, event: int) -> str | None:
    return name if limits.has(at, event) else None


def _usage(conn: Connection, read: _Read, tenant: int | None) -> list[Usage]:
    counts: dict[int, dict[str, Count]] = {}
    for (_, owner, name), count in read.total.counts.items():
        if tenant in (None, owner):
            counts.setdefault(owner, {})[name] = count
    billed = _billed(conn, read, tenant)
    found = [
        Usage(
            owner,
            **counts.get(owner, {}),
            active_recipients=sum(len(one.addresses) for one in billed.get(owner, ())),
            billed_mailboxes=len(billed.get(owner, ())),
            billed_messages=sum(one.messages for one in billed.get(owner, ())),
            billed_octets=sum(one.octets for one in billed.get(owner, ())),
        )
        for owner in sorted(counts.keys() | billed.keys())
        if tenant is not None or owner != SYSTEM_TENANT
    ]
    return found or ([Usage(tenant)] if tenant is not None else [])


def _billed(conn: Connection, read: _Read, tenant: int | None) -> dict[int, tuple[BilledMailbox, ...]]:
    """The mailboxes of each tenant, by name."""
    wanted = {key: one for key, one in read.total.recipients.items() if tenant in (None, key[1])}
    addresses = metered.addresses_of(conn, sorted({recipient for _, _, recipient in wanted}))
    unnamed = {owner for _, owner, recipient in wanted if read.kept.get((owner, recipient)) is None}
    rules = rules_of(conn, unnamed)
    found: dict[int, dict[str, BilledMailbox]] = {}
    for (_, owner, recipient), counted in wanted.items():
        address = addresses.get(recipient, f"#{recipient}")
        mailbox = read.kept.get((owner, recipient)) or rules[owner].mailbox_of(address)
        one = BilledMailbox(
            mailbox, counted.first_unit, counted.first_at, counted.units, counted.size, addresses=(address,)
        )
        mine = found.setdefault(owner, {})
        mine[mailbox] = one if mailbox not in mine else _together(mine[mailbox], one)
    return {owner: tuple(mine[name] for name in sorted(mine)) for owner, mine in found.items()}


def _together(one: BilledMailbox, other: BilledMailbox) -> BilledMailbox:
    """Two addresses' mail of one mailbox."""
    first = min(one, other, key=lambda billed: (billed.first_at, billed.unit))
    return BilledMailbox(
        one.mailbox,
        first.unit,
        first.first_at,
        one.messages + other.messages,
        one.octets + other.octets,
        tuple(sorted((*one.addresses, *other.addresses))),
    )
