"""What a monthly report tells, counted from the same events as the usage and the bill, so that its figures add up to theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from types import MappingProxyType

from sqlalchemy import ColumnElement, Subquery, and_, case, func, literal_column, or_, select
from sqlalchemy.engine import Connection

from mailguard.billing.invoice import ServiceLevel
from mailguard.billing.meter import Usage, usage
from mailguard.billing.months import Month, events_of, month, preceding
from mailguard.core.address import domain_of
from mailguard.core.decision import Action, Reason
from mailguard.core.events import EventKind, State
from mailguard.store import schema
from mailguard.store.engine import now

TOP = 10
"""Mailboxes and domains that are named."""


class Threat(StrEnum):
    """What was stopped, in the kinds that a report tells apart."""

    MALWARE = "malware"
    ATTACHMENT = "attachment"
    FORGED = "forged"
    SPAM = "spam"
    RULE = "rule"
    DENIED = "denied"


THREAT_OF: Mapping[str, Threat] = MappingProxyType(
    {
        Reason.MALWARE.value: Threat.MALWARE,
        Reason.FORBIDDEN_ATTACHMENT.value: Threat.ATTACHMENT,
        Reason.UNINSPECTABLE_ATTACHMENT.value: Threat.ATTACHMENT,
        Reason.DMARC_FAIL.value: Threat.FORGED,
        Reason.SPAM_SCORE.value: Threat.SPAM,
        # Rejected, but for another recipient of the same mail: kept, and by far the most of it is spam.
        Reason.REJECTED_FOR_OTHERS.value: Threat.SPAM,
        Reason.SYMBOL_RULE.value: Threat.RULE,
        Reason.DENY_LIST.value: Threat.DENIED,
    }
)
"""Reasons of a policy that count as a threat. A scanner that was away, or a refusal of the client's own server, is none."""


@dataclass(frozen=True, slots=True)
class Day:
    """Mails of a day in the billing time zone, one for each recipient. `delivered`: out of quarantine too."""

    date: date
    received: int = 0
    delivered: int = 0
    stopped: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A mailbox or a domain, and how many mails were stopped that were for the one or in the name of the other."""

    name: str
    mails: int


@dataclass(frozen=True, slots=True)
class Delays:
    """How long the relay had delivered mail, in seconds, until the client's server took it: half of it at most `p50`, …"""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The month's service level, as far as it was measured and promised."""

    delays: Delays | None = None
    levels: tuple[ServiceLevel, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report tells. Counts are of mails, one for each recipient; names are foreign text.

    `before` is the usage of the month before, with nothing in it where there was none. `refused`: by reason, what was turned
    away before its content came.
    """

    tenant: str
    month: str
    time_zone: str
    usage: Usage
    before: Usage
    days: tuple[Day, ...]
    threats: Mapping[Threat, int]
    tagged: int
    refused: Mapping[str, int]
    attacked: tuple[Ranked, ...]
    spoofed: tuple[Ranked, ...]
    service: ServiceFacts = ServiceFacts()
    is_over: bool = True
    """Whether the month was over when this was counted; else it is what came so far."""

    @property
    def stopped(self) -> int:
        """Mails that were stopped as threats."""
        return sum(self.threats.values())

    @property
    def delivered(self) -> int:
        """Mails that reached the client's server, out of quarantine too."""
        return self.usage.delivered.units + self.usage.released.units


