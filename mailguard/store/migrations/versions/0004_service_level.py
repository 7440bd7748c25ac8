"""Probe results, maintenance windows, reports of what was judged wrongly."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "probes",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("up", sa.Boolean(), nullable=False),
        sa.Column("delivered", sa.Boolean(), nullable=True),
        sa.Column("virus_stopped", sa.Boolean(), nullable=True),
        sa.Column("spam_stopped", sa.Boolean(), nullable=True),
        sa.Column("door_ms", sa.Integer(), nullable=True),
        sa.Column("delivery_ms", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_probes_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probes")),
        sa.UniqueConstraint("tenant", "at", "place", name=op.f("uq_probes_tenant_at_place")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "probe_marks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe_marks")),
    )
    op.create_index("ix_probe_marks_at", "probe_marks", ["at"])
    op.create_table(
        "maintenance_windows",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=True),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("announced_at", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.String(length=128), server_default="", nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_maintenance_windows_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_maintenance_windows")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_maintenance_windows_ends_at", "maintenance_windows", ["ends_at"])
    op.create_table(
        "complaints",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=128), server_default="", nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["unit"], ["units.id"], name=op.f("fk_complaints_unit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_complaints")),
        sa.UniqueConstraint("unit", "kind", name=op.f("uq_complaints_unit_kind")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_complaints_tenant_at", "complaints", ["tenant", "at"])
    op.create_table(
        "release_requests",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=128), server_default="", nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["unit"], ["units.id"], name=op.f("fk_release_requests_unit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release_requests")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_release_requests_unit"), "release_requests", ["unit"])
    op.create_index("ix_release_requests_tenant_at", "release_requests", ["tenant", "at"])
