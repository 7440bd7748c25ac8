"""An Invoice as UBL 2.1 for accounting systems, in the core of EN 16931 (BT-n: its business terms).

An invoice becomes an Invoice (380), a credit note a CreditNote (381) with positive amounts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from mailguard.billing.invoice import Invoice, InvoiceKind, Line, Party, Tax
from mailguard.billing.money import CURRENCIES, rounded
from mailguard.billing.render import figures
from mailguard.billing.render.en16931 import EXEMPT, check, is_vat_id
from mailguard.billing.render.pdf import credit_sign
from mailguard.billing.render.xml import Element, document, text_of

CUSTOMIZATION = "urn:cen.eu:en16931:2017"
"""BT-24: the core, without the rules of a country or a network."""

_NAMESPACE = "urn:oasis:names:specification:ubl:schema:xsd:"
_IBAN = re.compile(r"\b([A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)\b")
_BIC = re.compile(r"\bBIC:? ?([A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)\b")
_TOWN = re.compile(r"^(?:[A-Z]{1,2}-)?(\d{4,6}) +(\D.*)$")
_REASONS = {"E": "Exempt from tax", "AE": "Reverse charge", "O": "Not subject to tax"}


def invoice_ubl(invoice: Invoice) -> str:
    """The XML document, ended by a line feed. Raises ConfigError with every rule of EN 16931 that the values break."""
    check(invoice)
    return ubl_document(invoice)


def ubl_document(invoice: Invoice) -> str:
    """The document of any invoice, whether EN 16931 is content with its values or not."""
    return document(_Writer(invoice).root())


class _Writer:
    def __init__(self, invoice: Invoice) -> None:
        self._invoice = invoice
        self._sign = credit_sign(invoice)
        self._credit_note = invoice.kind is InvoiceKind.CREDIT_NOTE

    def root(self) -> Element:
        invoice = self._invoice
        kind = "CreditNote" if self._credit_note else "Invoice"
        issued, due = _date("cbc:IssueDate", invoice.issued), _date("cbc:DueDate", invoice.due)
        children = [
            Element("cbc:CustomizationID", text=CUSTOMIZATION),
            text_of("cbc:ID", invoice.number),
            issued,
            None if self._credit_note else due,
            Element(f"cbc:{kind}TypeCode", text="381" if self._credit_note else "380"),
            text_of("cbc:Note", invoice.why),
            text_of("cbc:DocumentCurrencyCode", invoice.currency),
            text_of("cbc:BuyerReference", invoice.buyer_reference),
            self._period(invoice.lines),
            self._corrected(),
            _reference("cac:ContractDocumentReference", str(invoice.contract) if invoice.contract else ""),
            Element("cac:AccountingSupplierParty", [self._party(invoice.seller, seller=True)]),
            Element("cac:AccountingCustomerParty", [self._party(invoice.buyer, seller=False)]),
            *self._payment(),
            self._tax_total(),
            Element(
                "cac:LegalMonetaryTotal",
                [
                    self._amount("cbc:LineExtensionAmount", invoice.net),
                    self._amount("cbc:TaxExclusiveAmount", invoice.net),
                    self._amount("cbc:TaxInclusiveAmount", invoice.total),
                    self._amount("cbc:PayableAmount", invoice.total),
                ],
            ),
            *(self._line(line) for line in invoice.lines),
        ]
        spaces = {
            "xmlns": f"{_NAMESPACE}{kind}-2",
            "xmlns:cac": f"{_NAMESPACE}CommonAggregateComponents-2",
            "xmlns:cbc": f"{_NAMESPACE}CommonBasicComponents-2",
        }
        return Element(kind, children, attributes=spaces)

    def _amount(self, name: str, amount: Decimal) -> Element:
        return Element(name, text=f"{self._sign * amount:f}", attributes={"currencyID": self._invoice.currency})

    def _period(self, lines: Sequence[Line]) -> Element | None:
        """BG-14 from the first to the last day of all lines; BG-26 of one."""
        if not lines:
            return None
        start = min(line.start for line in lines)
        last = max(figures.last_day(line.start, line.end) for line in lines)
        return Element("cac:InvoicePeriod", [_date("cbc:StartDate", start), _date("cbc:EndDate", last)])

    def _corrected(self) -> Element | None:
        """BT-25: the invoice that a credit note is about."""
        reference = _reference("cac:InvoiceDocumentReference", self._invoice.corrects)
        return Element("cac:BillingReference", [reference]) if reference else None

    def _party(self, party: Party, *, seller: bool) -> Element:
        """BG-4 or BG-7."""
        outside = all(tax.category == "O" for tax in self._invoice.taxes)  # BR-O-02: no VAT identifiers then
        vat = is_vat_id(party) and not outside
        tax_id = party.tax_id.replace(" ", "")
        schemes = []
        if tax_id and (vat or (seller and not outside)):
            scheme = Element("cac:TaxScheme", [Element("cbc:ID", text="VAT" if vat else "TAX")])
            schemes = [Element("cac:PartyTaxScheme", [text_of("cbc:CompanyID", tax_id), scheme])]
        contact = Element("cac:Contact", [text_of("cbc:ElectronicMail", party.email)]) if party.email else None
        return Element(
            "cac:Party",
            [
                text_of("cbc:EndpointID", party.email, schemeID="EM"),
                Element("cac:PartyName", [text_of("cbc:Name", party.name)]),
                _address(party),
                *schemes,
                Element(
                    "cac:PartyLegalEntity",
                    [
                        text_of("cbc:RegistrationName", party.name),
                        text_of("cbc:CompanyID", tax_id) if not vat else None,  # BR-CO-26
                    ],
                ),
                contact,
            ],
        )

    def _payment(self) -> list[Element]:
        """BG-16 and BT-20: an account by its IBAN, else the provider's own words."""
        invoice = self._invoice
        if self._credit_note or invoice.total <= 0 or not invoice.bank:
            return []
        words = " · ".join(invoice.bank)
        account = _account(invoice.bank)
        means = Element(
            "cac:PaymentMeans",
            [
                Element("cbc:PaymentMeansCode", text="30" if account else "1"),
                text_of("cbc:PaymentID", invoice.number),
                account,
            ],
        )
        terms = text_of("cbc:Note", words)
        return [means] if account or terms is None else [means, Element("cac:PaymentTerms", [terms])]

    def _tax_total(self) -> Element:
        """BG-23."""
        subtotals = [
            Element(
                "cac:TaxSubtotal",
                [
                    self._amount("cbc:TaxableAmount", tax.base),
                    self._amount("cbc:TaxAmount", tax.amount),
                    _category("cac:TaxCategory", tax.category, tax.rate, reason=_reason(tax)),
                ],
            )
            for tax in self._invoice.taxes
        ]
        return Element("cac:TaxTotal", [self._amount("cbc:TaxAmount", self._invoice.tax), *subtotals])

    def _line(self, line: Line) -> Element:
        """BG-25."""
        kind, quantity_name = (
            ("CreditNote", "CreditedQuantity") if self._credit_note else ("Invoice", "InvoicedQuantity")
        )
        quantity, unit, price, note = self._priced(line)
        category = _category("cac:ClassifiedTaxCategory", line.tax_category, line.tax_rate)
        return Element(
            f"cac:{kind}Line",
            [
                Element("cbc:ID", text=str(line.number)),
                text_of("cbc:Note", note),
                Element(f"cbc:{quantity_name}", text=f"{quantity:f}", attributes={"unitCode": unit}),
                self._amount("cbc:LineExtensionAmount", line.amount),
                self._period([line]),
                Element("cac:Item", [text_of("cbc:Name", line.description), category]),
                Element(
                    "cac:Price",
                    [Element("cbc:PriceAmount", text=f"{price:f}", attributes={"currencyID": self._invoice.currency})],
                ),
            ],
        )

    def _priced(self, line: Line) -> tuple[Decimal, str, Decimal, str]:
        """Quantity, unit, price and a note: a price is never negative (BR-27), and quantity × price is the amount.

        Where it is not, since days were shared out or tiers add up, the line is one piece at its amount.
        """
        amount = self._sign * line.amount
        quantity, price = abs(line.quantity), abs(line.unit_price)
        product = quantity * price
        if self._invoice.currency in CURRENCIES:
            product = rounded(product, self._invoice.currency)
        negative = amount < 0
        if product == abs(amount) and line.unit:
            return (-quantity if negative else quantity), line.unit, price, ""
        note = f"{figures.number(line.quantity)} {figures.unit(line.unit, line.quantity)}".strip()
        return Decimal(-1 if negative else 1), "C62", abs(amount), f"Quantity: {note}, at {line.unit_price:f}"


