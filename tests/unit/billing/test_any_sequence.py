"""Contracts signed, changed, ended, taken back and credited in any order between runs: no month billed twice or skipped."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailguard.billing import agreements
from mailguard.billing.charges import fee_of
from mailguard.billing.contract import Contract, first_of, month_after, month_name, month_start
from mailguard.billing.draft import Charge, remaining
from mailguard.billing.frozen import document_of
from mailguard.billing.invoice import LineKind
from mailguard.billing.prepare import State, charges_of
from mailguard.core.errors import ConflictError
from mailguard.store import invoices
from tests.unit.billing.bill_world import a_plan
from tests.unit.billing.provider import Provider

FEES = {LineKind.FIXED_FEE, LineKind.FEE_CREDIT}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.just(0)),
        st.tuples(st.just("run"), st.integers(0, 6)),
        st.tuples(st.sampled_from(["change", "cancel", "revoke", "sign", "credit"]), st.integers(0, 150)),
    ),
    min_size=4,
    max_size=12,
)


@given(start=st.integers(0, 40), steps=STEPS)
@example(start=0, steps=[("run", 0), ("change", 12), ("next", 0), ("next", 0)])
@settings(max_examples=25)
def test_no_month_is_billed_twice_or_skipped(
    tmp_path_factory: pytest.TempPathFactory, start: int, steps: list[tuple[str, int]]
) -> None:
    provider = Provider(tmp_path_factory.mktemp("any"))
    try:
        first = date(2027, 12, 20) + timedelta(days=start)  # a leap February follows
        provider.sign(a_plan("p", "29.00", setup_fee=Decimal("10.00")), first)
        upcoming = month_start(first)
        for what, value in [*steps, ("next", 0)]:
            if what == "next":
                ran = provider.run(month_name(upcoming))
                # What was changed after a month had been billed is settled by the next month's run.
                charged_is_owed(provider, upcoming, without={one.contract for one in ran if one.state is State.FROZEN})
                upcoming = month_after(upcoming)
            else:
                with suppress(ConflictError):  # what is not allowed is refused, and changes nothing
                    step(provider, what, value, first)
        nothing_is_twice_or_missing(provider)
    finally:
        provider.close()


def step(provider: Provider, what: str, value: int, first: date) -> None:
    """One thing that somebody tries."""
    day = first + timedelta(days=value)
    if what == "run":
        months = [month_start(first)]
        for _ in range(value):
            months.append(month_after(months[-1]))
        provider.run(month_name(months[-1]))
    elif what == "change":
        provider.change(a_plan(f"plan-{value}", f"{value}.10"), day)
    elif what == "cancel":
        provider.cancel(day)
    elif what == "revoke":
        provider.revoke()
    elif what == "sign":
        provider.sign(a_plan(f"plan-{value}", f"{value}.10"), day)
    elif rows := provider.invoices():
        provider.credit(rows[value % len(rows)].number, 1, f"{value}.01")


def charged_is_owed(provider: Provider, month: date, *, without: Collection[int]) -> None:
    """After a run, each contract that it billed (all but `without`) has paid every covered day up to the end of the next month, and no other."""
    for contract in contracts(provider):
        charges = charges_under(provider, contract)
        billed = provider.database.read(lambda conn, one=contract: invoices.billed(conn, one.id))
        if (
            contract.id in without
            or max(billed, default="") != month_name(month)
            or any(one.kind is LineKind.CORRECTION for one in charges)
        ):
            continue
        setup = {one.ref for one in charges if one.kind is LineKind.SETUP_FEE}
        charged = sum((one.amount for one in charges if one.kind in FEES and one.against not in setup), Decimal(0))
        day, owed = month_start(contract.start), Decimal(0)
        while day < month_after(month_after(month)):
            owed += fee_of(contract, day)
            day = month_after(day)
        assert charged == owed


def nothing_is_twice_or_missing(provider: Provider) -> None:
    """Each contract's covered months are billed from its first on without a gap; numbers have none; sums are sums."""
    rows = provider.invoices()
    for kind in ("INV-2027-", "INV-2028-", "CN-2028-"):
        numbers = sorted(int(row.number.removeprefix(kind)) for row in rows if row.number.startswith(kind))
        assert numbers == list(range(1, len(numbers) + 1))
    for contract in contracts(provider):
        billed = provider.database.read(lambda conn, one=contract: invoices.billed(conn, one.id))
        months = [first_of(name) for name in sorted(billed) if covers(contract, first_of(name))]
        assert not months or months[0] == month_start(contract.start)
        assert all(month_after(earlier) == later for earlier, later in pairwise(months))
        assert all(amount >= 0 for amount in remaining(charges_under(provider, contract)).values())
    for row in rows:
        document = document_of(row)
        assert document.net == sum(line.amount for line in document.lines)
        assert document.total == document.net + document.tax == row.total
        assert all(line.amount >= 0 or line.kind in CREDITS for line in document.lines)


CREDITS = {LineKind.FEE_CREDIT, LineKind.CORRECTION}


def contracts(provider: Provider) -> list[Contract]:
    return provider.database.read(agreements.contracts_of)


def charges_under(provider: Provider, contract: Contract) -> tuple[Charge, ...]:
    return provider.database.read(lambda conn: charges_of(conn, contract.id))


def covers(contract: Contract, month: date) -> bool:
    begin, end = contract.days_within(month, month_after(month))
    return begin < end
