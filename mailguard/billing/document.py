"""From lines to the document that is frozen: dates, taxes, sums, and what each line was the month before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from mailguard.billing.contract import ONE_DAY, Contract, Terms, month_after, month_name
from mailguard.billing.draft import DraftLine, Used
from mailguard.billing.invoice import Invoice, InvoiceKind, Line, LineKind, Party, ServiceLevel, Tax, Usage
from mailguard.billing.money import priced, rounded, total
from mailguard.billing.overage import allowance
from mailguard.core.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Seller:
    """The provider as its invoices name it, and how they are numbered: see [billing] of the settings."""

    party: Party
    bank: tuple[str, ...] = ()
    invoice_series: str = "INV-{year}-"
    credit_note_series: str = "CN-{year}-"
    digits: int = 5

    def series(self, kind: InvoiceKind, issued: date) -> str:
        """What the numbers of a kind of document begin with, which is their series."""
        pattern = self.invoice_series if kind is InvoiceKind.INVOICE else self.credit_note_series
        return pattern.replace("{year}", f"{issued.year:04d}")

    def number(self, series: str, number: int) -> str:
        """A whole number of a series."""
        return f"{series}{number:0{self.digits}d}"

    def check(self) -> None:
        """Raises ConfigError while an invoice could not name its seller."""
        missing = [
            Problem(f"billing.{key}", "is not set; an invoice must name its seller")
            for key, value in (("seller_name", self.party.name), ("seller_country", self.party.country))
            if not value.strip()
        ]
        if missing:
            raise ConfigError(missing)


def governing_terms(contract: Contract, month: date) -> Terms:
    """The terms by which the invoice for a month is made out: of its last covered day, or else the nearest to it."""
    end = month_after(month) if contract.ends_on is None else min(month_after(month), contract.ends_on)
    day = max(contract.start, end - ONE_DAY)
    held = [terms for terms in contract.terms if terms.start <= day] or list(contract.terms)[:1]
    return max(held, key=lambda terms: (terms.start, terms.id))


def issue_date(contract: Contract, month: date) -> date:
    """The plan's billing day in the month after, but not before the contract was recorded."""
    day = month_after(month).replace(day=governing_terms(contract, month).plan.billing_day)
    return max(day, contract.created_on)


def compose(
    contract: Contract,
    month: date,
    lines: Sequence[DraftLine],
    *,
    tenant: str,
    seller: Seller,
    used: Used,
    service_levels: Sequence[ServiceLevel],
    previous: Invoice | None,
) -> Invoice:
    """The invoice of a month under a contract, but for its number. `previous`: that of the month before."""
    terms = governing_terms(contract, month)
    issued = issue_date(contract, month)
    first, end = contract.days_within(month, month_after(month))
    included = allowance(contract, month)
    usage = Usage(used.mailboxes, included.mailboxes, used.messages, included.messages, used.octets)
    invoice = Invoice(
        number="",
        kind=InvoiceKind.INVOICE,
        tenant=tenant,
        month=month_name(month),
        issued=issued,
        due=issued + timedelta(days=terms.plan.payment_days),
        currency=contract.currency,
        seller=seller.party,
        buyer=contract.buyer,
        lines=_numbered(lines, previous),
        taxes=(),
        net=Decimal(0),
        tax=Decimal(0),
        total=Decimal(0),
        plan=terms.plan.name,
        contract=contract.id,
        usage=usage if first < end else None,
        service_levels=tuple(service_levels) if first < end else (),
        buyer_reference=contract.buyer_reference,
        bank=seller.bank,
    )
    exemptions = {
        (line.terms.plan.tax_category, line.terms.plan.tax_rate): line.terms.plan.tax_exemption for line in lines
    }
    return with_sums(invoice, exemptions)


def with_sums(invoice: Invoice, exemptions: dict[tuple[str, Decimal], str]) -> Invoice:
    """The invoice with its taxes, each rounded once on the sum of its lines (EN 16931, BR-CO-17), and its totals."""
    bases: dict[tuple[str, Decimal], Decimal] = {}
    for line in invoice.lines:
        key = (line.tax_category, line.tax_rate)
        bases[key] = bases.get(key, Decimal(0)) + line.amount
    taxes = tuple(
        Tax(
            category,
            rate,
            base,
            rounded(base * rate / 100, invoice.currency),
            exemptions.get((category, rate), ""),
        )
        for (category, rate), base in sorted(bases.items())
    )
    net = rounded(total(line.amount for line in invoice.lines), invoice.currency)
    tax = rounded(total(one.amount for one in taxes), invoice.currency)
    return replace(invoice, taxes=taxes, net=net, tax=tax, total=net + tax)


def _numbered(lines: Sequence[DraftLine], previous: Invoice | None) -> tuple[Line, ...]:
    before: dict[LineKind, list[Decimal]] = {}
    for then in previous.lines if previous is not None else ():
        before.setdefault(then.kind, []).append(then.amount)
    found = []
    for number, line in enumerate(lines, start=1):
        plan = line.terms.plan
        # The first line of a kind is compared with the first one then, and so on: tiers stand in one order.
        earlier = before.get(line.kind)
        found.append(
            Line(
                number=number,
                kind=line.kind,
                description=line.description,
                start=line.start,
                end=line.end,
                quantity=line.quantity,
                unit=line.unit,
                unit_price=priced(line.unit_price, plan.currency),
                amount=line.amount,
                tax_rate=plan.tax_rate,
                tax_category=plan.tax_category,
                previous=earlier.pop(0) if earlier else None,
            )
        )
    return tuple(found)
