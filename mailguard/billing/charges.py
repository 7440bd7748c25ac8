"""What a run of the bill for a month charges and gives back under one contract. Pure: history and usage in, lines out.

The fixed fee is what the contract owes up to the end of the next month, less what earlier invoices charged of it, day by day:
so each day is charged once, whatever was started, changed or ended between two runs. Usage and service credits are the month's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from mailguard.billing.contract import Contract, Terms, month_after
from mailguard.billing.draft import PIECES, Charge, DraftLine, Ref, Used, fee_share, runs
from mailguard.billing.fee_days import FeeDays
from mailguard.billing.invoice import LineKind, ServiceLevel
from mailguard.billing.money import rounded, total
from mailguard.billing.overage import usage_lines


def settle(
    contract: Contract,
    month: date,
    *,
    charged: Sequence[Charge],
    used: Used,
    service_levels: Sequence[ServiceLevel] = (),
) -> tuple[DraftLine, ...]:
    """The lines of the run for the month that begins on `month`; none when nothing is to be charged.

    `charged` is all that earlier invoices and credit notes of the contract did, `used` what was used on its covered days.
    """
    horizon = month_after(month_after(month))
    fees = FeeDays(contract, charged)
    setup = fees.setup(horizon)
    lines = [*fees.charges(horizon), *(line for line in setup if line.amount >= 0)]
    lines += usage_lines(contract, month, used)
    lines += fees.credits(horizon)
    lines += (line for line in setup if line.amount < 0)
    lines += _service_credits(contract, month, service_levels, fees, lines)
    return tuple(lines)


def is_due(contract: Contract, month: date, charged: Sequence[Charge]) -> bool:
    """Whether a run for the month has anything to look at: covered days in it, or days of the fee to charge or give back."""
    first, last = contract.days_within(month, month_after(month))
    if first < last:
        return True
    fees, horizon = FeeDays(contract, charged), month_after(month_after(month))
    return bool([*fees.charges(horizon), *fees.credits(horizon), *fees.setup(horizon)])


def fee_of(contract: Contract, month: date) -> Decimal:
    """The fixed fee of a month, by the days that each plan held on."""
    return total(
        fee_share(terms.plan, start, end)
        for start, end, terms in runs(month, month_after(month), contract.terms_on)
        if terms is not None
    )


def _service_credits(
    contract: Contract, month: date, levels: Sequence[ServiceLevel], fees: FeeDays, lines: Sequence[DraftLine]
) -> Iterator[DraftLine]:
    """Percents of the month's fee; together never more than the plan's most, nor than what the fee is still worth."""
    terms = contract.last_terms_within(month, month_after(month))
    if terms is None or not any(level.credit_percent for level in levels):
        return
    fee, currency = fee_of(contract, month), terms.plan.currency
    start, end = contract.days_within(month, month_after(month))
    sources = _sources(month, fees, lines)
    most = rounded(fee * terms.plan.sla.max_credit_percent / 100, currency)
    for level in levels:
        wanted = min(rounded(fee * level.credit_percent / 100, currency), most)
        for source in sources:
            given = min(wanted, source.left)
            if given <= 0:
                continue
            source.left -= given
            wanted -= given
            most -= given
            what = (
                f"Service credit: {level.commitment} {level.measured}, promised {level.target}: "
                f"{level.credit_percent.normalize():f} % of the month's fee"
            )
            back = ((source.ref, given),)
            yield DraftLine(
                LineKind.SLA_CREDIT, what, start, end, Decimal(-1), PIECES, given, -given, source.terms, back
            )


@dataclass(slots=True)
class _Source:
    """A line that charged some of a month's fee, and what it is still worth."""

    ref: Ref
    left: Decimal
    terms: Terms


def _sources(month: date, fees: FeeDays, lines: Sequence[DraftLine]) -> list[_Source]:
    found = [_Source(*line) for line in fees.of_month(month)]
    by_ref = {source.ref: source for source in found}
    for number, line in enumerate(lines, start=1):
        if line.kind is LineKind.FIXED_FEE and month <= line.start < month_after(month):
            found.append(_Source(("", number), line.amount, line.terms))
        for ref, amount in line.against:
            if ref in by_ref:
                by_ref[ref].left -= amount
    return found
