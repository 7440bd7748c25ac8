"""The bills reckoned anew: what docs/billing.md says of lines, credits, taxes and dates, from paper and raw counts."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from math import ceil

from tests.simulation.counted import Counted
from tests.simulation.paper import DAY, Contract, Plan, Promise, Range, cents, days, first_of, month_after

Row = tuple[str, str, str, str, Decimal, Decimal]
"""A line: kind, first day, first day after, tax category, tax rate, amount. Days are empty where they say nothing."""


@dataclass(frozen=True)
class Kept:
    """A promise as the bill must show it."""

    name: str
    measured: Decimal | None
    met: bool
    percent: Decimal


@dataclass
class Bill:
    """An invoice as it must be, but for its number."""

    contract: int
    month: str
    issued: date
    due: date
    lines: list[Row]
    taxes: dict[tuple[str, Decimal], Decimal]
    net: Decimal
    tax: Decimal
    total: Decimal
    used: Counted | None
    included: tuple[int | None, int | None]
    levels: list[Kept]


@dataclass
class Account:
    """What a contract was charged so far."""

    contract: Contract
    fee_days: dict[date, int] = field(default_factory=dict)
    """By day, which of its terms its fee was charged by."""
    setup: tuple[Decimal, Plan] | None = None
    given_back: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """By month: what credit notes gave back of its fee."""

    def bill(self, month: str, used: Counted | None, measured: Mapping[str, Decimal | None]) -> Bill | None:
        """The bill of a month; None when nothing is to be charged. `used` on its covered days, None without any."""
        first, after = first_of(month), first_of(month_after(month))
        covered = self.contract.covered(first, after)
        lines = [*self._fees(first_of(month_after(month_after(month)))), *self._setup(month)]
        included: tuple[int | None, int | None] = (None, None)
        levels: list[Kept] = []
        if covered is not None and used is not None:
            plan = self.contract.plan(covered[1] - DAY)
            included = self._allowance(covered, "mailboxes"), self._allowance(covered, "messages")
            lines += _beyond(covered, plan, used, included)
            levels = list(_levels(plan, measured))
            lines += self._credits(covered, month, plan, levels)
        if not lines:
            return None
        return self._sums(month, lines, used if covered else None, included, levels)

    # --- the fixed fee ---------------------------------------------------------------------------------------------

    def _fees(self, horizon: date) -> Iterator[Row]:
        """What is owed up to the horizon and was not charged, and what was charged and is not owed."""
        contract = self.contract
        owed = {day: contract.agreed(day) for day in days(contract.start, horizon) if contract.covers(day)}
        fresh = {day: terms for day, terms in owed.items() if self.fee_days.get(day) != terms}
        gone = {day: terms for day, terms in self.fee_days.items() if owed.get(day) != terms}
        for kind, sign, which in (("fixed_fee", 1, fresh), ("fee_credit", -1, gone)):
            for (start, end), terms in _ranges(which):
                plan = contract.terms[terms][1]
                if plan.fee:
                    yield (kind, *_span(start, end), *plan.tax, sign * plan.worth(start, end))
        self.fee_days = owed

    def _setup(self, month: str) -> Iterator[Row]:
        """Once, with the first bill; it comes back when the contract never begins."""
        contract = self.contract
        begins = contract.end is None or contract.start < contract.end
        if begins and self.setup is None and contract.start < first_of(month_after(month_after(month))):
            plan = contract.plan(contract.start)
            self.setup = plan.setup, plan
            if plan.setup:
                yield ("setup_fee", "", "", *plan.tax, plan.setup)
        elif not begins and self.setup is not None:
            amount, plan = self.setup
            self.setup = None
            if amount:
                day = contract.start
                yield ("fee_credit", *_span(day, day + DAY), *plan.tax, -amount)

    # --- after the month -------------------------------------------------------------------------------------------

    def _allowance(self, covered: Range, what: str) -> int | None:
        """What is included on covered days: its part of each plan's, added up, rounded up."""
        total = Decimal(0)
        length = calendar.monthrange(covered[0].year, covered[0].month)[1]
        for day in days(*covered):
            included = getattr(self.contract.plan(day), what)
            if included is None:
                return None
            total += included
        return ceil(total / length)

    def _credits(self, covered: Range, month: str, plan: Plan, levels: list[Kept]) -> Iterator[Row]:
        """Percents of the month's fee, off its earliest days first, and never more than it is still worth."""
        agreed = {day: self.contract.agreed(day) for day in days(*covered)}
        plans = [(self.contract.terms[terms][1], span) for span, terms in _ranges(agreed)]
        left = [held.worth(*span) for held, span in plans]
        fee = sum(left, Decimal(0))
        back = self.given_back[month]
        for number, worth in enumerate(left):
            taken = min(back, worth)
            left[number] -= taken
            back -= taken
        most = cents(fee * plan.most / 100)
        for level in levels:
            wanted = min(cents(fee * level.percent / 100), most)
            for number, (held, _) in enumerate(plans):
                given = min(wanted, left[number])
                if given > 0:
                    left[number] -= given
                    wanted -= given
                    most -= given
                    yield ("sla_credit", *_span(*covered), *held.tax, -given)

    # --- sums ------------------------------------------------------------------------------------------------------

    def _sums(
        self,
        month: str,
        lines: list[Row],
        used: Counted | None,
        included: tuple[int | None, int | None],
        levels: list[Kept],
    ) -> Bill:
        bases: dict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
        for *_, category, rate, amount in lines:
            bases[category, rate] += amount
        taxes = {key: cents(base * key[1] / 100) for key, base in bases.items()}
        net, tax = sum(bases.values(), Decimal(0)), sum(taxes.values(), Decimal(0))
        contract, after = self.contract, first_of(month_after(month))
        last = after if contract.end is None else min(after, contract.end)
        plan = contract.plan(max(contract.start, last - DAY))
        issued = max(after.replace(day=plan.billing_day), contract.recorded)
        return Bill(
            contract.id,
            month,
            issued,
            issued + timedelta(days=plan.payment_days),
            sorted(lines),
            taxes,
            net,
            tax,
            net + tax,
            used,
            included,
            levels,
        )


