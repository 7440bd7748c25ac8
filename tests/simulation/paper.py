"""Plans and contracts as they stand on paper: read from the plans' text and docs/billing.md alone."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

import yaml

CENT = Decimal("0.01")
DAY = timedelta(days=1)
Range = tuple[date, date]
"""From, up to but not including."""


def cents(amount: Decimal) -> Decimal:
    """An amount in euros, half a cent up."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def add_months(day: date, months: int) -> date:
    """The first day after so many months from `day`: they end with the last day of a month that has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    length = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, day.day) if day.day <= length else date(year, month + 1, length) + DAY


def month_after(month: str) -> str:
    """The name of the month after YYYY-MM."""
    return f"{add_months(first_of(month), 1):%Y-%m}"


def first_of(month: str) -> date:
    """The first day of YYYY-MM."""
    return date.fromisoformat(f"{month}-01")


def days(start: date, end: date) -> Iterator[date]:
    """Each day of [start, end)."""
    for number in range(max(0, (end - start).days)):
        yield start + number * DAY


def midnight(day: date, zone: ZoneInfo) -> int:
    """When a day begins, in ms UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000


def day_at(at: int, zone: ZoneInfo) -> date:
    """The day that a time (ms UTC) lies on."""
    return datetime.fromtimestamp(at // 1000, zone).date()


@dataclass(frozen=True)
class Tiers:
    """What more than the allowance costs; the last tier has no bound."""

    scheme: str
    per: Decimal
    steps: tuple[tuple[int | None, Decimal], ...]

    def lines(self, beyond: int, part: Decimal) -> list[Decimal]:
        """The amounts of the lines for so many units; `part` of the price is due."""
        if self.scheme == "volume":
            price = next(price for bound, price in self.steps if bound is None or beyond <= bound)
            return [cents(beyond * price * part / self.per)] if beyond else []
        amounts, below = [], 0
        for bound, price in self.steps:
            inside = (beyond if bound is None else min(beyond, bound)) - below
            if inside > 0:
                amounts.append(cents(inside * price * part / self.per))
            below = bound or 0
        return amounts


@dataclass(frozen=True)
class Promise:
    """A commitment: credits are (bound, percent); `more`: more is better."""

    name: str
    target: Decimal
    more: bool
    credits: tuple[tuple[Decimal, Decimal], ...]

    def keeps(self, measured: Decimal | None) -> bool:
        """Whether it was kept; what could not be measured was."""
        return measured is None or (measured >= self.target if self.more else measured <= self.target)

    def percent(self, measured: Decimal | None) -> Decimal:
        """The worst step that was reached."""
        reached = [
            percent
            for bound, percent in self.credits
            if measured is not None and (measured < bound if self.more else measured > bound)
        ]
        return max(reached, default=Decimal(0))


@dataclass(frozen=True)
class Plan:
    """What a plan's file says. Allowances: None is unlimited."""

    name: str
    fee: Decimal
    setup: Decimal
    mailboxes: int | None
    messages: int | None
    mailbox_tiers: Tiers | None
    message_tiers: Tiers | None
    tax: tuple[str, Decimal]
    billing_day: int
    payment_days: int
    term: int
    renewal: int
    notice: int
    promises: tuple[Promise, ...]
    most: Decimal

    def worth(self, start: date, end: date) -> Decimal:
        """What days of one month are worth of the fee: rounded together with those before them."""
        length = calendar.monthrange(start.year, start.month)[1]
        upto = [cents(self.fee * passed / length) for passed in (start.day - 1, start.day - 1 + (end - start).days)]
        return upto[1] - upto[0]


def plan_of(name: str, text: str) -> Plan:
    """A plan's file, each number as its digits are written."""
    data = yaml.load(text, yaml.BaseLoader)
    return Plan(
        name,
        Decimal(data["monthly_fee"]),
        Decimal(data.get("setup_fee", "0")),
        _allowance(data.get("included_mailboxes")),
        _allowance(data.get("included_messages")),
        _tiers(data.get("mailbox_tiers")),
        _tiers(data.get("message_tiers")),
        (data.get("tax_category", "S"), Decimal(data["tax_rate"])),
        int(data["billing_day"]),
        int(data["payment_days"]),
        int(data.get("term_months", 0)),
        int(data.get("renewal_months", 0)),
        int(data.get("notice_days", 0)),
        tuple(_promise(key, value) for key, value in data.get("sla", {}).items() if key != "max_credit_percent"),
        Decimal(data.get("sla", {}).get("max_credit_percent", "0")),
    )


def _allowance(text: str | None) -> int | None:
    return None if text in (None, "unlimited") else int(str(text))


def _tiers(data: Mapping[str, object] | None) -> Tiers | None:
    if data is None:
        return None
    steps = [(int(one["up_to"]) if "up_to" in one else None, Decimal(one["price"])) for one in data["tiers"]]  # type: ignore[attr-defined]
    return Tiers(str(data["scheme"]), Decimal(str(data.get("per", 1))), tuple(steps))


def _promise(name: str, data: Mapping[str, object]) -> Promise:
    more = name in ("availability", "virus_catch", "spam_catch")
    word = "below" if more else "above"
    steps = data.get("credits", [])
    found = [(Decimal(step[word]), Decimal(step["percent"])) for step in steps]  # type: ignore[attr-defined]
    return Promise(name, Decimal(str(data["target"])), more, tuple(found))


@dataclass
class Contract:
    """A contract, and what became of it. `terms`: from when which plan, as they were agreed; `end`: the first day without."""

    id: int
    tenant: str
    start: date
    recorded: date
    terms: list[tuple[date, Plan]]
    end: date | None = None
    removed: date | None = None
    billed: set[str] = field(default_factory=set)

    def covers(self, day: date) -> bool:
        """Whether it runs on a day."""
        return self.start <= day and (self.end is None or day < self.end)

    def covered(self, start: date, end: date) -> Range | None:
        """The days of a time that it covers."""
        first, last = max(start, self.start), end if self.end is None else min(end, self.end)
        return (first, last) if first < last else None

    def agreed(self, day: date) -> int:
        """Which of the terms hold on a day: those from the latest day, and of these the last that were agreed."""
        return max((start, number) for number, (start, _) in enumerate(self.terms) if start <= day)[1]

    def plan(self, day: date) -> Plan:
        """The plan that holds on a day."""
        return self.terms[self.agreed(day)][1]

    def earliest_end(self, notice_on: date) -> date:
        """The first day without contract that notice given on a day can bring about."""
        plan = self.terms[0][1]
        soonest = max(notice_on + (plan.notice + 1) * DAY, self.start + DAY)  # the last day is that many days later
        end = add_months(self.start, plan.term)
        if not plan.renewal:
            return max(end, soonest)
        rounds = 0
        while end < soonest:
            rounds += 1
            end = add_months(self.start, plan.term + rounds * plan.renewal)
        return end
