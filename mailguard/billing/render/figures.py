"""Money, quantities, dates and sizes in words and figures, as invoices and reports show them (English)."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from mailguard.billing.invoice import Invoice
from mailguard.billing.money import CURRENCIES, decimals

MINUS = "\u2212"
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
"""Not the locale's names, which would change the bytes from machine to machine."""
_UNITS = {"MON": ("month", "months"), "DAY": ("day", "days"), "C62": ("", ""), "H87": ("", ""), "E48": ("", "")}


def digits_of(invoice: Invoice) -> int:
    """Digits after the decimal point of the invoice's currency: what its amounts were rounded to where it is unknown."""
    amounts = (invoice.net, invoice.tax, invoice.total, *(line.amount for line in invoice.lines))
    return CURRENCIES[invoice.currency] if invoice.currency in CURRENCIES else max(map(_digits, amounts))


def money(amount: Decimal, digits: int) -> str:
    """`1,234.50`, with a true minus sign, at which no line is broken."""
    return f"{amount:,.{digits}f}".replace("-", MINUS)


def price(amount: Decimal, digits: int) -> str:
    """A price for one unit, with as many digits as it has, and at least the currency's."""
    return money(amount, max(digits, decimals(amount)))


def number(amount: Decimal) -> str:
    """A quantity without zeros at its end."""
    return f"{_plain(amount):,f}".replace("-", MINUS)


def percent(rate: Decimal) -> str:
    """`19 %`, `5.5 %`, the space one at which no line is broken."""
    return f"{_plain(rate):f}\u00a0%".replace("-", MINUS)


def unit(code: str, quantity: Decimal) -> str:
    """The unit of a quantity in words (UN/ECE Recommendation 20); empty for pieces, the code when it is another."""
    one, many = _UNITS.get(code, (code, code))
    return one if abs(quantity) == 1 else many


def day(when: date) -> str:
    """`5 November 2026`."""
    return f"{when.day}\u00a0{_MONTHS[when.month - 1]}\u00a0{when.year}"


def month(name: str) -> str:
    """`November 2026` for `2026-11`."""
    year, _, number_ = name.partition("-")
    return f"{_MONTHS[int(number_) - 1]} {year}"


def last_day(start: date, end: date) -> date:
    """The last day of [start, end); `start` itself when that is empty."""
    return max(start, end - timedelta(days=1))


def period(start: date, end: date) -> str:
    """[start, end) with its last day: `1–30 November 2026`, `1 November – 5 December 2026`, or one day."""
    last = last_day(start, end)
    if last == start:
        return day(start)
    if (start.year, start.month) == (last.year, last.month):
        return f"{start.day}–{day(last)}"
    if start.year == last.year:
        return f"{start.day}\u00a0{_MONTHS[start.month - 1]} – {day(last)}"
    return f"{day(start)} – {day(last)}"


def days_of_month(start: date, end: date) -> tuple[int, int] | None:
    """How many days [start, end) has, and how many its month; None when it is not within one month."""
    following = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    if not start < end <= following:
        return None
    return (end - start).days, (following - start.replace(day=1)).days


def size(octets: int) -> str:
    """`12.3 GB`, in powers of a thousand."""
    value, name = float(octets), "B"
    for name in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or name == "TB":
            break
        value /= 1000
    return f"{value:,.0f}\u00a0B" if name == "B" else f"{value:,.1f}\u00a0{name}"


def _digits(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _plain(amount: Decimal) -> Decimal:
    """Without zeros at its end, and without an exponent."""
    normal = amount.normalize()
    return normal if decimals(normal) else normal.quantize(Decimal(1))
