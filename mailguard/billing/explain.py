"""Why a line of an invoice is what it is: the terms, the mailboxes or mails behind it, and what is another than last month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal

from sqlalchemy.engine import Connection

from mailguard.billing.agreements import contract_of
from mailguard.billing.contract import Contract, Terms
from mailguard.billing.covered_usage import BilledUnit, units_of
from mailguard.billing.credit_note import invoice_by_number, line_of
from mailguard.billing.draft import Charge
from mailguard.billing.invoice import Invoice, Line, LineKind, ServiceLevel
from mailguard.billing.months import month, preceding
from mailguard.billing.prepare import charges_of
from mailguard.billing.render.json import invoice_from_json
from mailguard.store import contracts as contract_rows
from mailguard.store import invoices
from mailguard.store.invoices import MailboxRow

USAGE = frozenset({LineKind.MAILBOXES, LineKind.MESSAGES})
"""Kinds of lines that mailboxes are behind."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is behind a line.

    `terms` are those that it was charged by, `against` the lines that it gives back some of, `credits` what was given back of
    it since. `mailboxes` and `mails` are behind lines of usage; `new` and `gone` are the mailboxes that had mail in this
    month and not in the one before, and the other way round (None: that month was not billed). `level` is behind a service
    credit.
    """

    invoice: Invoice
    line: Line
    terms: Terms
    against: tuple[Charge, ...] = ()
    credits: tuple[Charge, ...] = ()
    mailboxes: tuple[MailboxRow, ...] = ()
    new: tuple[str, ...] | None = None
    gone: tuple[str, ...] | None = None
    mails: tuple[BilledUnit, ...] = ()
    level: ServiceLevel | None = None

    @property
    def difference(self) -> Decimal | None:
        """To the amount of the same line the month before; None: there was none."""
        return None if self.line.previous is None else self.line.amount - self.line.previous


def explain(conn: Connection, number: str, line: int, *, zone: tzinfo, mails: bool = False) -> Explanation:
    """What is behind a line; with each mail of it if `mails`. Raises NotFoundError."""
    row = invoice_by_number(conn, number)
    document = invoice_from_json(row.document)
    shown = line_of(document, line)
    contract = contract_of(contract_rows.contract_by_id(conn, row.contract))
    charges = charges_of(conn, row.contract)
    own = [charge for charge in charges if charge.ref == (row.number, line)]
    terms = next(terms for terms in contract.terms if terms.id == own[0].terms)
    given_back = {charge.against for charge in own if charge.against is not None}
    usage = shown.kind in USAGE
    new, gone = _differences(conn, document, contract) if usage else (None, None)
    return Explanation(
        document,
        shown,
        terms,
        against=tuple(charge for charge in charges if charge.ref in given_back),
        credits=tuple(charge for charge in charges if charge.against == (row.number, line)),
        mailboxes=tuple(invoices.evidence_of(conn, row.number)) if usage else (),
        new=new,
        gone=gone,
        mails=tuple(units_of(conn, contract, month(document.month, zone=zone), zone=zone)) if usage and mails else (),
        level=_level(document, shown),
    )


def _differences(
    conn: Connection, document: Invoice, contract: Contract
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    billed = invoices.billed(conn, contract.id)
    earlier = preceding(document.month)
    if earlier not in billed:
        return None, None
    number = billed[earlier]
    before = _names(invoices.evidence_of(conn, number)) if number else set()
    after = _names(invoices.evidence_of(conn, document.number))
    return tuple(sorted(after - before)), tuple(sorted(before - after))


def _names(rows: Sequence[MailboxRow]) -> set[str]:
    return {row.mailbox for row in rows}


def _level(document: Invoice, line: Line) -> ServiceLevel | None:
    if line.kind is not LineKind.SLA_CREDIT:
        return None
    return next((one for one in document.service_levels if f" {one.commitment} " in f" {line.description} "), None)
