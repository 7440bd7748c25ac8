"""Corrections: a credit note gives back some of a line of an invoice, which itself never changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import tzinfo
from decimal import Decimal

from sqlalchemy.engine import Connection

from mailguard.billing.agreements import day_of
from mailguard.billing.document import Seller, with_sums
from mailguard.billing.draft import PIECES, remaining
from mailguard.billing.invoice import Invoice, InvoiceKind, Line, LineKind
from mailguard.billing.money import CURRENCIES, decimals, rounded
from mailguard.billing.prepare import charges_of
from mailguard.billing.render import en16931
from mailguard.billing.render.json import invoice_from_json
from mailguard.billing.run import frozen_row
from mailguard.core.errors import ConfigError, ConflictError, NotFoundError, Problem
from mailguard.store import contracts as contract_rows
from mailguard.store import invoices
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.db import now
from mailguard.store.invoices import ChargeRow, InvoiceRow


def invoice_by_number(conn: Connection, number: str) -> InvoiceRow:
    """A document by its number. Raises NotFoundError with how to list them."""
    row = invoices.find_invoice(conn, number)
    if row is None:
        raise NotFoundError(f"there is no invoice {number!r}; `mailguard bill list` shows those there are")
    return row


def line_of(document: Invoice, number: int) -> Line:
    """A line of a document. Raises NotFoundError naming those there are."""
    found = next((line for line in document.lines if line.number == number), None)
    if found is None:
        raise NotFoundError(f"{document.number} has lines 1 to {len(document.lines)}, no line {number}")
    return found


def credit(
    number: str, line: int, amount: Decimal, *, why: str, by: str, seller: Seller, zone: tzinfo
) -> Callable[[Connection], InvoiceRow]:
    """A work that freezes a credit note of `amount`, without tax, on a line of an invoice; its tax follows the line's rate.

    The work raises NotFoundError, ConfigError for an amount that is none, and ConflictError when that much of the line was
    not charged, or was given back before.
    """

    def work(conn: Connection) -> InvoiceRow:
        row = invoice_by_number(conn, number)
        contract_rows.lock(conn, row.contract)
        document = invoice_from_json(row.document)
        credited = line_of(document, line)
        _check(conn, row, credited, amount, why)
        note = _note(conn, document, credited, amount, why=why, seller=seller, zone=zone)
        frozen = frozen_row(conn, note, tenant=row.tenant, by=by)
        invoices.add_invoice(conn, frozen)
        terms = next(one.terms for one in charges_of(conn, row.contract) if one.ref == (row.number, line))
        kind = LineKind.CORRECTION.value
        against = (row.number, line)
        charge = ChargeRow(note.number, 1, kind, terms, credited.start, credited.end, -amount, against)
        invoices.add_charges(conn, row.contract, [charge])
        detail = {"corrects": row.number, "line": line, "total": f"{frozen.total:f}", "sha256": frozen.sha256}
        append_in(
            conn, AuditEntry(AuditAction.BILL_CREDIT, by, why, tenant=row.tenant, subject=note.number, detail=detail)
        )
        return frozen

    return work


def _check(conn: Connection, row: InvoiceRow, line: Line, amount: Decimal, why: str) -> None:
    digits = CURRENCIES[row.currency]
    problems = []
    if amount <= 0 or decimals(amount) > digits:
        problems.append(
            Problem(
                "--amount", f"{amount} is not an amount over 0 in {row.currency} with {digits} digits behind the point"
            )
        )
    if not why.strip():
        problems.append(Problem("--why", "say why: the credit note tells the client"))
    if problems:
        raise ConfigError(problems)
    if row.kind != InvoiceKind.INVOICE or line.amount <= 0:
        raise ConflictError(
            f"line {line.number} of {row.number} charges nothing that could be given back; credit a line that does"
        )
    left = remaining(charges_of(conn, row.contract))[row.number, line.number]
    if amount > left:
        raise ConflictError(
            f"of line {line.number} of {row.number} ({line.amount} {row.currency}) {left} is left after earlier credits; "
            f"--amount can be that at most"
        )


def _note(
    conn: Connection, document: Invoice, line: Line, amount: Decimal, *, why: str, seller: Seller, zone: tzinfo
) -> Invoice:
    issued = day_of(now(conn), zone)
    series = seller.series(InvoiceKind.CREDIT_NOTE, issued)
    value = rounded(amount, document.currency)
    note = replace(
        document,
        number=seller.number(series, invoices.take_number(conn, series)),
        kind=InvoiceKind.CREDIT_NOTE,
        issued=issued,
        due=issued,
        lines=(
            replace(
                line,
                number=1,
                kind=LineKind.CORRECTION,
                description=f"Correction of line {line.number} of {document.number}: {line.description}",
                quantity=Decimal(-1),
                unit=PIECES,
                unit_price=value,
                amount=-value,
                previous=None,
            ),
        ),
        usage=None,
        service_levels=(),
        corrects=document.number,
        why=why.strip(),
        bank=(),
    )
    exemptions = {(tax.category, tax.rate): tax.exemption for tax in document.taxes}
    summed = with_sums(note, exemptions)
    en16931.check(summed, without=en16931.UNTIL_FROZEN)
    return summed
