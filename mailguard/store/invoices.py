"""Invoices as they are frozen, with what they charged, the mailboxes behind them, and their numbers. What they say is billing's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.engine import Connection

from mailguard.store.addresses import address_ids
from mailguard.store.schema import addresses
from mailguard.store.schema_bill import billed_months, charges, invoice_evidence, invoice_numbers, invoices
from mailguard.store.statements import upserting
from mailguard.store.texts import clean


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """A frozen document. `sha256` is of `document`; `corrects` is empty but for a credit note. Times in ms UTC."""

    number: str
    kind: str
    tenant: int
    contract: int
    month: str
    sequence: int
    issued: date
    currency: str
    net: Decimal
    tax: Decimal
    total: Decimal
    corrects: str
    document: str
    sha256: str
    created_at: int
    created_by: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """What was made of a document, kept so that it stays the same byte for byte; None: not yet."""

    pdf: bytes | None
    ubl: str | None


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """What a line charged for the days [from_day, until_day), or gave back of the line that it is `against`."""

    invoice: str
    line: int
    kind: str
    terms: int
    from_day: date
    until_day: date
    amount: Decimal
    against: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """A mailbox behind an invoice: its first mail, how many there were, and how many addresses stand for it."""

    mailbox: str
    unit: str
    first_at: int
    messages: int
    octets: int
    addresses: int


# --- numbers ---------------------------------------------------------------------------------------------------------


def lock_series(conn: Connection, series: str) -> int:
    """The last number given out in a series; until this transaction ends nobody else gets one of it."""
    conn.execute(
        upserting(conn, invoice_numbers).values(series=series, last=0).on_conflict_do_nothing(index_elements=["series"])
    )
    where = invoice_numbers.c.series == series
    return int(conn.execute(select(invoice_numbers.c.last).where(where).with_for_update()).scalar_one())


def take_number(conn: Connection, series: str) -> int:
    """The next number of a series. It is used up when this transaction commits, and only then."""
    number = lock_series(conn, series) + 1
    conn.execute(update(invoice_numbers).where(invoice_numbers.c.series == series).values(last=number))
    return number


# --- documents -------------------------------------------------------------------------------------------------------


def add_invoice(conn: Connection, row: InvoiceRow) -> None:
    """Freeze a document."""
    conn.execute(
        insert(invoices).values(
            number=row.number,
            kind=row.kind,
            tenant=row.tenant,
            contract=row.contract,
            month=row.month,
            sequence=row.sequence,
            issued=row.issued.isoformat(),
            currency=row.currency,
            net=f"{row.net:f}",
            tax=f"{row.tax:f}",
            total=f"{row.total:f}",
            corrects=row.corrects or None,
            document=row.document,
            sha256=row.sha256,
            created_at=row.created_at,
            created_by=clean(row.created_by, 128),
        )
    )


def next_sequence(conn: Connection, *, tenant: int, month: str, kind: str) -> int:
    """1 for the first document of a kind that a tenant gets for a month, and so on."""
    query = select(func.max(invoices.c.sequence)).where(
        invoices.c.tenant == tenant, invoices.c.month == month, invoices.c.kind == kind
    )
    return int(conn.scalar(query) or 0) + 1


def find_invoice(conn: Connection, number: str) -> InvoiceRow | None:
    """A document by its number; case makes no difference."""
    found = _load(conn, func.lower(invoices.c.number) == number.strip().lower())
    return found[0] if found else None


def list_invoices(
    conn: Connection, *, tenant: int | None = None, month: str | None = None, contract: int | None = None
) -> list[InvoiceRow]:
    """Documents in the order in which they were made."""
    conditions: list[ColumnElement[bool]] = []
    if tenant is not None:
        conditions.append(invoices.c.tenant == tenant)
    if month is not None:
        conditions.append(invoices.c.month == month)
    if contract is not None:
        conditions.append(invoices.c.contract == contract)
    return _load(conn, *conditions)


def corrections_of(conn: Connection, number: str) -> list[InvoiceRow]:
    """The credit notes of an invoice."""
    return _load(conn, invoices.c.corrects == number)


def rendered(conn: Connection, number: str) -> Rendered:
    """What was made of a document so far."""
    row = conn.execute(select(invoices.c.pdf, invoices.c.ubl).where(invoices.c.number == number)).one()
    return Rendered(None if row.pdf is None else bytes(row.pdf), row.ubl)


def keep_rendered(conn: Connection, number: str, *, pdf: bytes | None = None, ubl: str | None = None) -> Rendered:
    """Keep what was made of a document, unless somebody did before: that stays. What is kept now."""
    for column, value in ((invoices.c.pdf, pdf), (invoices.c.ubl, ubl)):
        if value is not None:
            where = (invoices.c.number == number, column.is_(None))
            conn.execute(update(invoices).where(*where).values({column.name: value}))
    return rendered(conn, number)


def _load(conn: Connection, *conditions: ColumnElement[bool]) -> list[InvoiceRow]:
    columns = [column for column in invoices.c if column.name not in ("pdf", "ubl")]
    query = select(*columns).where(*conditions).order_by(invoices.c.created_at, invoices.c.number)
    return [
        InvoiceRow(
            number=row.number,
            kind=row.kind,
            tenant=row.tenant,
            contract=row.contract,
            month=row.month,
            sequence=row.sequence,
            issued=date.fromisoformat(row.issued),
            currency=row.currency,
            net=Decimal(row.net),
            tax=Decimal(row.tax),
            total=Decimal(row.total),
            corrects=row.corrects or "",
            document=row.document,
            sha256=row.sha256,
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in conn.execute(query)
    ]


# --- billed months ---------------------------------------------------------------------------------------------------


def billed(conn: Connection, contract: int) -> dict[str, str | None]:
    """The billed months of a contract with their invoices; None: there was nothing to charge."""
    table = billed_months
    rows = conn.execute(
        select(table.c.month, table.c.invoice).where(table.c.contract == contract).order_by(table.c.month)
    )
    return {row.month: row.invoice for row in rows}


def mark_billed(conn: Connection, contract: int, month: str, invoice: str | None, *, now: int) -> None:
    """Note that a month of a contract is billed. The database refuses a second time."""
    conn.execute(insert(billed_months).values(contract=contract, month=month, invoice=invoice, billed_at=now))


# --- charges and evidence --------------------------------------------------------------------------------------------


def add_charges(conn: Connection, contract: int, rows: Sequence[ChargeRow]) -> None:
    """Note what the lines of a new document charge or give back."""
    if rows:
        conn.execute(
            insert(charges),
            [
                {
                    "invoice": row.invoice,
                    "line": row.line,
                    "contract": contract,
                    "kind": row.kind,
                    "terms": row.terms,
                    "from_day": row.from_day.isoformat(),
                    "until_day": row.until_day.isoformat(),
                    "amount": f"{row.amount:f}",
                    "against_invoice": row.against[0] if row.against else None,
                    "against_line": row.against[1] if row.against else None,
                }
                for row in rows
            ],
        )


def charges_of(conn: Connection, contract: int) -> tuple[ChargeRow, ...]:
    """All that was charged and given back under a contract, in order."""
    query = select(charges).where(charges.c.contract == contract).order_by(charges.c.id)
    return tuple(
        ChargeRow(
            row.invoice,
            row.line,
            row.kind,
            row.terms,
            date.fromisoformat(row.from_day),
            date.fromisoformat(row.until_day),
            Decimal(row.amount),
            None if row.against_invoice is None else (row.against_invoice, row.against_line),
        )
        for row in conn.execute(query)
    )


def add_evidence(conn: Connection, invoice: str, rows: Sequence[MailboxRow]) -> None:
    """Keep the mailboxes behind an invoice, each with a name of its own."""
    if rows:
        ids = address_ids(conn, sorted({row.mailbox for row in rows}))
        conn.execute(
            insert(invoice_evidence),
            [
                {
                    "invoice": invoice,
                    "mailbox": ids[row.mailbox],
                    "unit": row.unit,
                    "first_at": row.first_at,
                    "messages": row.messages,
                    "octets": row.octets,
                    "addresses": row.addresses,
                }
                for row in rows
            ],
        )


def evidence_of(conn: Connection, invoice: str) -> list[MailboxRow]:
    """The mailboxes behind an invoice, by name; what stands in place of an erased one is its name."""
    table = invoice_evidence
    query = (
        select(table, addresses.c.address)
        .join(addresses, addresses.c.id == table.c.mailbox)
        .where(table.c.invoice == invoice)
        .order_by(addresses.c.address)
    )
    return [
        MailboxRow(row.address, row.unit, row.first_at, row.messages, row.octets, row.addresses)
        for row in conn.execute(query)
    ]
