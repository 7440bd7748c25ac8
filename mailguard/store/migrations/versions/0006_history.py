"""What tenants know of senders, and what was found with their eyes."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """The tables of store/schema_history.py, `units.found`, and from which event and time on senders are remembered."""
    op.add_column("units", sa.Column("found", sa.Text(), server_default="[]", nullable=False))
    op.create_table(
        "correspondents",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=128), server_default="", nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("released", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quarantined", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reported", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unproven", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_correspondents_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_correspondents")),
        sa.UniqueConstraint("tenant", "domain", "address", name=op.f("uq_correspondents_tenant_domain_address")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_correspondents_tenant_name", "correspondents", ["tenant", "name", "last_at"])
    op.create_index("ix_correspondents_last_at", "correspondents", ["last_at"])
    op.create_table(
        "sender_domains",
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_sender_domains")),
    )
    op.create_index("ix_sender_domains_last_at", "sender_domains", ["last_at"])
    op.create_table(
        "vips",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("address", sa.String(length=320), server_default="", nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_vips_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vips")),
        sa.UniqueConstraint("tenant", "name", "address", name=op.f("uq_vips_tenant_name_address")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "brands",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("text", sa.String(length=255), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_brands_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brands")),
        sa.UniqueConstraint("tenant", "text", name=op.f("uq_brands_tenant_text")),
        sqlite_autoincrement=True,
    )
    # What came before is not gone through: nobody then wrote down who was authenticated to whom.
    last = op.get_bind().execute(sa.text("SELECT coalesce(max(id), 0) FROM events")).scalar_one()
    complaint = op.get_bind().execute(sa.text("SELECT coalesce(max(id), 0) FROM complaints")).scalar_one()
    meta = sa.table("meta", sa.column("key", sa.String), sa.column("value", sa.Text))
    op.bulk_insert(
        meta,
        [
            {"key": "history_event", "value": str(last)},
            {"key": "history_complaint", "value": str(complaint)},
            {"key": "history_since", "value": str(time.time_ns() // 1_000_000)},
        ],
    )
