"""Tables of the service level: probe results, maintenance windows, complaints. As store/schema.py; no queries live here."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from mailguard.store.schema import metadata

__all__ = ["complaints", "maintenance_windows", "metadata", "probe_marks", "probes", "release_requests"]

_Id = BigInteger().with_variant(Integer, "sqlite")

probes = Table(
    "probes",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("at", BigInteger, nullable=False),  # when it began, by the clock of the place that it ran on
    Column("place", String(64), nullable=False),  # where it ran
    Column("up", Boolean, nullable=False),  # whether the door took the clean mail
    Column("delivered", Boolean),  # whether the clean mail arrived; null: nobody looked
    Column("virus_stopped", Boolean),
    Column("spam_stopped", Boolean),
    Column("door_ms", Integer),  # from the connection to the reply to the clean mail
    Column("delivery_ms", Integer),  # from the end of its DATA to its arrival
    Column("detail", Text, nullable=False, server_default=""),  # replies and errors, for people
    Column("recorded_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "at", "place"),
    sqlite_autoincrement=True,
)
"""What `mailguard probe` saw, one row a run, from wherever it ran."""

probe_marks = Table(
    "probe_marks",
    metadata,
    Column("id", String(64), primary_key=True),  # of the mail, as its mark says
    Column("at", BigInteger, nullable=False),
    Column("unit", String(32), nullable=False),
    Index("ix_probe_marks_at", "at"),
)
"""Marks of the probe's mails that were counted: each once. A row may go when its mark is too old to be believed."""

maintenance_windows = Table(
    "maintenance_windows",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id")),  # null: all
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("announced_at", BigInteger, nullable=False),
    Column("author", String(128), nullable=False, server_default=""),
    Column("why", Text, nullable=False, server_default=""),
    Column("removed_at", BigInteger),  # rows stay: what was promised when can be seen later
    Index("ix_maintenance_windows_ends_at", "ends_at"),
    sqlite_autoincrement=True,
)
"""Announced times in which the door may be closed."""

complaints = Table(
    "complaints",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("unit", String(32), ForeignKey("units.id"), nullable=False),
    Column("tenant", _Id, nullable=False),
    Column("kind", String(16), nullable=False),  # store.complaints.Kind
    Column("at", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False, server_default=""),
    Column("why", Text, nullable=False, server_default=""),
    UniqueConstraint("unit", "kind"),
    Index("ix_complaints_tenant_at", "tenant", "at"),
    sqlite_autoincrement=True,
)
"""Mail that was judged wrongly, as somebody said."""

release_requests = Table(
    "release_requests",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("unit", String(32), ForeignKey("units.id"), nullable=False, index=True),
    Column("tenant", _Id, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column(
        "event", BigInteger, nullable=False
    ),  # the last MailEvent of the unit before it: what comes later answers it
    Column("actor", String(128), nullable=False, server_default=""),
    Column("why", Text, nullable=False, server_default=""),
    Index("ix_release_requests_tenant_at", "tenant", "at"),
    sqlite_autoincrement=True,
)
"""Requests to release kept mail. The first release or deletion of it afterwards is the answer."""
