"""Probe results, maintenance windows, reports of what was judged wrongly."""

from __future__ import annotations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Filled in with the tables of store/schema_service.py."""
