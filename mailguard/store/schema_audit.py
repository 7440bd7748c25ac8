"""Tables of the audit log. As store/schema.py; no queries live here.

`audit` and `audit_head` hold surrogate ids and salted commitments only; whatever may be personal stands in `audit_subjects`.
Triggers (migrations 0005) let rows of `audit` only be added, and those of `audit_subjects` only be erased.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text

from mailguard.store.schema import metadata

__all__ = ["audit", "audit_head", "audit_subjects", "metadata"]

_Id = BigInteger().with_variant(Integer, "sqlite")

audit = Table(
    "audit",
    metadata,
    Column("sequence", _Id, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a gap
    Column("at", BigInteger, nullable=False),
    Column("action", String(32), nullable=False),  # store.audit.AuditAction
    Column("tenant", _Id),  # null: of no one tenant
    Column(
        "subject", String(128), nullable=False, server_default=""
    ),  # a surrogate id: of a unit, a contract, an invoice
    Column("detail", Text, nullable=False, server_default="{}"),  # JSON, nothing personal in it
    Column(
        "commitments", Text, nullable=False, server_default="[]"
    ),  # JSON: [[role, HMAC-SHA-256], …] of audit_subjects
    Column("previous", String(64), nullable=False),  # the hash of the entry before it
    Column("hash", String(64), nullable=False, unique=True),
    Index("ix_audit_tenant", "tenant", "sequence"),
    Index("ix_audit_subject", "subject"),
)
"""Who did what to what, and why: append only, each entry with the hash of the one before it."""

audit_subjects = Table(
    "audit_subjects",
    metadata,
    Column("entry", _Id, ForeignKey("audit.sequence"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # its place in the entry's commitments, from 0
    Column("role", String(32), nullable=False),  # what it is in the entry: actor, why, recipient, pattern …
    Column("salt", String(64)),  # null, as the text, once it is erased
    Column("text", Text),
    Column("erased_at", BigInteger),
)
"""The one erasable table of the audit log: names, addresses and free text, each with the salt of its commitment."""

audit_head = Table(
    "audit_head",
    metadata,
    Column(
        "id", Integer, primary_key=True, autoincrement=False
    ),  # 1: there is one row, which whoever appends has locked
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
"""The last entry: a chain that ends before it has lost its tail."""