def collect(conn: Connection, tenant: int, name: str, period: Month, *, zone: tzinfo, service: ServiceFacts) -> Facts:
    """The facts of one tenant's month, in the billing time zone `zone`."""
    of_month = and_(_OF_STATE, schema.events.c.tenant == tenant, events_of(conn, period))
    earlier = month(preceding(period.name), zone=zone)
    days = _days_of(period, zone)
    steps = _steps(conn, of_month, days, zone)
    return Facts(
        tenant=name,
        month=period.name,
        time_zone=str(zone),
        usage=usage(conn, period, tenant=tenant)[0],
        before=usage(conn, earlier, tenant=tenant)[0],
        days=_by_day(steps, days),
        threats=_by_threat(steps),
        tagged=sum(one.mails for one in steps if one.after == State.DELIVERED and one.action == Action.TAG),
        refused=_refused(conn, tenant, period),
        attacked=_attacked(conn, of_month),
        spoofed=_spoofed(conn, of_month),
        service=service,
        is_over=now(conn) >= period.end,
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """How many mails went the same way on the same day."""

    day: int
    before: str | None
    after: str
    reason: str
    action: str
    mails: int

    @property
    def threat(self) -> Threat | None:
        """What was stopped by it."""
        into_quarantine = self.after == State.QUARANTINED and self.before != State.SPOOLED
        stopped = into_quarantine or self.after in (State.REJECTED, State.DISCARDED)
        return THREAT_OF.get(self.reason) if stopped else None


_OF_STATE = and_(
    schema.events.c.kind == EventKind.STATE.value,
    schema.units.c.probe.is_(False),
    # The original of what was delivered stripped is the same mail, until somebody has it released.
    or_(schema.units.c.original_of == "", schema.events.c.to_state == State.RELEASED.value),
)


def _days_of(period: Month, zone: tzinfo) -> list[date]:
    first = datetime.fromtimestamp(period.start // 1000, zone).date()
    following = datetime.fromtimestamp(period.end // 1000, zone).date()
    return [first + timedelta(days=number) for number in range((following - first).days)]


def _steps(conn: Connection, condition: ColumnElement[bool], days: Sequence[date], zone: tzinfo) -> list[_Steps]:
    """All steps of the month, counted. What was committed too late for its own month counts on the first day."""
    events, units = schema.events, schema.units
    ends = [int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000) for day in days[1:]]
    # Literals: as parameters, PostgreSQL could not tell that the grouped expression is the selected one.
    day: ColumnElement[int] = case(
        *((events.c.at < literal_column(str(end)), literal_column(str(number))) for number, end in enumerate(ends)),
        else_=literal_column(str(len(ends))),
    )
    step: Subquery = (
        select(day.label("day"), events.c.from_state, events.c.to_state, events.c.reason, units.c.action)
        .join(units, units.c.id == events.c.unit)
        .where(condition)
        .subquery()
    )
    rows = conn.execute(select(*step.c, func.count()).group_by(*step.c))
    return [_Steps(int(row[0]), row[1], row[2], row[3], row[4], int(row[5])) for row in rows]


def _by_day(steps: Sequence[_Steps], days: Sequence[date]) -> tuple[Day, ...]:
    received, delivered, stopped = Counter[int](), Counter[int](), Counter[int]()
    for one in steps:
        received[one.day] += one.mails if one.before is None else 0
        delivered[one.day] += one.mails if one.after in (State.DELIVERED, State.RELEASED) else 0
        stopped[one.day] += one.mails if one.threat else 0
    return tuple(Day(day, received[number], delivered[number], stopped[number]) for number, day in enumerate(days))


def _by_threat(steps: Sequence[_Steps]) -> Mapping[Threat, int]:
    found = Counter[Threat]()
    for one in steps:
        if one.threat is not None:
            found[one.threat] += one.mails
    return MappingProxyType({threat: found[threat] for threat in Threat if found[threat]})


def _is_stopped() -> ColumnElement[bool]:
    """_Steps.threat, of events."""
    events = schema.events
    return and_(
        events.c.reason.in_(sorted(THREAT_OF)),
        or_(
            events.c.to_state.in_([State.REJECTED.value, State.DISCARDED.value]),
            and_(
                events.c.to_state == State.QUARANTINED.value,
                func.coalesce(events.c.from_state, "") != State.SPOOLED.value,
            ),
        ),
    )


def _attacked(conn: Connection, of_month: ColumnElement[bool]) -> tuple[Ranked, ...]:
    events, units, addresses = schema.events, schema.units, schema.addresses
    mails = func.count()
    rows = conn.execute(
        select(addresses.c.address, mails)
        .select_from(events)
        .join(units, units.c.id == events.c.unit)
        .join(addresses, addresses.c.id == units.c.recipient)
        .where(of_month, _is_stopped())
        .group_by(addresses.c.address)
        .order_by(mails.desc(), addresses.c.address)
        .limit(TOP)
    )
    return tuple(Ranked(address, int(count)) for address, count in rows)


def _spoofed(conn: Connection, of_month: ColumnElement[bool]) -> tuple[Ranked, ...]:
    """The domains in From of what was stopped and failed DMARC: those that somebody pretended to write from."""
    events, units, messages = schema.events, schema.units, schema.messages
    forged = or_(events.c.reason == Reason.DMARC_FAIL.value, units.c.symbols.contains('"DMARC_FAIL_', autoescape=True))
    rows = conn.execute(
        select(messages.c.header_from, func.count())
        .select_from(events)
        .join(units, units.c.id == events.c.unit)
        .join(messages, messages.c.id == units.c.message)
        .where(of_month, _is_stopped(), forged, messages.c.header_from != "")
        .group_by(messages.c.header_from)
    )
    found = Counter[str]()
    for author, count in rows:
        found[domain_of(author).lower()] += int(count)
    del found[""]
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Ranked(domain, mails) for domain, mails in ranked[:TOP])


def _refused(conn: Connection, tenant: int, period: Month) -> Mapping[str, int]:
    """Refusals have no watermark, for they are not billed: they count by their time."""
    refusals = schema.refusals
    rows = conn.execute(
        select(refusals.c.reason, func.sum(refusals.c.count))
        .where(refusals.c.tenant == tenant, refusals.c.at >= period.start, refusals.c.at < period.end)
        .group_by(refusals.c.reason)
    )
    return MappingProxyType({reason: int(count) for reason, count in sorted(rows)})
