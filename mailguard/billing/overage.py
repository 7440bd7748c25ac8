"""What goes beyond the allowance of a month, and what it costs by the tiers of the plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import ceil
from types import MappingProxyType

from mailguard.billing.contract import Contract, Terms, month_after, month_start
from mailguard.billing.draft import PIECES, DraftLine, Used, part_text, runs
from mailguard.billing.invoice import LineKind
from mailguard.billing.money import rounded
from mailguard.billing.plans import Rates, Scheme

_PRICE_DIGITS = 8
_WHAT = MappingProxyType(
    {LineKind.MAILBOXES: ("Mailbox", "Mailboxes"), LineKind.MESSAGES: ("Delivered mail", "Delivered mails")}
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is included in a month, by the covered days; None: without limit."""

    mailboxes: int | None = None
    messages: int | None = None


def allowance(contract: Contract, month: date) -> Allowance:
    """What is included in a month: of each plan the share of the days that it held on, rounded up in the end.

    Where a plan without limit held on any day, there is none in the month.
    """
    mailboxes, messages = Fraction(0), Fraction(0)
    unlimited_mailboxes = unlimited_messages = False
    length = (month_after(month) - month).days
    for terms, days in _days_by_terms(contract, month):
        plan = terms.plan
        mailboxes += Fraction((plan.included_mailboxes or 0) * days, length)
        messages += Fraction((plan.included_messages or 0) * days, length)
        unlimited_mailboxes |= plan.included_mailboxes is None
        unlimited_messages |= plan.included_messages is None
    return Allowance(None if unlimited_mailboxes else ceil(mailboxes), None if unlimited_messages else ceil(messages))


def usage_lines(contract: Contract, month: date, used: Used) -> Iterator[DraftLine]:
    """What was used beyond the allowance, at the prices of the month's last covered day."""
    start, end = contract.days_within(month, month_after(month))
    terms = contract.last_terms_within(month, month_after(month))
    if terms is None:
        return
    included = allowance(contract, month)
    for kind, count, allowed, rates in (
        (LineKind.MAILBOXES, used.mailboxes, included.mailboxes, terms.plan.mailbox_rates),
        (LineKind.MESSAGES, used.messages, included.messages, terms.plan.message_rates),
    ):
        if allowed is not None and rates is not None:
            for first, last, price in tier_parts(max(0, count - allowed), rates):
                if price:
                    exact = Fraction(price) / rates.per
                    yield _tier_line(kind, allowed, (first, last), exact, terms=terms, start=start, end=end)


def _tier_line(
    kind: LineKind, included: int, beyond: tuple[int, int], price: Fraction, *, terms: Terms, start: date, end: date
) -> DraftLine:
    """A tier that is reached. A mailbox has its price by the month, and in a part of one that part of it."""
    one, several = _WHAT[kind]
    first, last = (included + number for number in beyond)
    text = f"{several} {first:,} to {last:,}" if last > first else f"{one} {first:,}"
    text += f", beyond {included:,} included" if included else ""
    if kind is LineKind.MAILBOXES:
        price *= Fraction((end - start).days, (month_after(month_start(start)) - month_start(start)).days)
        text += part_text(start, end)
    count = last - first + 1
    amount = rounded(_decimal(price * count), terms.plan.currency)
    unit_price = round(_decimal(price), _PRICE_DIGITS)
    return DraftLine(kind, text, start, end, Decimal(count), PIECES, unit_price, amount, terms)


def tier_parts(over: int, rates: Rates) -> Iterator[tuple[int, int, Decimal]]:
    """Units 1 to `over` beyond the allowance by tier: the first, the last, and the price of `rates.per` of them."""
    if rates.scheme is Scheme.VOLUME:
        if over:
            tier = next(tier for tier in rates.tiers if tier.up_to is None or over <= tier.up_to)
            yield 1, over, tier.price
        return
    before = 0
    for tier in rates.tiers:
        last = over if tier.up_to is None else min(over, tier.up_to)
        if last > before:
            yield before + 1, last, tier.price
        before = max(before, last)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / value.denominator


def _days_by_terms(contract: Contract, month: date) -> Iterator[tuple[Terms, int]]:
    for start, end, terms in runs(month, month_after(month), contract.terms_on):
        if terms is not None:
            yield terms, (end - start).days
