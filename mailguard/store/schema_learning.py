"""Tables of what tenants teach the classifier: lessons, and what they come to. As store/schema.py; no queries live here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from mailguard.store.schema import metadata

__all__ = ["deltas", "lessons", "metadata"]

_Id = BigInteger().with_variant(Integer, "sqlite")

lessons = Table(
    "lessons",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("unit", String(32), ForeignKey("units.id"), nullable=False, index=True),
    Column("message", String(26), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("spam", Boolean, nullable=False),
    Column("source", String(16), nullable=False),  # store.lessons.Source
    Column("teacher", String(320), nullable=False),
    Column("why", Text, nullable=False, server_default=""),
    Column("model", String(64), nullable=False, server_default=""),  # what the numbers of the features mean
    Column("features", LargeBinary, nullable=False),  # unsigned 32-bit, little-endian; empty: only the traits count
    Column("traits", Text, nullable=False, server_default="[]"),  # JSON: [[kind, hash], …] of the sender
    Column("sketch", LargeBinary, nullable=False),  # by which mail like it is found (learning.sketch)
    Column("base", Float, nullable=False),  # the mail's margin in points, without any delta
    Column("step", Float, nullable=False),  # by how much it moved mail like its own, in points
    Column("score_before", Float, nullable=False),  # of its mail, when it was learned
    Column("score_after", Float, nullable=False),
    Column("undone_at", BigInteger),  # undone: it counts as never learned
    Column("undone_by", String(320), nullable=False, server_default=""),
    Column("retired_at", BigInteger),  # too old, or one of too many: likewise
    Index("ix_lessons_tenant", "tenant", "id"),
    sqlite_autoincrement=True,
)
"""What was taught of single mails. Rows are added and stay; those undone or retired lose their features."""

deltas = Table(
    "deltas",
    metadata,
    Column("tenant", _Id, ForeignKey("tenants.id"), primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),  # grows with each change: by it workers notice
    Column("model", String(64), nullable=False, server_default=""),  # as of lessons: of which content counts
    Column("weights", LargeBinary, nullable=False),  # learning.delta.Delta.packed
    Column("lessons", Integer, nullable=False, server_default="0"),  # in force
    Column("changed_at", BigInteger, nullable=False),
)
"""What a tenant's lessons in force come to."""
