"""The two sets of books: each month is billed by the product and reckoned anew, and every figure of both is compared."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from mailguard.billing.frozen import document_of, pdf_of, ubl_of
from mailguard.billing.invoice import Invoice, LineKind
from mailguard.core.clock import system_clock
from mailguard.store import invoices
from mailguard.store.invoices import InvoiceRow
from tests.simulation.counted import Counted, Months
from tests.simulation.mailing import DAY
from tests.simulation.paper import Contract, Range, days, first_of, midnight, month_after
from tests.simulation.reckoning import Account, Bill, Row
from tests.simulation.service import Service
from tests.simulation.story import Story
from tests.simulation.world import ZONE, Provider, Tenant

PROMISES = {
    "Availability": "availability",
    "Added delay of 95 % of the mail": "delay_p95_seconds",
    "Viruses stopped": "virus_catch",
    "Spam stopped": "spam_catch",
    "Good mail stopped": "false_positive_rate",
    "Answer to 95 % of the release requests": "release_response_hours",
}
"""By what invoices call them."""
_WITHOUT_DAYS = (LineKind.SETUP_FEE,)


@dataclass(frozen=True)
class Files:
    """A document as it was first seen: JSON, UBL and, of every third one, PDF."""

    document: str
    ubl: str
    pdf: bytes


@dataclass(frozen=True)
class Input:
    """What one bill was reckoned from, as it was on that day."""

    contract: Contract
    month: str
    used: Counted | None
    measured: Mapping[str, Decimal | None]
    given_back: Decimal


@dataclass
class Books:
    """Plays the story month by month and keeps both books."""

    provider: Provider
    story: Story
    differences: list[str] = field(default_factory=list)
    accounts: dict[int, Account] = field(default_factory=dict)
    bills: dict[tuple[int, str], Bill] = field(default_factory=dict)
    files: dict[str, Files] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    credited: dict[str, Decimal] = field(default_factory=dict)
    """What credit notes must come to, by number."""

    def __post_init__(self) -> None:
        self.months = Months(ZONE)
        self.service = Service(ZONE, self.months)
        self.story.parting = self._part  # type: ignore[method-assign]

    def month(self, name: str, *, run: Callable[[str], object] | None = None) -> None:
        """Play a month to its end and some days on, then bill it: in this process, or by `run`, which has today's clock."""
        end = midnight(first_of(month_after(name)), ZONE)
        self.story.play(end + 3 * DAY + 7 * 3_600_000)
        self.story.probe(name)
        for tenant, contract in self.story.recorded_late:
            for earlier in _months_between(contract.start, name):
                self._reckon(earlier, contract)
                self.provider.bill(earlier, tenant)
                self._compare(earlier, contract)
        self.story.recorded_late.clear()
        self.provider.read(lambda conn: self.months.close(conn, name))
        contracts = list(self.provider.paper.values())
        for contract in contracts:
            self._reckon(name, contract, as_of=system_clock() if run else 0)
        (run or self.provider.bill)(name)
        for contract in contracts:
            self._compare(name, contract)

    def credit(self, number: str, line: int, amount: str, *, of_fee: str = "") -> None:
        """A credit note by hand; `of_fee`: it gives back some of this month's fee."""
        note = self.provider.credit(number, line, Decimal(amount))
        (tax,) = note.taxes
        gross = Decimal(amount) + (Decimal(amount) * tax.rate / 100).quantize(Decimal("0.01"), "ROUND_HALF_UP")
        self.credited[note.number] = gross
        if of_fee:
            self.accounts[note.contract].given_back[of_fee] += Decimal(amount)
        self._keep(note.number)

    def documents(self) -> list[InvoiceRow]:
        """All that the product froze."""
        return self.provider.read(invoices.list_invoices)

    def _part(self, tenant: Tenant) -> None:
        self.provider.read(lambda conn: self.months.part(conn, tenant.id))

    # --- the second book -------------------------------------------------------------------------------------------

    def _reckon(self, name: str, contract: Contract, *, as_of: int = 0) -> None:
        account = self.accounts.setdefault(contract.id, Account(contract))
        tenant = next(one for one in self.story.tenants if one.name == contract.tenant)
        covered = contract.covered(first_of(name), first_of(month_after(name)))
        used, measured = None, {}
        if covered is not None:
            used = self.months.counted(name, tenant.id, first=contract.start, end=contract.end or date.max)
            spans, at = self._spans(name, tenant), as_of or self.provider.clock.now
            measured = self.provider.read(lambda conn: self.service.measure(conn, name, tenant.id, *spans, as_of=at))
        then = replace(contract, terms=list(contract.terms))
        self.inputs.append(Input(then, name, used, measured, account.given_back[name]))
        bill = account.bill(name, used, measured)
        if bill is not None:
            self.bills[contract.id, name] = bill

    def _spans(self, name: str, tenant: Tenant) -> tuple[Range, Range]:
        """The covered days of a month, and all of its contracts; two in one month are measured together."""
        first, after = first_of(name), first_of(month_after(name))
        mine = [one for one in self.provider.paper.values() if one.tenant == tenant.name and one.covered(first, after)]
        start, end = min(one.start for one in mine), max(one.end or date.max for one in mine)
        return (max(first, start), min(after, end)), (start, end)

    def again(self) -> list[str]:
        """Reckon all bills once more, and say what differs from the product's: nothing, unless the rules were changed."""
        accounts: dict[int, Account] = {}
        found = []
        rows = {(row.contract, row.month): row for row in self.documents() if row.kind == "invoice"}
        for one in self.inputs:
            account = accounts.setdefault(one.contract.id, Account(one.contract))
            account.contract = one.contract
            account.given_back[one.month] = one.given_back
            bill = account.bill(one.month, one.used, one.measured)
            row = rows.get((one.contract.id, one.month))
            if bill is None or row is None:
                if bill is not None or row is not None:
                    found.append(f"{one.contract.tenant} {one.month}")
                continue
            found += _differences(f"{one.contract.tenant} {one.month}", document_of(row), bill)
        return found

    # --- both ------------------------------------------------------------------------------------------------------

    def _compare(self, name: str, contract: Contract) -> None:
        number = self.provider.read(lambda conn: invoices.billed(conn, contract.id)).get(name)
        bill = self.bills.get((contract.id, name))
        where = f"{contract.tenant} {name} {number}"
        if bill is None or not number:
            if bill is not None or number:
                self.differences.append(f"{where}: by the second book {bill}")
            return
        self.differences += _differences(where, self._keep(number), bill)

    def _keep(self, number: str) -> Invoice:
        row = self.provider.read(lambda conn: invoices.find_invoice(conn, number))
        assert row is not None
        self.files[number] = self.files_of(row)
        return document_of(row)

    def files_of(self, row: InvoiceRow) -> Files:
        """What stands in the database of a document now."""
        assert hashlib.sha256(row.document.encode()).hexdigest() == row.sha256
        pdf = pdf_of(self.provider, row) if int(row.number[-5:]) % 3 == 0 else b""
        return Files(row.document, ubl_of(self.provider, row), pdf)


