"""Money as the bill counts it: Decimal in a currency's major unit, rounded half up to its minor unit, never float. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

ZERO = Decimal(0)

_TWO_DIGITS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE "
    "CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR "
    "KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB "
    "PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY "
    "TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW"
)
_OTHERS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
CURRENCIES: dict[str, int] = dict.fromkeys(_TWO_DIGITS.split(), 2) | {
    code: digits for digits, codes in _OTHERS.items() for code in codes.split()
}
"""The currencies in circulation and the digits of their minor unit (ISO 4217)."""


def rounded(amount: Decimal, currency: str) -> Decimal:
    """`amount` to the currency's minor unit, half up: away from zero, so that a credit of x undoes a charge of x."""
    return amount.quantize(Decimal(1).scaleb(-CURRENCIES[currency]), ROUND_HALF_UP)


def decimals(amount: Decimal) -> int:
    """How many digits behind the point it takes to write `amount`."""
    exponent = amount.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def priced(amount: Decimal, currency: str) -> Decimal:
    """A price written with all digits that it has, and at least those of the minor unit: 1.5 as 1.50, 0.0004 as it is."""
    return amount.quantize(Decimal(1).scaleb(-max(CURRENCIES[currency], decimals(amount))))


def share(fee: Decimal, currency: str, *, start: date, end: date, month_start: date, month_end: date) -> Decimal:
    """What the days [start, end) of a month are worth of its `fee`.

    The days up to each date are rounded together and then taken from each other, so the parts of a month, however it is cut,
    add up to the fee to the minor unit, and each day is always worth the same.
    """
    days = Decimal((month_end - month_start).days)

    def until(day: date) -> Decimal:
        return rounded(fee * (day - month_start).days / days, currency)

    return until(end) - until(start)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Their sum; zero of none."""
    return sum(amounts, ZERO)
