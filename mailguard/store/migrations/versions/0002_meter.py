"""Closed billing months, what was metered so far, probe mail told apart, and the mailbox behind a listed address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("units", sa.Column("probe", sa.Boolean(), server_default="0", nullable=False))
    for table in ("recipients", "verifications"):
        op.add_column(table, sa.Column("mailbox", sa.String(length=320), server_default="", nullable=False))
    op.add_column(
        "ldap_lookups", sa.Column("mailbox_attribute", sa.String(length=64), server_default="", nullable=False)
    )
    op.create_table(
        "billing_months",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("watermark", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_billing_months")),
    )
    op.create_table(
        "metered",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("tenant", ID, autoincrement=False, nullable=False),
        sa.Column("counted", sa.String(length=16), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("month", "tenant", "counted", name=op.f("pk_metered")),
    )
    op.create_table(
        "metered_recipients",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("tenant", ID, autoincrement=False, nullable=False),
        sa.Column("recipient", ID, autoincrement=False, nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("first_unit", sa.String(length=32), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("mailbox", ID, nullable=True),
        sa.ForeignKeyConstraint(["recipient"], ["addresses.id"], name=op.f("fk_metered_recipients_recipient")),
        sa.ForeignKeyConstraint(["mailbox"], ["addresses.id"], name=op.f("fk_metered_recipients_mailbox")),
        sa.PrimaryKeyConstraint("month", "tenant", "recipient", name=op.f("pk_metered_recipients")),
    )
