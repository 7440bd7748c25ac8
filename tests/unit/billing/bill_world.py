"""Plans and contracts for the bill's tests, in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from hypothesis import strategies as st

from mailguard.billing.charges import settle
from mailguard.billing.contract import Contract, Terms, month_after
from mailguard.billing.draft import Charge, DraftLine, Used
from mailguard.billing.invoice import LineKind, Party, ServiceLevel
from mailguard.billing.plans import Plan, Rates, Scheme, ServiceLevels, Tier

BUYER = Party("Acme Ltd", ("1 Road", "12345 Town"), "DE")


def a_plan(name: str = "basic", fee: str = "31.00", **values: object) -> Plan:
    """A plan in euros with 19 % tax."""
    plan = Plan(name, "", "EUR", Decimal(fee), tax_rate=Decimal(19))
    return replace(plan, **values)  # type: ignore[arg-type]


def a_contract(start: date, *terms: tuple[date, Plan], **values: object) -> Contract:
    """A contract with these terms, each from its day on."""
    held = tuple(Terms(number, day, plan, plan.hash) for number, (day, plan) in enumerate(terms, start=1))
    contract = Contract(1, 2, start, held, held[0].plan.currency, BUYER, start)
    return replace(contract, **values)  # type: ignore[arg-type]


def charges_of(lines: tuple[DraftLine, ...], invoice: str) -> list[Charge]:
    """What the lines of an invoice leave behind for the runs after it."""
    found = []
    for number, line in enumerate(lines, start=1):
        for against, amount in line.against or ((None, -line.amount),):
            ref = (invoice, against[1]) if against is not None and not against[0] else against
            found.append(Charge(invoice, number, line.kind, line.terms.id, line.start, line.end, -amount, ref))
    return found


def months_from(first: date, count: int) -> list[date]:
    """The first days of consecutive months."""
    found = [first]
    while len(found) < count:
        found.append(month_after(found[-1]))
    return found


prices = st.decimals(min_value=0, max_value=9999, places=4, allow_nan=False)
fees = st.one_of(
    st.decimals(min_value=0, max_value=1000, places=2, allow_nan=False),
    st.sampled_from([Decimal("0.01"), Decimal("0.29"), Decimal("0.31"), Decimal("19.99"), Decimal("100.00")]),
)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    """Any tiers."""
    bounds = sorted(draw(st.sets(st.integers(1, 50), max_size=3)))
    tiers = tuple(Tier(bound, draw(prices)) for bound in (*bounds, None))
    return Rates(draw(st.sampled_from(Scheme)), tiers, draw(st.sampled_from([1, 100, 1000])))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any plan in euros."""
    mailboxes = draw(st.none() | st.integers(0, 30))
    messages = draw(st.none() | st.integers(0, 30))
    return Plan(
        name=draw(st.sampled_from(["basic", "business", "per-mailbox"])),
        description="",
        currency="EUR",
        monthly_fee=draw(fees),
        setup_fee=draw(fees),
        included_mailboxes=mailboxes,
        included_messages=messages,
        mailbox_rates=None if mailboxes is None else draw(rates()),
        message_rates=None if messages is None else draw(rates()),
        tax_rate=draw(st.sampled_from([Decimal(19), Decimal(16), Decimal("7.7")])),
        sla=ServiceLevels(max_credit_percent=draw(st.sampled_from([Decimal(0), Decimal(50), Decimal(100)]))),
    )


uses = st.builds(Used, st.integers(0, 60), st.integers(0, 60), st.integers(0, 10**12))
levels = st.lists(
    st.builds(
        ServiceLevel,
        commitment=st.just("availability"),
        target=st.just("99.9 %"),
        measured=st.just("98 %"),
        met=st.just(False),
        credit_percent=st.sampled_from([Decimal(0), Decimal(10), Decimal("33.3"), Decimal(100)]),
    ),
    max_size=3,
)

__all__ = [
    "BUYER",
    "LineKind",
    "a_contract",
    "a_plan",
    "charges_of",
    "fees",
    "levels",
    "months_from",
    "plans",
    "settle",
    "uses",
]
