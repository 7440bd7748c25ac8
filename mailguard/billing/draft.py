"""Lines of an invoice before it has a number, what earlier ones charged, and the days of months that both are about. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeVar

from mailguard.billing.contract import ONE_DAY, Terms, month_after, month_start
from mailguard.billing.invoice import LineKind
from mailguard.billing.money import share
from mailguard.billing.plans import Plan

T = TypeVar("T")

Ref = tuple[str, int]
"""A line of an invoice: its number and the line's. An empty number means the invoice that is being made."""

MONTHS, PIECES = "MON", "C62"
"""Units of lines (UN/ECE Recommendation 20)."""
_QUANTITY_DIGITS = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Charge:
    """What a line of an earlier invoice charged for days, or gave back (negative) of the line that it is `against`."""

    invoice: str
    line: int
    kind: LineKind
    terms: int
    start: date
    end: date
    amount: Decimal
    against: Ref | None = None

    @property
    def ref(self) -> Ref:
        """Its line."""
        return self.invoice, self.line


@dataclass(frozen=True, slots=True)
class Used:
    """What was used on the covered days of a month. `messages`: one for each recipient."""

    mailboxes: int = 0
    messages: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class DraftLine:
    """A line to be. `against` says of which lines a credit gives back how much (positive)."""

    kind: LineKind
    description: str
    start: date
    end: date
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Decimal
    terms: Terms
    against: tuple[tuple[Ref, Decimal], ...] = ()


def remaining(charged: Sequence[Charge]) -> dict[Ref, Decimal]:
    """What each line that charged something is still worth after all that was given back of it."""
    left = {charge.ref: charge.amount for charge in charged if charge.against is None}
    for credit in charged:
        if credit.against is not None:
            left[credit.against] += credit.amount
    return left


def fee_share(plan: Plan, start: date, end: date) -> Decimal:
    """What days of one month are worth of a plan's fee."""
    first = month_start(start)
    return share(plan.monthly_fee, plan.currency, start=start, end=end, month_start=first, month_end=month_after(first))


def fraction_of_month(start: date, end: date) -> Decimal:
    """Days of one month as a part of it."""
    first = month_start(start)
    days, length = (end - start).days, (month_after(first) - first).days
    return Decimal(1) if days == length else (Decimal(days) / length).quantize(_QUANTITY_DIGITS)


def part_text(start: date, end: date) -> str:
    """`, 17 of 30 days` where days are not all of their month."""
    first = month_start(start)
    days, length = (end - start).days, (month_after(first) - first).days
    return "" if days == length else f", {days} of {length} days"


def days_of(start: date, end: date) -> Iterator[date]:
    """Each day of [start, end)."""
    while start < end:
        yield start
        start += ONE_DAY


def runs(start: date, end: date, of: Callable[[date], T]) -> Iterator[tuple[date, date, T]]:
    """[start, end) cut where `of` a day changes: each piece with its value."""
    first, value = start, of(start)
    for day in days_of(start + ONE_DAY, end):
        if (other := of(day)) != value:
            yield first, day, value
            first, value = day, other
    yield first, end, value