def _address(party: Party) -> Element:
    """BG-5 or BG-8: a line such as `24103 Kiel` is the town, the others are lines of the address."""
    lines = [line for line in party.address if line.strip()]
    town = next((match for line in reversed(lines) if (match := _TOWN.match(line.strip()))), None)
    rest = [line for line in lines if town is None or line.strip() != town[0]]
    further = text_of("cbc:Line", ", ".join(rest[2:]))
    country = text_of("cbc:IdentificationCode", party.country)
    return Element(
        "cac:PostalAddress",
        [
            text_of("cbc:StreetName", rest[0]) if rest else None,
            text_of("cbc:AdditionalStreetName", rest[1]) if len(rest) > 1 else None,
            text_of("cbc:CityName", town[2]) if town else None,
            text_of("cbc:PostalZone", town[1]) if town else None,
            Element("cac:AddressLine", [further]) if further else None,
            Element("cac:Country", [country]) if country else None,
        ],
    )


def _account(bank: Sequence[str]) -> Element | None:
    """BG-17 from the first line with a valid IBAN (ISO 13616), with the BIC that any line has."""
    iban = next((found for line in bank if (found := _iban(line))), None)
    if iban is None:
        return None
    bic = next((match[1] for line in bank if (match := _BIC.search(line))), None)
    branch = Element("cac:FinancialInstitutionBranch", [text_of("cbc:ID", bic)]) if bic else None
    return Element("cac:PayeeFinancialAccount", [text_of("cbc:ID", iban), branch])


def _iban(line: str) -> str | None:
    for match in _IBAN.finditer(line):
        iban = match[1].replace(" ", "")
        digits = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4])
        if int(digits) % 97 == 1:
            return iban
    return None


def _category(name: str, category: str, rate: Decimal, *, reason: str = "") -> Element:
    """BT-151, 152 and BT-118 to 120."""
    return Element(
        name,
        [
            text_of("cbc:ID", category),
            None if category == "O" else Element("cbc:Percent", text=f"{rate:f}"),
            text_of("cbc:TaxExemptionReason", reason),
            Element("cac:TaxScheme", [Element("cbc:ID", text="VAT")]),
        ],
    )


def _reason(tax: Tax) -> str:
    return (tax.exemption or _REASONS[tax.category]) if tax.category in EXEMPT else ""  # BR-S-10, BR-Z-10: else none


def _reference(name: str, number: str) -> Element | None:
    found = text_of("cbc:ID", number)
    return Element(name, [found]) if found else None


def _date(name: str, day: date) -> Element:
    return Element(name, text=day.isoformat())
