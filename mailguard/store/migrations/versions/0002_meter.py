"""Closed billing months, probe mail told apart, and the mailbox behind a listed address."""

from __future__ import annotations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Filled in with the tables of store/schema.py."""
