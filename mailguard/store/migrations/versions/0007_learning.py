"""What tenants teach the classifier."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """The tables of store/schema_learning.py, and the addresses that a tenant's users report to."""
    op.add_column("tenants", sa.Column("spam_address", sa.String(length=320), server_default="", nullable=False))
    op.add_column("tenants", sa.Column("ham_address", sa.String(length=320), server_default="", nullable=False))
    op.create_table(
        "lessons",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(length=26), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("spam", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("teacher", sa.String(length=320), nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("model", sa.String(length=64), server_default="", nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=False),
        sa.Column("traits", sa.Text(), server_default="[]", nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.Column("base", sa.Float(), nullable=False),
        sa.Column("step", sa.Float(), nullable=False),
        sa.Column("score_before", sa.Float(), nullable=False),
        sa.Column("score_after", sa.Float(), nullable=False),
        sa.Column("undone_at", sa.BigInteger(), nullable=True),
        sa.Column("undone_by", sa.String(length=320), server_default="", nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_lessons_tenant")),
        sa.ForeignKeyConstraint(["unit"], ["units.id"], name=op.f("fk_lessons_unit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lessons")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lessons_unit", "lessons", ["unit"])
    op.create_index("ix_lessons_message", "lessons", ["message"])
    op.create_index("ix_lessons_tenant", "lessons", ["tenant", "id"])
    op.create_table(
        "deltas",
        sa.Column("tenant", ID, autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(length=64), server_default="", nullable=False),
        sa.Column("weights", sa.LargeBinary(), nullable=False),
        sa.Column("lessons", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_deltas_tenant")),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_deltas")),
    )
