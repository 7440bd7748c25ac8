"""Mail that is delivered without some of its attachments: what stands in their place, and which unit keeps the original."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Two columns of `units`."""
    op.add_column("units", sa.Column("edits", sa.Text(), server_default="[]", nullable=False))
    op.add_column("units", sa.Column("original_of", sa.String(length=32), server_default="", nullable=False))
