"""The service level of a month: what was measured, and what it gives back by what was promised.

`measure` reads events, probes and complaints (billing.service_facts); `credits` compares, purely. docs/sla.md says the same in
plain words. Every figure is rounded to the client's good, and what was not measured for want of mail counts as kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType

from sqlalchemy.engine import Connection

from mailguard.billing import service_facts
from mailguard.billing.agreements import contracts_of
from mailguard.billing.availability import ALL, PLACES, Availability, Span, availability, hours, maintenance
from mailguard.billing.contract import first_of, month_after
from mailguard.billing.invoice import ServiceLevel
from mailguard.billing.latency import Latency, percentile
from mailguard.billing.months import Month
from mailguard.billing.plans import Commitment, CommitmentName, ServiceLevels
from mailguard.core.clock import HOUR, MINUTE, SECOND
from mailguard.store.complaints import list_requests
from mailguard.store.engine import now
from mailguard.store.maintenance import windows
from mailguard.store.probes import results


@dataclass(frozen=True, slots=True)
class SlaRules:
    """How it is measured: a probe each `probe_minutes`; maintenance counts that was announced `notice_hours` before it.

    `maintenance_hours`: the most of it in a month that is not counted. `zone`: the billing time zone.
    """

    zone: tzinfo
    probe_minutes: int = 5
    notice_hours: int = 24
    maintenance_hours: int = 8


@dataclass(frozen=True, slots=True)
class Caught:
    """Bad mail of a kind: what was stopped or tagged, and what got through, as somebody reported."""

    stopped: int = 0
    missed: int = 0

    @property
    def percent(self) -> Decimal | None:
        """Of all of it, what was stopped; rounded down. None when there was none."""
        total = self.stopped + self.missed
        return (ALL * self.stopped / total).quantize(PLACES, ROUND_FLOOR) if total else None


NO_SLOTS = Availability()


@dataclass(frozen=True, slots=True)
class SlaMeasurement:
    """What was measured of a tenant's month from `start` up to `end` (ms UTC): the covered days, as far as they have passed.

    `good`: mails delivered or released; `false_positives`: wanted mail that was kept or refused, as was confirmed.
    `waits`: milliseconds from each request for a release to its answer, rising; of the `unanswered` ones until now.
    """

    tenant: int
    month: str
    start: int
    end: int
    door: Availability = NO_SLOTS
    delay: Latency | None = None
    virus: Caught = Caught()
    spam: Caught = Caught()
    good: int = 0
    false_positives: int = 0
    waits: tuple[int, ...] = ()
    unanswered: int = 0

    @property
    def false_positive_rate(self) -> Decimal | None:
        """Per hundred good mails, those that were stopped wrongly; rounded up, 100 at most. None when there was none of both."""
        if not self.good:
            return ALL if self.false_positives else None
        return min(ALL, (ALL * self.false_positives / self.good).quantize(PLACES, ROUND_CEILING))

    @property
    def release_hours(self) -> Decimal | None:
        """The hours within which 95 % of the requests were answered; rounded up. None when there was none."""
        return hours(percentile(self.waits, 95)).quantize(PLACES, ROUND_CEILING) if self.waits else None

    def figure(self, name: CommitmentName) -> Decimal | None:
        """What a commitment is held against, in its unit; None when there was nothing to measure."""
        match name:
            case CommitmentName.AVAILABILITY:
                return self.door.percent
            case CommitmentName.DELAY_P95:
                return Decimal(self.delay.p95) / SECOND if self.delay else None
            case CommitmentName.VIRUS_CATCH:
                return self.virus.percent
            case CommitmentName.SPAM_CATCH:
                return self.spam.percent
            case CommitmentName.FALSE_POSITIVE_RATE:
                return self.false_positive_rate
            case CommitmentName.RELEASE_RESPONSE:
                return self.release_hours


TITLES: Mapping[CommitmentName, str] = MappingProxyType(
    {
        CommitmentName.AVAILABILITY: "Availability",
        CommitmentName.DELAY_P95: "Added delay of 95 % of the mail",
        CommitmentName.VIRUS_CATCH: "Viruses stopped",
        CommitmentName.SPAM_CATCH: "Spam stopped",
        CommitmentName.FALSE_POSITIVE_RATE: "Good mail stopped",
        CommitmentName.RELEASE_RESPONSE: "Answer to 95 % of the release requests",
    }
)
"""What commitments are called on invoices and reports."""
_UNITS = {CommitmentName.DELAY_P95: "s", CommitmentName.RELEASE_RESPONSE: "h"}
NOTHING = "nothing to measure"
_FOREVER = 1 << 62


def credits_of(
    conn: Connection, tenant: int, period: Month, levels: ServiceLevels, *, rules: SlaRules
) -> tuple[ServiceLevel, ...]:
    """What was promised to a tenant (by its id) for a month, beside what was measured, and the credits: for its invoice."""
    return credits(measure(conn, tenant, period, rules=rules), levels) if levels.commitments else ()


def credits(measurement: SlaMeasurement, levels: ServiceLevels) -> tuple[ServiceLevel, ...]:  # noqa: A001 - what they are
    """Each commitment beside what was measured, in the plan's order. Together they credit no more than the plan's most. Pure."""
    left = levels.max_credit_percent
    found = []
    for commitment in levels.commitments:
        measured = measurement.figure(commitment.name)
        percent = min(left, commitment.credit_percent(measured)) if measured is not None else Decimal(0)
        left -= percent
        found.append(_level(commitment, measured, percent))
    return tuple(found)


def measure(conn: Connection, tenant: int, period: Month, *, rules: SlaRules) -> SlaMeasurement:
    """Measure a tenant's month, up to now if it is not over."""
    as_of = now(conn)
    start, end, since = _covered(conn, tenant, period, rules.zone)
    scope = service_facts.Scope(tenant, period, since, end if end < period.end else _FOREVER)
    end = max(start, min(end, as_of))
    facts = service_facts.facts_of(conn, scope)
    requests = list_requests(conn, tenant=tenant, start=start, end=end)
    return SlaMeasurement(
        tenant,
        period.name,
        start,
        end,
        _door(conn, tenant, (start, end), rules, grid=period.start),
        facts.delay,
        Caught(facts.virus_stopped, facts.virus_missed),
        Caught(facts.spam_stopped, facts.spam_missed),
        facts.good,
        facts.false_positives,
        tuple(sorted((as_of if one.answered_at is None else one.answered_at) - one.at for one in requests)),
        sum(one.answered_at is None for one in requests),
    )


