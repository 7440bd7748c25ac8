"""Terms, renewals, notice and ends of contracts, on leap days and at the ends of months."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.billing.contract import Contract, add_months, first_of, month_after, month_name, month_start
from tests.unit.billing.bill_world import a_contract, a_plan

PLAN = a_plan()
DAYS = st.dates(date(1999, 1, 1), date(2110, 12, 31))


def runs(start: date, term: int = 0, renewal: int = 0, notice: int = 0) -> Contract:
    return a_contract(start, (start, PLAN), term_months=term, renewal_months=renewal, notice_days=notice)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        (date(2027, 1, 1), 1, date(2027, 2, 1)),
        (date(2027, 1, 31), 1, date(2027, 3, 1)),  # the last day is 28 February
        (date(2028, 1, 31), 1, date(2028, 3, 1)),  # 29 February
        (date(2027, 1, 29), 1, date(2027, 3, 1)),
        (date(2028, 1, 29), 1, date(2028, 2, 29)),
        (date(2028, 2, 29), 12, date(2029, 3, 1)),
        (date(2028, 2, 29), 48, date(2032, 2, 29)),
        (date(2027, 1, 31), 12, date(2028, 1, 31)),
        (date(2027, 12, 31), 2, date(2028, 3, 1)),
    ],
)
def test_periods_of_months(start: date, months: int, end: date) -> None:
    assert add_months(start, months) == end


@given(DAYS, st.integers(1, 240))
def test_a_period_of_months_is_never_short(start: date, months: int) -> None:
    end = add_months(start, months)
    assert end.day in (start.day, 1)
    assert 28 * months <= (end - start).days <= 31 * months + 1
    assert add_months(start, months) < add_months(start, months + 1)


@given(DAYS, st.integers(0, 36), st.integers(0, 24))
def test_term_ends_follow_each_other(start: date, term: int, renewal: int) -> None:
    ends = list(islice(runs(start, term, renewal).term_ends(), 5))
    assert len(ends) == (5 if renewal else min(1, term))
    assert all(earlier < later for earlier, later in pairwise([start, *ends]))


@given(DAYS, st.integers(0, 36), st.integers(0, 24), st.integers(0, 200), st.integers(0, 1500))
def test_notice_given_in_time_is_enough_and_a_day_later_is_not(
    start: date, term: int, renewal: int, notice: int, later: int
) -> None:
    contract = runs(start, term, renewal, notice)
    told = start + timedelta(days=later)
    end = contract.earliest_end(told)
    last = contract.last_day_for_notice(end)
    assert told <= last
    assert contract.earliest_end(last) == end
    assert contract.earliest_end(last + timedelta(days=1)) > end
    assert end > told
    if term:
        assert end >= add_months(start, term)
    if renewal:
        assert end in islice(contract.term_ends(), 400)


def test_a_year_that_renews() -> None:
    contract = runs(date(2026, 3, 15), 12, 12, 90)
    assert contract.earliest_end(date(2026, 12, 14)) == date(2027, 3, 15)
    assert contract.earliest_end(date(2026, 12, 15)) == date(2028, 3, 15)
    assert contract.current_term_end(date(2027, 3, 14)) == date(2027, 3, 15)
    assert contract.current_term_end(date(2027, 3, 15)) == date(2028, 3, 15)


def test_without_renewal_it_ends_on_any_day_after_its_term() -> None:
    contract = runs(date(2026, 1, 1), 12, 0, 30)
    assert contract.earliest_end(date(2026, 6, 1)) == date(2027, 1, 1)
    assert contract.earliest_end(date(2027, 5, 1)) == date(2027, 6, 1)  # the last day is 31 May
    assert contract.current_term_end(date(2027, 1, 1)) is None


def test_of_terms_from_the_same_day_the_last_agreed_holds_and_later_ones_wait() -> None:
    start = date(2027, 1, 1)
    contract = a_contract(
        start,
        (start, a_plan("old")),
        (date(2027, 6, 1), a_plan("planned")),
        (date(2027, 3, 1), a_plan("wrong")),
        (date(2027, 3, 1), a_plan("right")),
        ends_on=date(2027, 7, 1),
    )
    held = {
        day: terms.plan.name if (terms := contract.terms_on(day)) else None
        for day in (
            date(2026, 12, 31),
            start,
            date(2027, 2, 28),
            date(2027, 3, 1),
            date(2027, 6, 1),
            date(2027, 6, 30),
            date(2027, 7, 1),
        )
    }
    assert list(held.values()) == [None, "old", "old", "right", "planned", "planned", None]


@given(DAYS)
def test_months(day: date) -> None:
    assert month_start(day) == first_of(month_name(day)) <= day < month_after(day)
    assert month_start(month_after(day) - timedelta(days=1)) == month_start(day)
