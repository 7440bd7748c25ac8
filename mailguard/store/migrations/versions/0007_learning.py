"""What tenants teach the classifier."""

from __future__ import annotations

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """The tables of store/schema_learning.py."""
