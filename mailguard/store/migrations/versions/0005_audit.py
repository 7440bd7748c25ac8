"""The hash-chained audit log and its erasable subjects."""

from __future__ import annotations

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Filled in with the tables of store/schema_audit.py."""