def _span(start: date, end: date) -> tuple[str, str]:
    return start.isoformat(), end.isoformat()


def _ranges(by_day: Mapping[date, int]) -> Iterator[tuple[Range, int]]:
    """Days in a row, of one month, with the same terms."""
    start = end = None
    terms = -1
    for day in sorted(by_day):
        if day != end or by_day[day] != terms or day.day == 1:
            if start is not None and end is not None:
                yield (start, end), terms
            start, terms = day, by_day[day]
        end = day + DAY
    if start is not None and end is not None:
        yield (start, end), terms


def _beyond(covered: Range, plan: Plan, used: Counted, included: tuple[int | None, int | None]) -> Iterator[Row]:
    """What was used beyond the allowance: of mailboxes the part of the month that is covered, of mails the whole price."""
    length = calendar.monthrange(covered[0].year, covered[0].month)[1]
    part = Decimal((covered[1] - covered[0]).days) / length
    wanted = (
        ("mailboxes", used.mailboxes, included[0], plan.mailbox_tiers, part),
        ("messages", used.messages, included[1], plan.message_tiers, Decimal(1)),
    )
    for kind, number, allowed, tiers, share in wanted:
        if allowed is not None and tiers is not None and number > allowed:
            for amount in tiers.lines(number - allowed, share):
                if amount:
                    yield (kind, *_span(*covered), *plan.tax, amount)


def _levels(plan: Plan, measured: Mapping[str, Decimal | None]) -> Iterator[Kept]:
    left = plan.most
    for promise in sorted(plan.promises, key=_order):
        figure = measured[promise.name]
        percent = min(left, promise.percent(figure))
        left -= percent
        yield Kept(promise.name, figure, promise.keeps(figure), percent)


_NAMES = (
    "availability",
    "delay_p95_seconds",
    "virus_catch",
    "spam_catch",
    "false_positive_rate",
    "release_response_hours",
)


def _order(promise: Promise) -> int:
    return _NAMES.index(promise.name)
