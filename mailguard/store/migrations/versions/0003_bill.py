"""Contracts and their terms, invoices with their evidence and numbers."""

from __future__ import annotations

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Filled in with the tables of store/schema_bill.py."""
