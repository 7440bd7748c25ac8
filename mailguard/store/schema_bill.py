"""Tables of contracts and invoices. As store/schema.py; no queries live here.

Days are ISO text (`2026-11-24`) in the billing time zone, money is text in the currency's major unit, both exact everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from mailguard.store.schema import metadata

__all__ = [
    "billed_months",
    "charges",
    "contract_terms",
    "contracts",
    "invoice_evidence",
    "invoice_numbers",
    "invoices",
    "metadata",
]

_Id = BigInteger().with_variant(Integer, "sqlite")
_Day = String(10)
_Money = String(32)

contracts = Table(
    "contracts",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("start", _Day, nullable=False),
    Column("ends_on", _Day),  # the first day that is no longer covered; null: no end was agreed
    Column("term_months", Integer, nullable=False),
    Column("renewal_months", Integer, nullable=False),
    Column("notice_days", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("buyer", Text, nullable=False),  # JSON: name, address, country, tax_id, email
    Column("buyer_reference", String(255), nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("created_on", _Day, nullable=False),
    Column("notice_on", _Day),  # the day that notice was given
    Column("cancelled_at", BigInteger),
    sqlite_autoincrement=True,
)

contract_terms = Table(
    "contract_terms",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("contract", _Id, ForeignKey("contracts.id"), nullable=False, index=True),
    Column("from_day", _Day, nullable=False),
    Column("plan", String(64), nullable=False),
    Column("plan_hash", String(64), nullable=False),
    Column("snapshot", Text, nullable=False),  # JSON: the plan as it was agreed
    Column("recorded_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""What holds from a day on; of several with the same day the last. Rows are only added: the bill refers to them."""

invoices = Table(
    "invoices",
    metadata,
    Column("number", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),  # invoice, credit_note
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("contract", _Id, ForeignKey("contracts.id"), nullable=False, index=True),
    Column("month", String(7), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("issued", _Day, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("net", _Money, nullable=False),
    Column("tax", _Money, nullable=False),
    Column("total", _Money, nullable=False),
    Column("corrects", String(64), ForeignKey("invoices.number"), index=True),  # of a credit note
    Column("document", Text, nullable=False),  # canonical JSON, never changed
    Column("sha256", String(64), nullable=False),  # of the document
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("pdf", LargeBinary),  # null until it is set, once
    Column("ubl", Text),
    UniqueConstraint("tenant", "month", "kind", "sequence"),
)

billed_months = Table(
    "billed_months",
    metadata,
    Column("contract", _Id, ForeignKey("contracts.id"), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("invoice", String(64), ForeignKey("invoices.number"), unique=True),  # null: nothing was to be charged
    Column("billed_at", BigInteger, nullable=False),
)
"""Which months of a contract are billed: each once."""

charges = Table(
    "charges",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("invoice", String(64), ForeignKey("invoices.number"), nullable=False, index=True),
    Column("line", Integer, nullable=False),
    Column("contract", _Id, ForeignKey("contracts.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("terms", _Id, ForeignKey("contract_terms.id"), nullable=False),
    Column("from_day", _Day, nullable=False),
    Column("until_day", _Day, nullable=False),  # the first one that it is no longer for
    Column("amount", _Money, nullable=False),  # a credit's is negative
    Column("against_invoice", String(64)),  # of a credit: the line that it gives back some of
    Column("against_line", Integer),
    Index("ix_charges_against_invoice", "against_invoice", "against_line"),
    sqlite_autoincrement=True,
)
"""What each line charges or gives back: by this no day is charged twice, and no more is credited than was charged."""

invoice_evidence = Table(
    "invoice_evidence",
    metadata,
    Column("invoice", String(64), ForeignKey("invoices.number"), primary_key=True),
    Column("mailbox", _Id, ForeignKey("addresses.id"), primary_key=True, autoincrement=False),
    Column("unit", String(32), nullable=False),  # the first mail that was delivered to it
    Column("first_at", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("octets", BigInteger, nullable=False),
    Column("addresses", Integer, nullable=False),  # how many addresses stand for it
)
"""The mailboxes behind an invoice's usage, by the ids of their addresses: counts stay provable when one is erased."""

invoice_numbers = Table(
    "invoice_numbers",
    metadata,
    Column("series", String(48), primary_key=True),
    Column("last", BigInteger, nullable=False),
)
"""The last number given out in a series. Its row is locked until the invoice of the next one is committed: no gaps."""
