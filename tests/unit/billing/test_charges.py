"""What a run charges, by random histories: every day once, credits never beyond their fee, parts that add up to the whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

from hypothesis import given, note
from hypothesis import strategies as st

from mailguard.billing.charges import fee_of, is_due, settle
from mailguard.billing.contract import Contract, Terms, month_after, month_start
from mailguard.billing.draft import Charge, DraftLine, Used, remaining
from mailguard.billing.invoice import LineKind, ServiceLevel
from mailguard.billing.money import share
from mailguard.billing.overage import allowance, tier_parts
from mailguard.billing.plans import Plan, Rates, Scheme, ServiceLevels, Tier
from tests.unit.billing.bill_world import (
    a_contract,
    a_plan,
    charges_of,
    fees,
    levels,
    months_from,
    plans,
    uses,
)

CENT = Decimal("0.01")
FIRST = date(2027, 12, 1)  # then a leap February
DAYS = st.integers(0, 150).map(lambda days: FIRST + timedelta(days=days))


@given(fees, st.lists(st.integers(0, 31), max_size=6), st.sampled_from([date(2028, 2, 1), date(2027, 2, 1), FIRST]))
def test_parts_of_a_month_add_up_to_its_fee(fee: Decimal, cuts: list[int], month: date) -> None:
    end = month_after(month)
    edges = sorted({month, end, *(min(end, month + timedelta(days=cut)) for cut in cuts)})
    shares = [share(fee, "EUR", start=a, end=b, month_start=month, month_end=end) for a, b in pairwise(edges)]
    assert sum(shares) == fee
    assert all(part >= 0 and part == part.quantize(CENT) for part in shares)


class History:
    """A contract that changes between the runs of its months, as one does; what each run charged is kept."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.charged: list[Charge] = []
        self.billed: date | None = None

    @property
    def open_day(self) -> date:
        """From here on it may change."""
        return self.contract.start if self.billed is None else max(self.contract.start, month_after(self.billed))

    def change(self, day: date, plan: Plan) -> None:
        day = max(day, self.open_day)
        if self.contract.covers(day):
            terms = Terms(len(self.contract.terms) + 1, day, plan, plan.hash)
            self.contract = replace(self.contract, terms=(*self.contract.terms, terms))

    def end(self, day: date) -> None:
        self.contract = replace(self.contract, ends_on=max(day, self.open_day))

    def reopen(self) -> None:
        if self.contract.ends_on is not None and self.contract.ends_on >= self.open_day:
            self.contract = replace(self.contract, ends_on=None)

    def run(self, month: date, used: Used, levels: list[ServiceLevel]) -> Counter[LineKind]:
        before = remaining(self.charged)
        lines = settle(self.contract, month, charged=self.charged, used=used, service_levels=levels)
        for line in lines:
            note(f"{month} {line.kind} {line.start} {line.end} {line.amount} {line.description}")
            assert line.amount == line.amount.quantize(CENT)
            assert (line.amount < 0) <= bool(line.against)
            assert line.amount >= 0 or line.kind in (LineKind.FEE_CREDIT, LineKind.SLA_CREDIT)
            assert month_start(line.start) == month_start(line.end - timedelta(days=1))
            assert abs(line.quantity * line.unit_price - line.amount) <= CENT
            assert line.unit_price >= 0
        assert bool(lines) <= is_due(self.contract, month, self.charged)
        self.charged += charges_of(lines, f"{month}")
        assert settle(self.contract, month, charged=self.charged, used=Used()) == ()
        left = remaining(self.charged)
        assert all(amount >= 0 for amount in left.values())
        assert before.keys() <= left.keys()
        self.billed = month
        return Counter(line.kind for line in lines)


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, date, Plan]:
    return draw(st.sampled_from(["change", "change", "end", "reopen"])), draw(DAYS), draw(plans())