def _months_between(start: date, name: str) -> list[str]:
    found, one = [], f"{start:%Y-%m}"
    while one < name:
        found.append(one)
        one = month_after(one)
    return found


def _differences(where: str, document: Invoice, bill: Bill) -> list[str]:
    return [
        f"{where}: {what}\n  product  {product}\n  reckoned {reckoned}"
        for what, product, reckoned in _figures(document, bill)
        if product != reckoned
    ]


def _figures(document: Invoice, bill: Bill) -> list[tuple[str, object, object]]:
    """Every figure of an invoice beside what it must be."""
    usage = document.usage
    used = (usage.mailboxes, usage.messages, usage.octets) if usage else None
    included = (usage.included_mailboxes, usage.included_messages) if usage else (None, None)
    counted = (bill.used.mailboxes, bill.used.messages, bill.used.octets) if bill.used else None
    return [
        ("lines", sorted(_rows(document)), bill.lines),
        ("taxes", {(one.category, one.rate): one.amount for one in document.taxes}, bill.taxes),
        ("sums", (document.net, document.tax, document.total), (bill.net, bill.tax, bill.total)),
        ("dates", (document.issued, document.due), (bill.issued, bill.due)),
        ("used", used, counted),
        ("included", included, bill.included),
        (
            "service level",
            [
                (PROMISES[one.commitment], _about(_number(one.measured)), one.met, one.credit_percent)
                for one in document.service_levels
            ],
            [(one.name, _about(one.measured), one.met, one.percent) for one in bill.levels],
        ),
    ]


def _rows(document: Invoice) -> list[Row]:
    """The lines of an invoice but for their words."""
    return [
        (
            line.kind.value,
            "" if line.kind in _WITHOUT_DAYS else line.start.isoformat(),
            "" if line.kind in _WITHOUT_DAYS else line.end.isoformat(),
            line.tax_category,
            line.tax_rate,
            line.amount,
        )
        for line in document.lines
    ]


def _number(text: str) -> Decimal | None:
    return None if text == "nothing to measure" else Decimal(text.split(maxsplit=1)[0])


def _about(figure: Decimal | None) -> Decimal | None:
    """A figure; one of years only by the hundred: a request that nobody answered waits while the month is billed."""
    return figure // 100 if figure is not None and figure > 10_000 else figure


def fee_days(documents: list[Invoice]) -> Mapping[tuple[int, date], int]:
    """How often each day of each contract was charged, less how often it was given back."""
    found: dict[tuple[int, date], int] = defaultdict(int)
    for document in documents:
        for line in document.lines:
            sign = {LineKind.FIXED_FEE: 1, LineKind.FEE_CREDIT: -1}.get(line.kind, 0)
            sign = 0 if "set-up" in line.description.lower() else sign
            for day in days(line.start, line.end) if sign else ():
                found[document.contract, day] += sign
    return found
