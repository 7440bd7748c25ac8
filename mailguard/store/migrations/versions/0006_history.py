"""What tenants know of senders, and what was found with their eyes."""

from __future__ import annotations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """The tables of store/schema_history.py."""