@given(
    start=DAYS,
    first=plans(),
    early=st.booleans(),
    between=st.lists(st.lists(steps(), max_size=2), min_size=7, max_size=7),
    used=st.lists(uses, min_size=7, max_size=7),
    levels=st.lists(levels, min_size=7, max_size=7),
)
def test_every_day_is_charged_once_under_any_sequence_of_changes(
    *,
    start: date,
    first: Plan,
    early: bool,
    between: list[list[tuple[str, date, Plan]]],
    used: list[Used],
    levels: list[list[ServiceLevel]],
) -> None:
    history = History(a_contract(start, (start, first)))
    begin = month_start(month_start(start) - timedelta(days=1)) if early else month_start(start)
    for month, changes, use, level in zip(months_from(begin, 7), between, used, levels, strict=True):
        for what, day, plan in changes:
            if what == "change":
                history.change(day, plan)
            elif what == "end":
                history.end(day)
            else:
                history.reopen()
        history.run(month, use, level)

        # What is charged by now is the fee of every covered day up to the end of the next month, and of no other day.
        horizon = month_after(month_after(month))
        fixed = [c for c in history.charged if c.kind is LineKind.FIXED_FEE]
        back = [c for c in history.charged if c.kind is LineKind.FEE_CREDIT and not _is_setup(c, history.charged)]
        owed, day = Decimal(0), month_start(start)
        while day < horizon:
            owed += fee_of(history.contract, day)
            covered = Counter(d for c in fixed for d in _days(c, day))
            covered.subtract(d for c in back for d in _days(c, day))
            wanted = {d for d in _days_of(day) if (t := history.contract.terms_on(d)) and t.plan.monthly_fee}
            assert {d for d, count in covered.items() if count} == wanted
            assert set(covered.values()) <= {0, 1}
            day = month_after(day)
        assert sum((c.amount for c in (*fixed, *back)), Decimal(0)) == owed


def _is_setup(charge: Charge, charged: list[Charge]) -> bool:
    return any(c.ref == charge.against and c.kind is LineKind.SETUP_FEE for c in charged)


def _days(charge: Charge, month: date) -> list[date]:
    return [day for day in _days_of(month) if charge.start <= day < charge.end]


def _days_of(month: date) -> list[date]:
    return [month + timedelta(days=n) for n in range((month_after(month) - month).days)]


@given(plans(), plans(), st.integers(1, 29), uses)
def test_a_change_within_a_month_costs_the_days_of_each_plan(old: Plan, new: Plan, day: int, used: Used) -> None:
    start, change = date(2028, 2, 1), date(2028, 2, day)
    contract = a_contract(start, (start, old), (change, new))
    days = day - 1
    first = (old.monthly_fee * days / 29).quantize(CENT, ROUND_HALF_UP)
    second = new.monthly_fee - (new.monthly_fee * days / 29).quantize(CENT, ROUND_HALF_UP)
    assert fee_of(contract, start) == first + second


def test_days_charged_in_advance_and_then_ended_are_given_back() -> None:
    start = date(2027, 1, 1)
    contract = a_contract(start, (start, a_plan(fee="31.00")))
    lines = settle(contract, start, charged=[], used=Used())
    assert [(one.kind, one.start, one.end, one.amount) for one in lines] == [
        (LineKind.FIXED_FEE, date(2027, 1, 1), date(2027, 2, 1), Decimal("31.00")),
        (LineKind.FIXED_FEE, date(2027, 2, 1), date(2027, 3, 1), Decimal("31.00")),
    ]
    ended = replace(contract, ends_on=date(2027, 2, 15))
    (line,) = settle(ended, date(2027, 2, 1), charged=charges_of(lines, "1"), used=Used())
    assert (line.kind, line.start, line.end, line.amount) == (
        LineKind.FEE_CREDIT,
        date(2027, 2, 15),
        date(2027, 3, 1),
        Decimal("-15.50"),
    )
    assert line.against == ((("1", 2), Decimal("15.50")),)


def test_a_credited_line_is_not_credited_again_beyond_its_worth() -> None:
    start = date(2027, 1, 1)
    contract = a_contract(start, (start, a_plan(fee="30.00")))
    charged = charges_of(settle(contract, start, charged=[], used=Used()), "1")
    charged.append(Charge("C1", 1, LineKind.CORRECTION, 1, start, start, Decimal(-25), ("1", 2)))
    ended = replace(contract, ends_on=date(2027, 2, 1))
    (line,) = settle(ended, date(2027, 1, 1), charged=charged, used=Used())
    assert line.amount == Decimal(-5)  # of the 30 of February 25 were credited before


