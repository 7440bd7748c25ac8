"""An invoice as it is frozen: everything that a client is shown, and nothing that has to be looked up again.

PDF, CSV, UBL and JSON are written from these values alone. Money is Decimal in the currency's major unit, already rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


class InvoiceKind(StrEnum):
    """What a document is (UNTDID 1001: 380 and 381)."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class LineKind(StrEnum):
    """What a line charges or credits."""

    FIXED_FEE = "fixed_fee"
    SETUP_FEE = "setup_fee"
    MAILBOXES = "mailboxes"
    """Mailboxes beyond the allowance."""
    MESSAGES = "messages"
    """Delivered mails beyond the allowance."""
    FEE_CREDIT = "fee_credit"
    """Days that were charged in advance and then changed or cancelled."""
    SLA_CREDIT = "sla_credit"
    CORRECTION = "correction"
    """A line of a credit note."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who sells or buys. `address` is lines of street, postal code and town; `country` is ISO 3166-1 alpha-2."""

    name: str
    address: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. The period is [start, end), in days of the billing time zone.

    `amount` is what counts; `quantity` × `unit_price` explains it. Only credits are negative. `unit` is a code of UN/ECE
    Recommendation 20 (`MON` month, `C62` one). `previous` is the amount of the same kind in the month before; None: there was none.
    """

    number: int
    kind: LineKind
    description: str
    start: date
    end: date
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Decimal
    tax_rate: Decimal
    tax_category: str = "S"
    """UNCL 5305: `S` standard, `Z` zero, `E` exempt, `AE` reverse charge, `O` outside the scope."""
    previous: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Tax:
    """The tax of one category and rate, rounded once on the sum of its lines (EN 16931, BG-23). `rate` is in percent."""

    category: str
    rate: Decimal
    base: Decimal
    amount: Decimal
    exemption: str = ""
    """Why no tax is charged, where none is."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant used in the month that is billed in arrears, beside what was included (None: without limit)."""

    mailboxes: int
    included_mailboxes: int | None
    messages: int
    included_messages: int | None
    octets: int


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """One commitment of the plan, as it was measured in the month. The texts have their units, as they are shown."""

    commitment: str
    target: str
    measured: str
    met: bool
    credit_percent: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice or a credit note. `month` (YYYY-MM) is the one whose usage is charged; `net` + `tax` = `total`."""

    number: str
    kind: InvoiceKind
    tenant: str
    month: str
    issued: date
    due: date
    currency: str
    seller: Party
    buyer: Party
    lines: tuple[Line, ...]
    taxes: tuple[Tax, ...]
    net: Decimal
    tax: Decimal
    total: Decimal
    plan: str = ""
    contract: int = 0
    usage: Usage | None = None
    service_levels: tuple[ServiceLevel, ...] = ()
    corrects: str = ""
    """Of a credit note: the number of the invoice."""
    why: str = ""
    """Of a credit note: the reason, in the provider's words."""
    buyer_reference: str = ""
    bank: tuple[str, ...] = ()
    """How to pay: lines such as an IBAN, as the provider set them."""
