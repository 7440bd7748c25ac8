"""The business rules of EN 16931 that an Invoice of ours can break, by their names in the standard. Pure.

What stands here is checked before an invoice goes out; the tests hold the UBL against the whole set of rules.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal

from mailguard.billing.invoice import Invoice, InvoiceKind, Party
from mailguard.billing.money import CURRENCIES, rounded, total
from mailguard.core.errors import ConfigError, Problem

NO_NUMBER = "BR-02"
TOO_MANY_DECIMALS = "BR-DEC-09"
UNTIL_FROZEN = frozenset({NO_NUMBER, TOO_MANY_DECIMALS})
"""Rules that keep no document from being frozen: it gets its number then, and a currency with three decimals has no place in
EN 16931, so that its documents are made without UBL."""

EXEMPT = ("E", "AE", "O")
_CATEGORIES = ("S", "Z", *EXEMPT)
_COUNTRY = re.compile(r"^[A-Z]{2}$")
_VAT_PREFIX = {"GR": ("EL", "GR")}
_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that an invoice breaks, by its name in the standard (`BR-09`); `where` names our value, `message` what to mend."""

    rule: str
    where: str
    message: str

    @property
    def problem(self) -> Problem:
        """As it is shown."""
        return Problem(f"{self.where} ({self.rule})", self.message)


def violations(invoice: Invoice) -> tuple[Violation, ...]:
    """What an accountant's system would refuse; empty when all is well."""
    found = (*_parties(invoice), *_lines(invoice), *_taxes(invoice), *_sums(invoice))
    return tuple(Violation(*one) for one in found)


def check(invoice: Invoice, *, without: Collection[str] = ()) -> None:
    """Raises ConfigError with every rule that an invoice breaks, but for those `without` which it may."""
    problems = [one.problem for one in violations(invoice) if one.rule not in without]
    if problems:
        raise ConfigError(problems)


def is_vat_id(party: Party) -> bool:
    """Whether its tax id is a VAT identifier: it begins with the code of its country (BR-CO-09)."""
    prefixes = _VAT_PREFIX.get(party.country, (party.country,))
    return bool(_COUNTRY.match(party.country)) and party.tax_id.replace(" ", "").upper().startswith(prefixes)


_Found = tuple[str, str, str]


def _parties(invoice: Invoice) -> Iterator[_Found]:
    if not invoice.number.strip():
        yield NO_NUMBER, "number", "an invoice needs a number"
    for where, party, named, country in (
        ("seller", invoice.seller, "BR-06", "BR-09"),
        ("buyer", invoice.buyer, "BR-07", "BR-11"),
    ):
        if not party.name.strip():
            yield named, f"{where}.name", "is empty"
        if not _COUNTRY.match(party.country):
            yield country, f"{where}.country", f"{party.country!r} is no country code such as DE (ISO 3166-1)"
    categories = {line.tax_category for line in invoice.lines}
    if categories - {"O"} and not invoice.seller.tax_id.strip():
        yield "BR-S-02", "seller.tax_id", "is empty, and tax is charged or said to be exempt or zero"
    if "AE" in categories and not invoice.buyer.tax_id.strip():
        yield "BR-AE-02", "buyer.tax_id", "is empty; a reverse charge needs it"
    if invoice.kind is InvoiceKind.CREDIT_NOTE and not invoice.corrects.strip():
        yield "BR-55", "corrects", "a credit note names the invoice that it corrects"


def _lines(invoice: Invoice) -> Iterator[_Found]:
    if not invoice.lines:
        yield "BR-16", "lines", "an invoice has at least one line"
    if len({line.number for line in invoice.lines}) < len(invoice.lines):
        yield "BR-21", "lines", "two lines have the same number"
    for line in invoice.lines:
        where = f"line {line.number}"
        if not line.description.strip():
            yield "BR-25", where, "has no description"
        if line.end < line.start:
            yield "BR-30", where, f"its period ends on {line.end}, before it starts on {line.start}"
        if line.tax_category not in _CATEGORIES:
            yield "BR-CO-04", where, f"tax category {line.tax_category!r} is none of {', '.join(_CATEGORIES)}"
        if line.tax_category == "S" and line.tax_rate <= 0:
            yield "BR-S-05", where, "has the standard tax category S, and a rate of 0; zero-rated is Z, exempt is E"
        if line.tax_category != "S" and line.tax_rate != 0:
            yield f"BR-{line.tax_category}-05", where, f"has tax category {line.tax_category}, whose rate is 0"


def _taxes(invoice: Invoice) -> Iterator[_Found]:
    if not invoice.taxes:
        yield "BR-CO-18", "taxes", "an invoice says which tax applies, be it none"
    charged: dict[tuple[str, Decimal], Decimal] = {}
    for line in invoice.lines:
        key = (line.tax_category, line.tax_rate)
        charged[key] = charged.get(key, Decimal(0)) + line.amount
    for tax in invoice.taxes:
        where = f"tax {tax.category} {tax.rate} %"
        base = charged.pop((tax.category, tax.rate), None)
        if base != tax.base:
            yield f"BR-{tax.category}-08", where, f"its base is {tax.base}, its lines add up to {base or 0}"
        if invoice.currency in CURRENCIES and tax.amount != rounded(tax.base * tax.rate / 100, invoice.currency):
            yield "BR-CO-17", where, f"{tax.amount} is not {tax.rate} % of {tax.base}"
    for category, rate in charged:
        yield f"BR-{category}-01", "taxes", f"there are lines of tax {category} {rate} %, and no sum of them"


def _sums(invoice: Invoice) -> Iterator[_Found]:
    if invoice.currency not in CURRENCIES:
        yield "BR-CL-04", "currency", f"{invoice.currency!r} is no currency such as EUR (ISO 4217)"
    elif CURRENCIES[invoice.currency] > _DIGITS:
        yield (
            TOO_MANY_DECIMALS,
            "currency",
            f"{invoice.currency} has amounts of more than two decimals, which EN 16931 does not know",
        )
    net = total(line.amount for line in invoice.lines)
    if net != invoice.net:
        yield "BR-CO-10", "net", f"{invoice.net} is not the sum of the lines, {net}"
    tax = total(one.amount for one in invoice.taxes)
    if tax != invoice.tax:
        yield "BR-CO-14", "tax", f"{invoice.tax} is not the sum of the taxes, {tax}"
    if invoice.net + invoice.tax != invoice.total:
        yield "BR-CO-15", "total", f"{invoice.total} is not {invoice.net} + {invoice.tax}"
