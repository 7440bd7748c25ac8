"""A frozen document as files: PDF and UBL are made once and kept, so that they are the same bytes for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

from mailguard.billing.invoice import Invoice
from mailguard.billing.render.json import invoice_from_json
from mailguard.billing.render.pdf import invoice_pdf
from mailguard.billing.render.ubl import invoice_ubl
from mailguard.core.errors import ConflictError
from mailguard.store import invoices
from mailguard.store.invoices import InvoiceRow

T = TypeVar("T")


class Transactions(Protocol):
    """As billing.run.Transactions."""

    def read(self, work: Callable[[Connection], T], /) -> T: ...
    def write(self, work: Callable[[Connection], T], /) -> T: ...


def document_of(row: InvoiceRow) -> Invoice:
    """What a row says. Raises ConflictError when it is not what was frozen."""
    if hashlib.sha256(row.document.encode()).hexdigest() != row.sha256:
        raise ConflictError(
            f"the document of {row.number} was changed in the database: its SHA-256 is not {row.sha256}; take it from a backup"
        )
    return invoice_from_json(row.document)


def pdf_of(database: Transactions, row: InvoiceRow) -> bytes:
    """The PDF of a document. Raises ConfigError when a font is missing."""
    kept = database.read(lambda conn: invoices.rendered(conn, row.number)).pdf
    if kept is None:
        made = invoice_pdf(document_of(row))
        kept = database.write(lambda conn: invoices.keep_rendered(conn, row.number, pdf=made)).pdf or made
    return kept


def ubl_of(database: Transactions, row: InvoiceRow) -> str:
    """The UBL of a document. Raises ConfigError when EN 16931 has no place for it."""
    kept = database.read(lambda conn: invoices.rendered(conn, row.number)).ubl
    if kept is None:
        made = invoice_ubl(document_of(row))
        kept = database.write(lambda conn: invoices.keep_rendered(conn, row.number, ubl=made)).ubl or made
    return kept
