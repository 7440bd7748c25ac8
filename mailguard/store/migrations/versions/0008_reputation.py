"""How senders stand with tenants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """The table of store/schema_reputation.py."""
    op.create_table(
        "reputation",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Float(), server_default="0", nullable=False)
            for name in ("delivered", "kept", "released", "reported", "recent", "usual")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_reputation")),
    )
    op.create_index("ix_reputation_tenant_last_at", "reputation", ["tenant", "last_at"])
