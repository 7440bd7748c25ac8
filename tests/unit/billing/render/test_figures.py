"""Money, quantities and days as a page shows them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from mailguard.billing.render import figures
from mailguard.billing.render.pdf import _quantity
from tests.unit.billing.render.invoices import ORDINARY, line


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (date(2026, 11, 1), date(2026, 12, 1), "1–30 November 2026"),
        (date(2026, 11, 5), date(2026, 11, 6), "5 November 2026"),
        (date(2026, 11, 5), date(2026, 11, 5), "5 November 2026"),
        (date(2026, 11, 5), date(2026, 12, 5), "5 November – 4 December 2026"),
        (date(2026, 12, 5), date(2027, 1, 5), "5 December 2026 – 4 January 2027"),
        (date(2028, 2, 1), date(2028, 3, 1), "1–29 February 2028"),
    ],
)
def test_a_period_is_shown_with_its_last_day(start: date, end: date, shown: str) -> None:
    assert figures.period(start, end).replace("\u00a0", " ") == shown


@pytest.mark.parametrize(
    ("quantity", "unit", "shown"),
    [
        ("1", "MON", "1 month"),
        ("2", "MON", "2 months"),
        ("0.645161", "MON", "20/31 month"),
        ("-0.645161", "MON", "−20/31 month"),
        ("0.65", "MON", "0.65 months"),
        ("0.6", "MON", "0.6 months"),
        ("7", "C62", "7"),
        ("1234.50", "C62", "1,234.5"),
        ("1E+2", "C62", "100"),
        ("3", "XBX", "3 XBX"),
    ],
)
def test_a_quantity_is_shown_as_people_write_it(quantity: str, unit: str, shown: str) -> None:
    one = line(1, "", "1.00", quantity=quantity, unit=unit, period=(date(2027, 1, 12), date(2027, 2, 1)))
    assert _quantity(one, one.quantity) == shown


def test_half_a_february_is_a_fraction_of_it() -> None:
    one = line(1, "", "1.00", quantity="0.5", period=(date(2027, 2, 15), date(2027, 3, 1)))
    assert _quantity(one, one.quantity) == "14/28 month"
    over = line(1, "", "1.00", quantity="0.5", period=(date(2027, 2, 15), date(2027, 3, 2)))
    assert _quantity(over, over.quantity) == "0.5 months"


def test_amounts_have_their_currencys_digits_and_prices_all_of_theirs() -> None:
    assert figures.digits_of(ORDINARY) == 2
    assert figures.money(Decimal("-1234.5"), 2) == "−1,234.50"
    assert figures.price(Decimal("0.0025"), 2) == "0.0025"
    assert figures.price(Decimal("1.80000"), 2) == "1.80"
    assert figures.percent(Decimal("19.0")) == "19\u00a0%"
    assert figures.size(0) == "0\u00a0B"
    assert figures.size(12_345_678_901) == "12.3\u00a0GB"
    assert figures.size(999_950) == "1.0\u00a0MB"