@dataclass(frozen=True, slots=True)
class Unprobed:
    """Slots that count as down only since nobody probed in them, of all that count.

    `percent` of the fee is credited for availability, `probed_percent` would be if only the probed slots counted.
    """

    missing: int
    counted: int
    percent: Decimal
    probed_percent: Decimal


def unprobed(door: Availability, levels: ServiceLevels) -> Unprobed | None:
    """What missing probes cost where availability is promised; None when it is not, or none is missing. Pure."""
    promised = next((one for one in levels.commitments if one.name is CommitmentName.AVAILABILITY), None)
    if promised is None or not door.missing:
        return None
    probed = Availability(door.up, door.down - door.missing)
    with_all, with_probed = (
        Decimal(0) if percent is None else min(levels.max_credit_percent, promised.credit_percent(percent))
        for percent in (door.percent, probed.percent)
    )
    return Unprobed(door.missing, door.up + door.down, with_all, with_probed)


def door_of(conn: Connection, tenant: int, period: Month, *, rules: SlaRules) -> Availability:
    """The door's part of `measure` alone."""
    start, end, _ = _covered(conn, tenant, period, rules.zone)
    return _door(conn, tenant, (start, max(start, min(end, now(conn)))), rules, grid=period.start)


def figure_text(name: CommitmentName, value: Decimal | None) -> str:
    """A figure with its unit, as it is shown."""
    return NOTHING if value is None else f"{value.normalize():f} {_UNITS.get(name, '%')}"


def _level(commitment: Commitment, measured: Decimal | None, percent: Decimal) -> ServiceLevel:
    name = commitment.name
    return ServiceLevel(
        TITLES[name],
        f"{'≥' if name.more_is_better else '≤'} {figure_text(name, commitment.target)}",
        figure_text(name, measured),
        measured is None or commitment.is_met(measured),
        percent,
    )


def _door(conn: Connection, tenant: int, span: Span, rules: SlaRules, *, grid: int) -> Availability:
    start, end = span
    excluded = maintenance(
        windows(conn, tenant=tenant, start=start, end=end),
        start=start,
        end=end,
        notice=rules.notice_hours * HOUR,
        most=rules.maintenance_hours * HOUR,
    )
    probes = results(conn, tenant, start=start, end=end)
    return availability(probes, excluded, grid=grid, start=start, end=end, length=rules.probe_minutes * MINUTE)


def _covered(conn: Connection, tenant: int, period: Month, zone: tzinfo) -> tuple[int, int, int]:
    """The time of a month in which a tenant is served, and since when: by its contracts, or without one while it is there."""
    there = service_facts.life_of(conn, tenant)
    month = first_of(period.name)
    contracts = [(*one.days_within(month, month_after(month)), one.start) for one in contracts_of(conn, tenant)]
    days = [(first, end) for first, end, _ in contracts if first < end]
    start, end, since = period.start, period.end, 0
    if days:
        since = _midnight(min(began for first, end, began in contracts if first < end), zone)
        first, last = min(days)[0], max(end for _, end in days)
        start = start if first == month else _midnight(first, zone)
        end = end if last == month_after(month) else _midnight(last, zone)
    start = max(start, there.created_at)
    return start, max(start, min(end, there.removed_at or end)), since


def _midnight(day: date, zone: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
