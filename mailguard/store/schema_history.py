"""Tables of what tenants know: correspondents, VIPs, brands; and which domains anybody wrote from. As store/schema.py.

No queries live here. The texts are personal: `erasure` and `retention` remove the rows.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, UniqueConstraint

from mailguard.store.schema import metadata

__all__ = ["brands", "correspondents", "metadata", "sender_domains", "vips"]

_Id = BigInteger().with_variant(Integer, "sqlite")

correspondents = Table(
    "correspondents",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("domain", String(255), nullable=False),  # organisational, of From, in look-up form
    Column("address", String(320), nullable=False),  # of From, in normal form
    Column("name", String(128), nullable=False, server_default=""),  # core.names.name_key of the display name
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("days", Integer, nullable=False, server_default="0"),  # on which mail was delivered or released
    Column("delivered", Integer, nullable=False, server_default="0"),
    Column("released", Integer, nullable=False, server_default="0"),
    Column("quarantined", Integer, nullable=False, server_default="0"),
    Column("reported", Integer, nullable=False, server_default="0"),  # delivered, and then reported as spam or worse
    Column("unproven", Integer, nullable=False, server_default="0"),  # delivered without authentication
    UniqueConstraint("tenant", "domain", "address"),
    Index("ix_correspondents_tenant_name", "tenant", "name", "last_at"),
    Index("ix_correspondents_last_at", "last_at"),
    sqlite_autoincrement=True,
)
"""Authors who were authenticated when they wrote to a tenant, and what became of their mail."""

sender_domains = Table(
    "sender_domains",
    metadata,
    Column("domain", String(255), primary_key=True),  # organisational, of From
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),  # to the day
    Index("ix_sender_domains_last_at", "last_at"),
)
"""The domains that anybody wrote from to any tenant."""

vips = Table(
    "vips",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column(
        "address", String(320), nullable=False, server_default=""
    ),  # one of theirs; a row for each, one without if none
    Column("added_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name", "address"),
    sqlite_autoincrement=True,
)
"""People of a tenant in whose name others are asked for money."""

brands = Table(
    "brands",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("text", String(255), nullable=False),  # a domain in look-up form, or a name
    Column("added_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "text"),
    sqlite_autoincrement=True,
)
"""Names and domains that a tenant owns beside its recipient domains."""
