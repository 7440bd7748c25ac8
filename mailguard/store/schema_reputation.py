"""The table of how senders stand with tenants. As store/schema.py; no queries live here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table

from mailguard.store.schema import metadata

__all__ = ["metadata", "reputation"]

_Id = BigInteger().with_variant(Integer, "sqlite")

reputation = Table(
    "reputation",
    metadata,
    Column("key", String(64), primary_key=True),  # SHA-256 of tenant and sender: no name stands here
    Column("tenant", _Id, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),  # until when the counts are decayed (core.standing.Standing)
    Column("delivered", Float, nullable=False, server_default="0"),
    Column("kept", Float, nullable=False, server_default="0"),
    Column("released", Float, nullable=False, server_default="0"),
    Column("reported", Float, nullable=False, server_default="0"),
    Column("recent", Float, nullable=False, server_default="0"),
    Column("usual", Float, nullable=False, server_default="0"),
    Index("ix_reputation_tenant_last_at", "tenant", "last_at"),
)
"""Soft state: what is lost makes a sender a stranger, no more."""