def test_service_credits_stop_at_the_most_that_the_plan_gives() -> None:
    start = date(2027, 1, 1)
    plan = a_plan(fee="100.00", sla=ServiceLevels(max_credit_percent=Decimal(30)))
    contract = a_contract(start, (start, plan))
    level = ServiceLevel("availability", "99.9 %", "98 %", False, Decimal(25))
    lines = settle(contract, start, charged=[], used=Used(), service_levels=[level, level])
    assert [line.amount for line in lines if line.kind is LineKind.SLA_CREDIT] == [Decimal(-25), Decimal(-5)]
    assert lines[-1].against == ((("", 1), Decimal(5)),)


def test_the_allowance_of_a_part_month_is_its_part_rounded_up() -> None:
    plan = a_plan(
        included_mailboxes=10, mailbox_rates=Rates(Scheme.GRADUATED, (Tier(None, Decimal(2)),)), included_messages=None
    )
    contract = a_contract(date(2027, 1, 11), (date(2027, 1, 11), plan))
    assert allowance(contract, date(2027, 1, 1)).mailboxes == 7  # 10 * 21 / 31 = 6.77
    lines = settle(contract, date(2027, 1, 1), charged=[], used=Used(mailboxes=9))
    (line,) = [line for line in lines if line.kind is LineKind.MAILBOXES]
    assert line.amount == Decimal("2.71")  # 2 * 2.00 * 21 / 31
    assert line.description == "Mailboxes 8 to 9, beyond 7 included, 21 of 31 days"


@given(plans(), uses)
def test_unused_allowance_is_worth_nothing_later(plan: Plan, used: Used) -> None:
    start = date(2027, 1, 1)
    contract = a_contract(start, (start, plan))
    idle = settle(contract, start, charged=[], used=Used())
    busy = settle(contract, start, charged=[], used=used)
    usage = {LineKind.MAILBOXES, LineKind.MESSAGES}
    assert not any(line.kind in usage for line in idle)
    after_idle = settle(contract, month_after(start), charged=charges_of(idle, "1"), used=used)
    assert _of(after_idle, usage) == _of(busy, usage)


def _of(lines: tuple[DraftLine, ...], kinds: set[LineKind]) -> list[Decimal]:
    return [line.amount for line in lines if line.kind in kinds]


def test_tiers() -> None:
    tiers = (Tier(10, Decimal(3)), Tier(20, Decimal(2)), Tier(None, Decimal(1)))
    assert list(tier_parts(0, Rates(Scheme.GRADUATED, tiers))) == []
    assert list(tier_parts(10, Rates(Scheme.GRADUATED, tiers))) == [(1, 10, Decimal(3))]
    assert list(tier_parts(25, Rates(Scheme.GRADUATED, tiers))) == [
        (1, 10, Decimal(3)),
        (11, 20, Decimal(2)),
        (21, 25, Decimal(1)),
    ]
    assert list(tier_parts(20, Rates(Scheme.VOLUME, tiers))) == [(1, 20, Decimal(2))]
    assert list(tier_parts(21, Rates(Scheme.VOLUME, tiers))) == [(1, 21, Decimal(1))]


def test_a_contract_withdrawn_before_it_began_gets_its_set_up_fee_back() -> None:
    start = date(2027, 2, 1)
    contract = a_contract(start, (start, a_plan(setup_fee=Decimal("99.00"))))
    charged = charges_of(settle(contract, date(2027, 1, 1), charged=[], used=Used()), "1")
    lines = settle(replace(contract, ends_on=start), date(2027, 2, 1), charged=charged, used=Used())
    assert sum(line.amount for line in lines) == -sum(charge.amount for charge in charged)
    assert (
        settle(replace(contract, ends_on=start), start, charged=[*charged, *charges_of(lines, "2")], used=Used()) == ()
    )
