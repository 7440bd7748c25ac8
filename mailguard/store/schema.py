"""The tables, as SQLAlchemy Core; migrations/ brings a database to this shape. No queries live here.

Times are BIGINT milliseconds UTC. Addresses of mail stand in `addresses` alone, behind surrogate ids, so that one person's can
be erased without touching events or counts; `list_entries`, `recipients` and `verifications` are erased by their rows.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives ROWID speed and autoincrement only to INTEGER; it holds 64 bits there all the same.
_Id = BigInteger().with_variant(Integer, "sqlite")


def domain_part(address: ColumnElement[str]) -> ColumnElement[str]:
    """What follows the last @ of an address, in words that both databases know and keep an index of."""
    at: ColumnElement[str] = literal_column("'@'")
    before = func.rtrim(address, func.replace(address, at, literal_column("''")))
    return func.substr(address, func.length(before) + literal_column("1"))


meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Small facts about the database itself: `directory_version` grows with every change of tenants, domains and lists."""

tenants = Table(
    "tenants",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("profile", String(64), nullable=False, server_default="default"),
    Column("plan", String(64), nullable=False, server_default=""),
    Column("soft_bounce", Boolean, nullable=False, server_default="0"),
    Column("greylist", Boolean, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),  # rows stay: the ledger and the bill refer to them
    Column("verification", String(16), nullable=False, server_default="none"),
    Column("separators", String(8), nullable=False, server_default="+"),
    Column("queue_days", Float),  # null: as it is set for all
    Column("keep_days", Float),  # after which what is personal in its old mail is erased; null: never by itself
    Column("erased_until", BigInteger, nullable=False, server_default="0"),  # how far that has come
    Column("spam_address", String(320), nullable=False, server_default=""),  # to which its users report
    Column("ham_address", String(320), nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

domains = Table(
    "domains",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("verification", String(16)),  # null: the tenant's
    Column("alias_of", String(255), ForeignKey("domains.name")),
    Column("rewrite", Boolean, nullable=False, server_default="0"),  # an alias's recipients become those of its domain
    # what is asked of its next hops (core.transport.HopSecurity); empty: as it is set for all
    Column("tls", String(16), nullable=False, server_default=""),
    Column("client_certificate", Text, nullable=False, server_default=""),  # path of a PEM file
    Column("auth_username", String(255), nullable=False, server_default=""),
    Column("auth_password", Text, nullable=False, server_default=""),  # a reference to a secret, never one
)

next_hops = Table(
    "next_hops",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("domain", String(255), ForeignKey("domains.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("host", String(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("lmtp", Boolean, nullable=False, server_default="0"),  # host may then be the path of a socket
)

list_entries = Table(
    "list_entries",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("pattern", String(320), nullable=False),
    Column("author", String(128), nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("tenant", "kind", "pattern"),
)

recipients = Table(
    "recipients",
    metadata,
    Column("tenant", _Id, ForeignKey("tenants.id"), primary_key=True, autoincrement=False),
    Column("address", String(320), primary_key=True),  # store.mailboxes.key; `@domain` for all of a domain
    Column("added_at", BigInteger, nullable=False),
    Column("mailbox", String(320), nullable=False, server_default=""),  # whose bill it is on; empty: its own
)
"""The static lists of recipients."""

ldap_lookups = Table(
    "ldap_lookups",
    metadata,
    Column("tenant", _Id, ForeignKey("tenants.id"), primary_key=True, autoincrement=False),
    Column("url", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("filter", Text, nullable=False),
    Column("bind_dn", Text, nullable=False, server_default=""),
    Column("password", Text, nullable=False, server_default=""),  # a reference to a secret, never one
    Column("starttls", Boolean, nullable=False, server_default="1"),
    Column(
        "mailbox_attribute", String(64), nullable=False, server_default=""
    ),  # names the mailbox; empty: not asked for
)
"""The directory servers of tenants (core.tenant.LdapLookup)."""

verifications = Table(
    "verifications",
    metadata,
    Column("tenant", _Id, ForeignKey("tenants.id"), primary_key=True, autoincrement=False),
    Column("address", String(320), primary_key=True),  # `@domain`: of the domain's server, whether it accepts anything
    Column("result", String(16), nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # asked again from then on; a known one counts until its row goes
    Column("forget_at", BigInteger, nullable=False, index=True),
    Column("reply", Text, nullable=False, server_default=""),  # the server's
    Column("mailbox", String(320), nullable=False, server_default=""),  # by the directory's attribute; empty: its own
)
"""What next hops said about recipients: a cache that all workers share, whose known addresses outlive the server's outage."""

addresses = Table(
    "addresses",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("address", String(320), nullable=False, unique=True),
    sqlite_autoincrement=True,
)
"""The one erasable table of addresses, in normal form (core.address.normalise)."""
Index("ix_addresses_domain", domain_part(addresses.c.address))

messages = Table(
    "messages",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    Column("client_ip", String(45), nullable=False),
    Column("helo", String(255), nullable=False),
    Column("tls", String(64), nullable=False, server_default=""),
    Column("mail_from", _Id, ForeignKey("addresses.id"), nullable=False),
    Column("mail_from_raw", Text, nullable=False),  # as it came: the original envelope is delivered, case and all
    Column("options", Text, nullable=False, server_default="{}"),  # JSON of MailOptions
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("header_message_id", String(255), nullable=False, server_default=""),
    Column("header_from", String(320), nullable=False, server_default=""),
    Column("subject", Text, nullable=False, server_default=""),
    Column("findings", Text, nullable=False, server_default="{}"),  # JSON: symbols, auth results, attachments, links
    Column("blob", Boolean, nullable=False, server_default="0"),  # whether a body was stored under the message's id
    Column("erased_at", BigInteger),  # when what is personal in the row was taken out (store.privacy)
    Index("ix_messages_received_at", "received_at"),
    Index("ix_messages_mail_from", "mail_from", "received_at"),
    Index("ix_messages_header_message_id", "header_message_id"),
    Index("ix_messages_header_from", "header_from", "received_at"),
)
Index("ix_messages_header_from_domain", domain_part(messages.c.header_from), messages.c.received_at)
Index("ix_messages_blob", messages.c.id, sqlite_where=messages.c.blob, postgresql_where=messages.c.blob)

message_files = Table(
    "message_files",
    metadata,
    Column("message", String(26), ForeignKey("messages.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1, in the order of the findings
    Column("sha256", String(64), nullable=False),  # hexadecimal; empty: the file was not read
    Column("name", Text, nullable=False),
    Index("ix_message_files_sha256", "sha256", "message"),
    sqlite_with_rowid=False,  # rows lie by message, which is by time
)
"""The files in `messages.findings`, to be found by: written, changed and erased with them, by store.file_index alone."""

units = Table(
    "units",
    metadata,
    Column("id", String(32), primary_key=True),  # <message id>-<number>
    Column("message", String(26), ForeignKey("messages.id"), nullable=False, index=True),
    Column("tenant", _Id, ForeignKey("tenants.id"), nullable=False),
    Column("recipient", _Id, ForeignKey("addresses.id"), nullable=False),
    Column("recipient_raw", Text, nullable=False),  # as it came in RCPT
    Column("domain", String(255), nullable=False),
    Column("options", Text, nullable=False, server_default="{}"),  # JSON of RcptOptions
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("action", String(16), nullable=False),  # what the policy decided
    Column("score", Float, nullable=False, server_default="0"),
    Column("policy", String(64), nullable=False, server_default=""),
    Column("policy_hash", String(64), nullable=False, server_default=""),
    Column("explanation", Text, nullable=False, server_default=""),
    Column(
        "symbols", Text, nullable=False, server_default="[]"
    ),  # JSON: [[name, points], …] as this tenant scored them
    Column("found", Text, nullable=False, server_default="[]"),  # JSON: results of the checks that look with its eyes
    Column("headers", Text, nullable=False, server_default=""),  # the block we put on top when it is delivered
    Column("subject_tag", String(64), nullable=False, server_default=""),  # put before its Subject when it is delivered
    Column("holder", String(64), nullable=False, server_default=""),  # the worker instance, while forwarding
    Column("received_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("probe", Boolean, nullable=False, server_default="0"),  # of `mailguard probe`: never billed
    Column(
        "edits", Text, nullable=False, server_default="[]"
    ),  # JSON of core.edits: what is delivered is the body with them
    Column(
        "original_of", String(32), nullable=False, server_default=""
    ),  # it keeps the original of what this unit got stripped
    Column("erased_at", BigInteger),  # likewise
    Index("ix_units_recipient", "recipient", "received_at"),
    Index("ix_units_domain", "domain", "received_at"),
    Index("ix_units_tenant_state", "tenant", "state", "received_at"),
    Index("ix_units_state", "state", "changed_at"),
)
"""The ledger's units: accepted RCPTs whose DATA was completed, each in one state of core.events.State."""

events = Table(
    "events",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("unit", String(32), nullable=False, index=True),
    Column("tenant", _Id, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("from_state", String(16)),
    Column("to_state", String(16)),
    Column("reason", String(32), nullable=False),
    Column("actor", String(128), nullable=False, server_default=""),
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("detail", Text, nullable=False, server_default="{}"),  # JSON
    Index("ix_events_tenant_at", "tenant", "at"),
    sqlite_autoincrement=True,
)
"""MailEvents: append only. A row of kind `state` is written in the transaction that changes the unit's state."""

refusals = Table(
    "refusals",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("tenant", _Id),  # null: nobody's (unknown domain, or refused before RCPT)
    Column("reason", String(32), nullable=False),
    Column("code", Integer, nullable=False),
    Column("reply", Text, nullable=False),
    Column("client_ip", String(45), nullable=False, server_default=""),
    Column("helo", String(255), nullable=False, server_default=""),
    Column("mail_from", _Id, ForeignKey("addresses.id")),
    Column("recipient", _Id, ForeignKey("addresses.id")),
    Column("count", Integer, nullable=False, server_default="1"),
    Index("ix_refusals_tenant_at", "tenant", "at"),
    Index("ix_refusals_recipient", "recipient", "at"),
    Index("ix_refusals_mail_from", "mail_from", "at"),
    Index("ix_refusals_at", "at"),
    sqlite_autoincrement=True,
)
"""What was refused before its DATA was completed. One row each while slow; `count` > 1 without addresses when fast."""

queue = Table(
    "queue",
    metadata,
    Column("unit", String(32), ForeignKey("units.id"), primary_key=True),
    Column("message", String(26), nullable=False, index=True),
    Column("tenant", _Id, nullable=False),
    Column("domain", String(255), nullable=False),  # names the route
    Column("purpose", String(16), nullable=False),  # forward, release, dsn, report, rescan
    Column("queued_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("crashes", Integer, nullable=False, server_default="0"),  # leases that ran out without an outcome
    Column("last_reply", Text, nullable=False, server_default=""),
    Column("holder", String(64), nullable=False, server_default=""),
    Column("lease_until", BigInteger, nullable=False, server_default="0"),
    Column(
        "fence", BigInteger, nullable=False, server_default="0"
    ),  # grows with each claim; an old holder's writes miss
    Column("held", Boolean, nullable=False, server_default="0"),  # by an admin: never due until it is let go
    Column("delay_told", Boolean, nullable=False, server_default="0"),  # whether a delay notice was decided about
    Index("ix_queue_due_at", "due_at"),
    Index("ix_queue_tenant_due_at", "tenant", "due_at"),
    Index("ix_queue_domain", "domain", "due_at"),
)

"""A row while a unit is spooled or held. `due_at` says when it may be claimed; a claim moves it to the end of its lease."""

greylist = Table(
    "greylist",
    metadata,
    Column("key", String(64), primary_key=True),  # a hash: of who sends what to whom, or of a network
    Column("tenant", _Id, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("passes", Integer, nullable=False, server_default="0"),
    Index("ix_greylist_last_at", "last_at"),
)
"""What senders new to a tenant with greylisting have tried. Soft state: losing it only means that they wait once more."""

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
)
"""Who does scheduled work (`upkeep`), and which worker instances live (`worker:<instance>`)."""

billing_months = Table(
    "billing_months",
    metadata,
    Column("month", String(7), primary_key=True),  # YYYY-MM
    Column("ends_at", BigInteger, nullable=False),  # kept: the billing time zone may be set anew
    Column("closed_at", BigInteger, nullable=False),
    Column("watermark", BigInteger, nullable=False),
)
"""Closed months, without a gap. An event beyond `watermark`, the highest id that was committed, is of a later month."""

metered = Table(
    "metered",
    metadata,
    Column("month", String(7), primary_key=True),
    Column("tenant", _Id, primary_key=True, autoincrement=False),
    Column("counted", String(16), primary_key=True),  # billing.meter.COUNTED
    Column("units", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
)
"""Events up to `meta`'s `metered_up_to`, counted once for all. It follows from the events, and can be made anew from them."""

metered_recipients = Table(
    "metered_recipients",
    metadata,
    Column("month", String(7), primary_key=True),
    Column("tenant", _Id, primary_key=True, autoincrement=False),
    Column("recipient", _Id, ForeignKey("addresses.id"), primary_key=True, autoincrement=False),
    Column("units", BigInteger, nullable=False),  # delivered or released, each once
    Column("size", BigInteger, nullable=False),
    Column("first_unit", String(32), nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("mailbox", _Id, ForeignKey("addresses.id")),  # null until its month is closed: as the lists say now
)
"""The recipients that had mail delivered or released, likewise."""
