"""An Invoice as CSV (RFC 4180): one record a line of it, with the invoice's own values in each, for spreadsheets and imports."""

from __future__ import annotations

from decimal import Decimal

from mailguard.billing.invoice import Invoice, Line
from mailguard.billing.render.figures import last_day
from mailguard.core.csv_fields import csv_cell, csv_line

COLUMNS = (
    "number",
    "kind",
    "issued",
    "due",
    "tenant",
    "month",
    "seller",
    "buyer",
    "buyer_tax_id",
    "buyer_reference",
    "corrects",
    "currency",
    "line",
    "line_kind",
    "description",
    "first_day",
    "last_day",
    "quantity",
    "unit",
    "unit_price",
    "amount",
    "tax_category",
    "tax_rate",
    "previous",
    "invoice_net",
    "invoice_tax",
    "invoice_total",
)
"""The names in the first record. `last_day` is within the period; `previous` is empty where there was nothing before."""


def invoice_csv(invoice: Invoice) -> str:
    """The records, the first of names, each ended by CRLF. Amounts are as they were frozen, with a point and a plain minus.

    Texts that a spreadsheet would take for a formula have an apostrophe before them.
    """
    records = [COLUMNS, *(_record(invoice, line) for line in invoice.lines)]
    return "".join(f"{csv_line(record)}\r\n" for record in records)


def _record(invoice: Invoice, line: Line) -> tuple[str, ...]:
    return (
        csv_cell(invoice.number),
        invoice.kind.value,
        invoice.issued.isoformat(),
        invoice.due.isoformat(),
        csv_cell(invoice.tenant),
        invoice.month,
        csv_cell(invoice.seller.name),
        csv_cell(invoice.buyer.name),
        csv_cell(invoice.buyer.tax_id),
        csv_cell(invoice.buyer_reference),
        csv_cell(invoice.corrects),
        csv_cell(invoice.currency),
        str(line.number),
        line.kind.value,
        csv_cell(line.description),
        line.start.isoformat(),
        last_day(line.start, line.end).isoformat(),
        _figure(line.quantity),
        csv_cell(line.unit),
        _figure(line.unit_price),
        _figure(line.amount),
        csv_cell(line.tax_category),
        _figure(line.tax_rate),
        _figure(line.previous) if line.previous is not None else "",
        _figure(invoice.net),
        _figure(invoice.tax),
        _figure(invoice.total),
    )


def _figure(value: Decimal) -> str:
    return f"{value:f}"
