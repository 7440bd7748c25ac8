"""Contracts and their terms, invoices with their charges, evidence and numbers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DAY = sa.String(length=10)
MONEY = sa.String(length=32)


def upgrade() -> None:
    _contracts()
    _invoices()
    op.create_table(
        "billed_months",
        sa.Column("contract", ID, autoincrement=False, nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("invoice", sa.String(length=64), nullable=True),
        sa.Column("billed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["contract"], ["contracts.id"], name=op.f("fk_billed_months_contract")),
        sa.ForeignKeyConstraint(["invoice"], ["invoices.number"], name=op.f("fk_billed_months_invoice")),
        sa.PrimaryKeyConstraint("contract", "month", name=op.f("pk_billed_months")),
        sa.UniqueConstraint("invoice", name=op.f("uq_billed_months_invoice")),
    )
    op.create_table(
        "invoice_numbers",
        sa.Column("series", sa.String(length=48), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("series", name=op.f("pk_invoice_numbers")),
    )


def _contracts() -> None:
    op.create_table(
        "contracts",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("start", DAY, nullable=False),
        sa.Column("ends_on", DAY, nullable=True),
        sa.Column("term_months", sa.Integer(), nullable=False),
        sa.Column("renewal_months", sa.Integer(), nullable=False),
        sa.Column("notice_days", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("buyer", sa.Text(), nullable=False),
        sa.Column("buyer_reference", sa.String(length=255), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_on", DAY, nullable=False),
        sa.Column("notice_on", DAY, nullable=True),
        sa.Column("cancelled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_contracts_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contracts")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_contracts_tenant"), "contracts", ["tenant"])
    op.create_table(
        "contract_terms",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contract", ID, nullable=False),
        sa.Column("from_day", DAY, nullable=False),
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["contract"], ["contracts.id"], name=op.f("fk_contract_terms_contract")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contract_terms")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_contract_terms_contract"), "contract_terms", ["contract"])


def _invoices() -> None:
    op.create_table(
        "invoices",
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("contract", ID, nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("issued", DAY, nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("net", MONEY, nullable=False),
        sa.Column("tax", MONEY, nullable=False),
        sa.Column("total", MONEY, nullable=False),
        sa.Column("corrects", sa.String(length=64), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("pdf", sa.LargeBinary(), nullable=True),
        sa.Column("ubl", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_invoices_tenant")),
        sa.ForeignKeyConstraint(["contract"], ["contracts.id"], name=op.f("fk_invoices_contract")),
        sa.ForeignKeyConstraint(["corrects"], ["invoices.number"], name=op.f("fk_invoices_corrects")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_invoices")),
        sa.UniqueConstraint("tenant", "month", "kind", "sequence", name=op.f("uq_invoices_tenant_month_kind_sequence")),
    )
    op.create_index(op.f("ix_invoices_contract"), "invoices", ["contract"])
    op.create_index(op.f("ix_invoices_corrects"), "invoices", ["corrects"])
    op.create_table(
        "charges",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("invoice", sa.String(length=64), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("contract", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("terms", ID, nullable=False),
        sa.Column("from_day", DAY, nullable=False),
        sa.Column("until_day", DAY, nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("against_invoice", sa.String(length=64), nullable=True),
        sa.Column("against_line", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["invoice"], ["invoices.number"], name=op.f("fk_charges_invoice")),
        sa.ForeignKeyConstraint(["contract"], ["contracts.id"], name=op.f("fk_charges_contract")),
        sa.ForeignKeyConstraint(["terms"], ["contract_terms.id"], name=op.f("fk_charges_terms")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_charges")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_charges_invoice"), "charges", ["invoice"])
    op.create_index(op.f("ix_charges_contract"), "charges", ["contract"])
    op.create_index("ix_charges_against_invoice", "charges", ["against_invoice", "against_line"])
    op.create_table(
        "invoice_evidence",
        sa.Column("invoice", sa.String(length=64), nullable=False),
        sa.Column("mailbox", ID, autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("octets", sa.BigInteger(), nullable=False),
        sa.Column("addresses", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["invoice"], ["invoices.number"], name=op.f("fk_invoice_evidence_invoice")),
        sa.ForeignKeyConstraint(["mailbox"], ["addresses.id"], name=op.f("fk_invoice_evidence_mailbox")),
        sa.PrimaryKeyConstraint("invoice", "mailbox", name=op.f("pk_invoice_evidence")),
    )
