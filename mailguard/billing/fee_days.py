"""The fixed fee day by day: what a contract owes, less what was charged of it; the days between are charged or given back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar

from mailguard.billing.contract import ONE_DAY, Contract, Terms, month_after, month_start
from mailguard.billing.draft import (
    MONTHS,
    PIECES,
    Charge,
    DraftLine,
    Ref,
    days_of,
    fee_share,
    fraction_of_month,
    part_text,
    remaining,
    runs,
)
from mailguard.billing.invoice import LineKind
from mailguard.billing.money import rounded
from mailguard.billing.plans import Plan

T = TypeVar("T")


class FeeDays:
    """Which days of the fixed fee are owed and which were charged, and by what."""

    def __init__(self, contract: Contract, charged: Sequence[Charge]) -> None:
        self._contract = contract
        self._charged = charged
        self._terms = {terms.id: terms for terms in contract.terms}
        self._open: dict[date, Charge] = {}
        self.left = remaining(charged)
        given_back = {
            (charge.against, day)
            for charge in charged
            if charge.kind is LineKind.FEE_CREDIT
            for day in days_of(charge.start, charge.end)
        }
        for charge in charged:
            if charge.kind is LineKind.FIXED_FEE:
                for day in days_of(charge.start, charge.end):
                    if (charge.ref, day) not in given_back and self._open.setdefault(day, charge) is not charge:
                        raise RuntimeError(f"{day} is charged by {self._open[day].invoice} and by {charge.invoice}")

    def charges(self, horizon: date) -> Iterator[DraftLine]:
        """Days before `horizon` that are owed and not charged."""
        for start, end, terms in self._by_month(horizon, self._owed):
            if terms is not None:
                yield _fee_line(terms, start, end)

    def credits(self, horizon: date) -> Iterator[DraftLine]:
        """Days that were charged and are not owed like that any more."""
        left = dict(self.left)
        for start, end, charge in self._by_month(horizon, self._wrong):
            if charge is not None:
                terms = self._terms[charge.terms]
                amount = min(fee_share(terms.plan, start, end), left[charge.ref])
                left[charge.ref] -= amount
                yield _fee_credit(terms, start, end, amount, charge.ref)

    def setup(self, horizon: date) -> list[DraftLine]:
        """The set-up fee when the first covered day is before `horizon`; given back when the contract covers no day."""
        start = self._contract.start
        first = self._contract.terms_on(start)
        held = next((charge for charge in self._charged if charge.kind is LineKind.SETUP_FEE), None)
        if held is None and first is not None and start < horizon and first.plan.setup_fee:
            fee = rounded(first.plan.setup_fee, first.plan.currency)
            what = f"Set-up fee, plan {first.plan.name}"
            return [DraftLine(LineKind.SETUP_FEE, what, start, start + ONE_DAY, Decimal(1), PIECES, fee, fee, first)]
        if held is not None and first is None and self.left[held.ref] > 0:
            fee, terms = self.left[held.ref], self._terms[held.terms]
            what = f"Credit: set-up fee, plan {terms.plan.name}"
            back = ((held.ref, fee),)
            kind = LineKind.FEE_CREDIT
            return [DraftLine(kind, what, held.start, held.end, Decimal(-1), PIECES, fee, -fee, terms, back)]
        return []

    def of_month(self, month: date) -> list[tuple[Ref, Decimal, Terms]]:
        """The lines that charged a month's fee, what each is still worth, and its terms."""
        return [
            (charge.ref, self.left[charge.ref], self._terms[charge.terms])
            for charge in self._charged
            if charge.kind is LineKind.FIXED_FEE and month <= charge.start < month_after(month)
        ]

    def _by_month(self, horizon: date, of: Callable[[date], T]) -> Iterator[tuple[date, date, T]]:
        month = month_start(self._contract.start)
        while month < horizon:
            yield from runs(month, month_after(month), of)
            month = month_after(month)

    def _owed(self, day: date) -> Terms | None:
        terms = self._contract.terms_on(day)
        return terms if terms is not None and terms.plan.monthly_fee and not self._is_right(day, terms) else None

    def _wrong(self, day: date) -> Charge | None:
        charge = self._open.get(day)
        return None if charge is None or self._is_right(day, self._contract.terms_on(day)) else charge

    def _is_right(self, day: date, terms: Terms | None) -> bool:
        charge = self._open.get(day)
        if charge is None or terms is None:
            return False
        return _fee_key(self._terms[charge.terms].plan) == _fee_key(terms.plan)


def _fee_key(plan: Plan) -> tuple[str, Decimal, Decimal, str, str]:
    """What makes one day's fee another one."""
    return plan.name, plan.monthly_fee, plan.tax_rate, plan.tax_category, plan.tax_exemption


def _fee_line(terms: Terms, start: date, end: date) -> DraftLine:
    plan = terms.plan
    what = f"Monthly fee, plan {plan.name}{part_text(start, end)}"
    amount = fee_share(plan, start, end)
    quantity = fraction_of_month(start, end)
    return DraftLine(LineKind.FIXED_FEE, what, start, end, quantity, MONTHS, plan.monthly_fee, amount, terms)


def _fee_credit(terms: Terms, start: date, end: date, amount: Decimal, ref: Ref) -> DraftLine:
    plan = terms.plan
    what = f"Credit: monthly fee, plan {plan.name}{part_text(start, end)}, charged in advance"
    if amount == fee_share(plan, start, end):
        quantity, unit, price = -fraction_of_month(start, end), MONTHS, plan.monthly_fee
    else:  # some of it was credited before
        quantity, unit, price = Decimal(-1), PIECES, amount
    return DraftLine(LineKind.FEE_CREDIT, what, start, end, quantity, unit, price, -amount, terms, ((ref, amount),))
