"""The first tables, and the `system` tenant."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "addresses",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_addresses")),
        sa.UniqueConstraint("address", name=op.f("uq_addresses_address")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "events",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("from_state", sa.String(length=16), nullable=True),
        sa.Column("to_state", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=128), server_default="", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_tenant_at", "events", ["tenant", "at"])
    op.create_index(op.f("ix_events_unit"), "events", ["unit"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), server_default="default", nullable=False),
        sa.Column("plan", sa.String(length=64), server_default="", nullable=False),
        sa.Column("soft_bounce", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("greylist", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("verification", sa.String(length=16), server_default="none", nullable=False),
        sa.Column("separators", sa.String(length=8), server_default="+", nullable=False),
        sa.Column("queue_days", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "domains",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("verification", sa.String(length=16), nullable=True),
        sa.Column("alias_of", sa.String(length=255), nullable=True),
        sa.Column("rewrite", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("tls", sa.String(length=16), server_default="", nullable=False),
        sa.Column("client_certificate", sa.Text(), server_default="", nullable=False),
        sa.Column("auth_username", sa.String(length=255), server_default="", nullable=False),
        sa.Column("auth_password", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["alias_of"], ["domains.name"], name=op.f("fk_domains_alias_of")),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_domains_tenant")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_domains")),
    )
    op.create_index(op.f("ix_domains_tenant"), "domains", ["tenant"])
    op.create_table(
        "list_entries",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("pattern", sa.String(length=320), nullable=False),
        sa.Column("author", sa.String(length=128), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_list_entries_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_entries")),
        sa.UniqueConstraint("tenant", "kind", "pattern", name=op.f("uq_list_entries_tenant_kind_pattern")),
    )
    op.create_table(
        "recipients",
        sa.Column("tenant", ID, autoincrement=False, nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_recipients_tenant")),
        sa.PrimaryKeyConstraint("tenant", "address", name=op.f("pk_recipients")),
    )
    op.create_table(
        "ldap_lookups",
        sa.Column("tenant", ID, autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("bind_dn", sa.Text(), server_default="", nullable=False),
        sa.Column("password", sa.Text(), server_default="", nullable=False),
        sa.Column("starttls", sa.Boolean(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_ldap_lookups_tenant")),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_ldap_lookups")),
    )
    op.create_table(
        "verifications",
        sa.Column("tenant", ID, autoincrement=False, nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("forget_at", sa.BigInteger(), nullable=False),
        sa.Column("reply", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_verifications_tenant")),
        sa.PrimaryKeyConstraint("tenant", "address", name=op.f("pk_verifications")),
    )
    op.create_index(op.f("ix_verifications_forget_at"), "verifications", ["forget_at"])
    op.create_table(
        "messages",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("client_ip", sa.String(length=45), nullable=False),
        sa.Column("helo", sa.String(length=255), nullable=False),
        sa.Column("tls", sa.String(length=64), server_default="", nullable=False),
        sa.Column("mail_from", ID, nullable=False),
        sa.Column("mail_from_raw", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), server_default="{}", nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("header_message_id", sa.String(length=255), server_default="", nullable=False),
        sa.Column("header_from", sa.String(length=320), server_default="", nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("findings", sa.Text(), server_default="{}", nullable=False),
        sa.Column("blob", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["mail_from"], ["addresses.id"], name=op.f("fk_messages_mail_from")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index(
        "ix_messages_blob", "messages", ["id"], sqlite_where=sa.text("blob = 1"), postgresql_where=sa.text("blob")
    )
    op.create_index("ix_messages_header_message_id", "messages", ["header_message_id"])
    op.create_index("ix_messages_mail_from", "messages", ["mail_from", "received_at"])
    op.create_index("ix_messages_received_at", "messages", ["received_at"])
    op.create_table(
        "refusals",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("tenant", ID, nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("client_ip", sa.String(length=45), server_default="", nullable=False),
        sa.Column("helo", sa.String(length=255), server_default="", nullable=False),
        sa.Column("mail_from", ID, nullable=True),
        sa.Column("recipient", ID, nullable=True),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["mail_from"], ["addresses.id"], name=op.f("fk_refusals_mail_from")),
        sa.ForeignKeyConstraint(["recipient"], ["addresses.id"], name=op.f("fk_refusals_recipient")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusals")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_refusals_at", "refusals", ["at"])
    op.create_index("ix_refusals_recipient", "refusals", ["recipient", "at"])
    op.create_index("ix_refusals_tenant_at", "refusals", ["tenant", "at"])
    op.create_table(
        "next_hops",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("lmtp", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_next_hops_domain"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_next_hops")),
    )
    op.create_index(op.f("ix_next_hops_domain"), "next_hops", ["domain"])
    op.create_table(
        "units",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(length=26), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("recipient", ID, nullable=False),
        sa.Column("recipient_raw", sa.Text(), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("options", sa.Text(), server_default="{}", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Float(), server_default="0", nullable=False),
        sa.Column("policy", sa.String(length=64), server_default="", nullable=False),
        sa.Column("policy_hash", sa.String(length=64), server_default="", nullable=False),
        sa.Column("explanation", sa.Text(), server_default="", nullable=False),
        sa.Column("symbols", sa.Text(), server_default="[]", nullable=False),
        sa.Column("headers", sa.Text(), server_default="", nullable=False),
        sa.Column("subject_tag", sa.String(length=64), server_default="", nullable=False),
        sa.Column("holder", sa.String(length=64), server_default="", nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_units_message")),
        sa.ForeignKeyConstraint(["recipient"], ["addresses.id"], name=op.f("fk_units_recipient")),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_units_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_units")),
    )
    op.create_index(op.f("ix_units_message"), "units", ["message"])
    op.create_index("ix_units_recipient", "units", ["recipient", "received_at"])
    op.create_index("ix_units_state", "units", ["state", "changed_at"])
    op.create_index("ix_units_tenant_state", "units", ["tenant", "state", "received_at"])
    op.create_table(
        "queue",
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(length=26), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_reply", sa.Text(), server_default="", nullable=False),
        sa.Column("holder", sa.String(length=64), server_default="", nullable=False),
        sa.Column("lease_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("delay_told", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["unit"], ["units.id"], name=op.f("fk_queue_unit")),
        sa.PrimaryKeyConstraint("unit", name=op.f("pk_queue")),
    )
    op.create_index("ix_queue_domain", "queue", ["domain", "due_at"])
    op.create_index(op.f("ix_queue_message"), "queue", ["message"])
    op.create_index("ix_queue_tenant_due_at", "queue", ["tenant", "due_at"])
    op.create_table(
        "greylist",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("passes", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_greylist")),
    )
    op.create_index("ix_greylist_last_at", "greylist", ["last_at"])
    tenants = sa.table("tenants", sa.column("name"), sa.column("created_at"))
    # On the sequence, so that PostgreSQL's next one is 2: core.tenant.SYSTEM_TENANT is 1.
    op.execute(tenants.insert().values(name="system", created_at=time.time_ns() // 1_000_000))
    meta = sa.table("meta", sa.column("key"), sa.column("value"))
    op.execute(meta.insert().values(key="directory_version", value="1"))
