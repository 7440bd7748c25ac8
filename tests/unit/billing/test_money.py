"""Money: rounding, and the digits of currencies."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from mailguard.billing.money import CURRENCIES, decimals, priced, rounded, total

AMOUNTS = st.decimals(min_value=-(10**9), max_value=10**9, places=6, allow_nan=False, allow_infinity=False)


@given(AMOUNTS, st.sampled_from(sorted(CURRENCIES)))
def test_a_credit_of_an_amount_undoes_its_charge(amount: Decimal, currency: str) -> None:
    value = rounded(amount, currency)
    assert rounded(-amount, currency) == -value
    assert abs(value - amount) <= Decimal(1).scaleb(-CURRENCIES[currency]) / 2
    assert rounded(value, currency) == value
    assert decimals(value) <= CURRENCIES[currency]


def test_halves_go_up() -> None:
    assert [rounded(Decimal(text), "EUR") for text in ("0.005", "0.015", "0.025", "-0.005")] == [
        Decimal(text) for text in ("0.01", "0.02", "0.03", "-0.01")
    ]
    assert rounded(Decimal("0.5"), "JPY") == 1
    assert rounded(Decimal("0.0005"), "KWD") == Decimal("0.001")


def test_prices_show_all_their_digits_and_at_least_those_of_the_currency() -> None:
    assert [f"{priced(Decimal(text), 'EUR'):f}" for text in ("1.5", "0.0004", "20", "1.000")] == [
        "1.50",
        "0.0004",
        "20.00",
        "1.00",
    ]


def test_known_currencies() -> None:
    assert (CURRENCIES["EUR"], CURRENCIES["JPY"], CURRENCIES["TND"]) == (2, 0, 3)
    assert total([]) == 0
