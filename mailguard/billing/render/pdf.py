"""An Invoice or a credit note as PDF: what is shown, in the words and figures of the page; invoice.typ lays it out."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from mailguard.billing.invoice import Invoice, InvoiceKind, Line, Party, ServiceLevel, Tax, Usage
from mailguard.billing.money import decimals
from mailguard.billing.render import figures
from mailguard.billing.render.fonts import installed_fonts, not_drawable
from mailguard.billing.render.typeset import LIMIT, Value, drawable, printable, typeset
from mailguard.core.errors import ConfigError

ADDRESS_LINES = 6
BANK_LINES = 6
"""Lines that are shown; what is beyond is cut off."""
MONTHS = "MON"
"""The unit of monthly fees."""
_SHORT = 40


def invoice_pdf(invoice: Invoice) -> bytes:
    """The document, A4, PDF/A-2u, the same bytes each time with the same fonts.

    Raises ConfigError when a font is not installed, or none can draw a letter of a name or description.
    """
    fonts = installed_fonts()
    problems = not_drawable(((where, printable(text)) for where, text in _texts(invoice)), fonts)
    if problems:
        raise ConfigError(problems)
    data = drawable(_document(invoice), fonts)
    return typeset("invoice.typ", data, package=__package__ or "", at=invoice.issued, fonts=fonts, archival=True)


def _texts(invoice: Invoice) -> Iterator[tuple[str, str]]:
    """Every foreign text, with where it comes from."""
    for name, party in (("seller", invoice.seller), ("buyer", invoice.buyer)):
        yield f"{name}.name", party.name
        yield from ((f"{name}.address", line) for line in party.address)
    yield from ((f"line {line.number}", line.description) for line in invoice.lines)
    yield from ((f"tax {tax.category}", tax.exemption) for tax in invoice.taxes)
    yield from (
        (f"service level {one.commitment}", f"{one.commitment}{one.measured}{one.target}")
        for one in invoice.service_levels
    )
    yield from (("bank", line) for line in invoice.bank)
    yield "why", invoice.why
    yield "buyer_reference", invoice.buyer_reference


def _document(invoice: Invoice) -> dict[str, Value]:
    digits = figures.digits_of(invoice)
    credit_note = invoice.kind is InvoiceKind.CREDIT_NOTE
    sign = credit_sign(invoice)
    name = "Credit note" if credit_note else "Invoice"
    return {
        "title": f"{name} {printable(invoice.number, limit=_SHORT)}",
        "kind": name,
        "number": printable(invoice.number, limit=_SHORT),
        "currency": printable(invoice.currency, limit=3),
        "seller": _party(invoice.seller),
        "buyer": _party(invoice.buyer),
        "facts": _facts(invoice),
        "parties": f"{printable(invoice.seller.name, limit=_SHORT)} · {printable(invoice.buyer.name, limit=_SHORT)}",
        "sender": _sender(invoice.seller),
        "why": printable(invoice.why, limit=2 * LIMIT) if credit_note else "",
        "lines": [_line(line, digits, sign) for line in invoice.lines],
        "taxes": [_tax(tax, digits, sign) for tax in invoice.taxes],
        "net": figures.money(sign * invoice.net, digits),
        "tax": figures.money(sign * invoice.tax, digits),
        "total": figures.money(sign * invoice.total, digits),
        "total_name": "Amount credited" if credit_note else "Total due" if invoice.total > 0 else "Total",
        "payment": _payment(invoice, digits),
        "usage": _usage(invoice.usage, invoice.month) if invoice.usage else None,
        "service_levels": [_service_level(one) for one in invoice.service_levels],
        "service_title": f"Service level in {figures.month(invoice.month)}",
    }


def credit_sign(invoice: Invoice) -> int:
    """-1 for a credit note whose amounts are frozen as negative ones: on its face, what is credited is positive."""
    return -1 if invoice.kind is InvoiceKind.CREDIT_NOTE and invoice.total < 0 else 1


def _party(party: Party) -> dict[str, Value]:
    lines = [printable(line) for line in party.address[:ADDRESS_LINES]]
    country = printable(party.country, limit=2)
    return {
        "name": printable(party.name),
        "address": [line for line in (*lines, country) if line],
        "tax_id": printable(party.tax_id, limit=_SHORT),
        "email": printable(party.email),
    }


def _sender(seller: Party) -> str:
    """The seller on one or two lines, for the foot of each page."""
    facts = (seller.name, *seller.address[:3], seller.tax_id, seller.email)
    return " · ".join(printable(fact, limit=_SHORT) for fact in facts if fact)


def _facts(invoice: Invoice) -> Value:
    """What stands at the top right: names and values, empty ones left out."""
    credit_note = invoice.kind is InvoiceKind.CREDIT_NOTE
    facts = [
        ("Credit note no." if credit_note else "Invoice no.", printable(invoice.number, limit=_SHORT)),
        ("Corrects invoice", printable(invoice.corrects, limit=_SHORT)),
        ("Date", figures.day(invoice.issued)),
        ("Payable by", "" if credit_note or invoice.total <= 0 else figures.day(invoice.due)),
        ("Month", figures.month(invoice.month)),
        ("Your reference", printable(invoice.buyer_reference, limit=_SHORT)),
        ("Customer", printable(invoice.tenant, limit=_SHORT)),
        ("Contract", str(invoice.contract) if invoice.contract else ""),
        ("Plan", printable(invoice.plan, limit=_SHORT)),
    ]
    return [[name, value] for name, value in facts if value]


def _line(line: Line, digits: int, sign: int) -> Value:
    below = figures.period(line.start, line.end)
    if line.previous is not None:
        below += f" · month before: {figures.money(sign * line.previous, digits)}"
    quantity, unit_price = line.quantity, line.unit_price
    if sign < 0:
        quantity, unit_price = abs(quantity) if line.amount <= 0 else -abs(quantity), abs(unit_price)
    return {
        "number": str(line.number),
        "description": printable(line.description, limit=2 * LIMIT),
        "below": below,
        "quantity": _quantity(line, quantity),
        "unit_price": figures.price(unit_price, digits),
        "tax": _rate(line.tax_category, line.tax_rate),
        "amount": figures.money(sign * line.amount, digits),
    }


def _quantity(line: Line, quantity: Decimal) -> str:
    """With its unit; days of one month as a fraction of it rather than as `0.645161 months`."""
    if line.unit == MONTHS and (days := figures.days_of_month(line.start, line.end)):
        part, whole = days
        exact = Decimal(part) / whole
        if part < whole and abs(quantity) == round(exact, max(4, decimals(quantity))):
            return f"{figures.MINUS if quantity < 0 else ''}{part}/{whole} month"
    unit = figures.unit(printable(line.unit, limit=10), quantity)
    return f"{figures.number(quantity)} {unit}".strip()


def _tax(tax: Tax, digits: int, sign: int) -> Value:
    return {
        "rate": _rate(tax.category, tax.rate),
        "base": figures.money(sign * tax.base, digits),
        "amount": figures.money(sign * tax.amount, digits),
        "exemption": printable(tax.exemption),
    }


def _rate(category: str, rate: Decimal) -> str:
    words = {"E": "exempt", "AE": "reverse charge", "O": "outside scope"}
    return words.get(category) or figures.percent(rate)


def _usage(usage: Usage, month: str) -> Value:
    def row(name: str, used: int, included: int | None) -> Value:
        over = max(0, used - included) if included is not None else 0
        return {
            "name": name,
            "used": f"{used:,}",
            "included": "unlimited" if included is None else f"{included:,}",
            "over": f"{over:,}" if over else "–",
            "share": None
            if included is None
            else 100 * min(used, included) // included
            if included
            else 100 * bool(over),
            "beyond": bool(over),
        }

    return {
        "title": f"Usage in {figures.month(month)}",
        "rows": [
            row("Mailboxes that received mail", usage.mailboxes, usage.included_mailboxes),
            row("Delivered mails", usage.messages, usage.included_messages),
        ],
        "volume": f"Delivered volume: {figures.size(usage.octets)}. Allowance that was not used ends with the month.",
    }


def _service_level(one: ServiceLevel) -> Value:
    return {
        "commitment": printable(one.commitment),
        "target": printable(one.target, limit=_SHORT),
        "measured": printable(one.measured, limit=_SHORT),
        "result": "kept" if one.met else "missed",
        "met": one.met,
        "credit": figures.percent(one.credit_percent) if one.credit_percent else "–",
    }


def _payment(invoice: Invoice, digits: int) -> Value:
    total = f"{printable(invoice.currency, limit=3)} {figures.money(abs(invoice.total), digits)}"
    number = printable(invoice.number, limit=_SHORT)
    if invoice.kind is InvoiceKind.CREDIT_NOTE:
        corrected = printable(invoice.corrects, limit=_SHORT)
        return {"text": f"{total} of invoice {corrected} is credited to you.", "bank": []}
    if invoice.total <= 0:
        text = "Nothing is to be paid."
        return {"text": f"{text} {total} is in your favour." if invoice.total else text, "bank": []}
    return {
        "text": f"Please pay {total} by {figures.day(invoice.due)}, and name the invoice: {number}.",
        "bank": [printable(line) for line in invoice.bank[:BANK_LINES]],
    }
