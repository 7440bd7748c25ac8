"""The hash-chained audit log and its erasable subjects."""

from __future__ import annotations

# ruff: noqa: S608 -- what is put into the statements are constants of this file
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
GENESIS = "0" * 64


def upgrade() -> None:
    """The tables of store/schema_audit.py, the triggers that keep them append-only, and when mail was erased."""
    op.create_table(
        "audit",
        sa.Column("sequence", ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("tenant", ID, nullable=True),
        sa.Column("subject", sa.String(length=128), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.Column("commitments", sa.Text(), server_default="[]", nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_hash")),
    )
    op.create_index("ix_audit_tenant", "audit", ["tenant", "sequence"])
    op.create_index("ix_audit_subject", "audit", ["subject"])
    op.create_table(
        "audit_subjects",
        sa.Column("entry", ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["entry"], ["audit.sequence"], name=op.f("fk_audit_subjects_entry")),
        sa.PrimaryKeyConstraint("entry", "number", name=op.f("pk_audit_subjects")),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": GENESIS}])
    op.add_column("tenants", sa.Column("keep_days", sa.Float(), nullable=True))
    op.add_column("tenants", sa.Column("erased_until", sa.BigInteger(), server_default="0", nullable=False))
    for table in ("messages", "units"):
        op.add_column(table, sa.Column("erased_at", sa.BigInteger(), nullable=True))
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)


FOLLOWS = "the audit log is append-only: an entry follows the last one"
STAYS = "the audit log is append-only: entries are neither changed nor removed"
ERASES = "the audit log is append-only: a text may only be erased"
HEAD = "the audit log is append-only: its head only moves on"

# An entry must follow the last one, which also stops INSERT OR REPLACE: that deletes without asking the delete trigger.
SQLITE = (
    f"""
    CREATE TRIGGER audit_follows BEFORE INSERT ON audit
    WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
      OR NEW.previous <> coalesce((SELECT hash FROM audit ORDER BY sequence DESC LIMIT 1), '{GENESIS}')
    BEGIN SELECT RAISE(ABORT, '{FOLLOWS}'); END
    """,
    f"CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, '{STAYS}'); END",
    f"CREATE TRIGGER audit_is_not_removed BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, '{STAYS}'); END",
    f"""
    CREATE TRIGGER audit_subjects_are_added_once BEFORE INSERT ON audit_subjects
    WHEN EXISTS (SELECT 1 FROM audit_subjects WHERE entry = NEW.entry AND number = NEW.number)
    BEGIN SELECT RAISE(ABORT, '{ERASES}'); END
    """,
    f"""
    CREATE TRIGGER audit_subjects_are_erased BEFORE UPDATE ON audit_subjects
    WHEN NEW.entry <> OLD.entry OR NEW.number <> OLD.number OR NEW.role <> OLD.role OR NEW.text IS NOT NULL
      OR NEW.salt IS NOT NULL OR NEW.erased_at IS NULL OR OLD.erased_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, '{ERASES}'); END
    """,
    f"CREATE TRIGGER audit_subjects_stay BEFORE DELETE ON audit_subjects BEGIN SELECT RAISE(ABORT, '{ERASES}'); END",
    f"""
    CREATE TRIGGER audit_head_moves_on BEFORE UPDATE ON audit_head
    WHEN NEW.id <> OLD.id OR NEW.sequence <= OLD.sequence
    BEGIN SELECT RAISE(ABORT, '{HEAD}'); END
    """,
    f"""
    CREATE TRIGGER audit_head_is_one BEFORE INSERT ON audit_head
    WHEN NEW.sequence <> 0 OR EXISTS (SELECT 1 FROM audit_head)
    BEGIN SELECT RAISE(ABORT, '{HEAD}'); END
    """,
    f"CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head BEGIN SELECT RAISE(ABORT, '{HEAD}'); END",
)

POSTGRESQL = (
    f"""
    CREATE FUNCTION audit_follows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
        OR NEW.previous <> coalesce((SELECT hash FROM audit ORDER BY sequence DESC LIMIT 1), '{GENESIS}') THEN
        RAISE EXCEPTION '{FOLLOWS}' USING ERRCODE = 'integrity_constraint_violation';
      END IF;
      RETURN NEW;
    END $$
    """,
    f"""
    CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '{STAYS}' USING ERRCODE = 'integrity_constraint_violation'; END $$
    """,
    f"""
    CREATE FUNCTION audit_subjects_are_erased() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.entry <> OLD.entry OR NEW.number <> OLD.number OR NEW.role <> OLD.role OR NEW.text IS NOT NULL
        OR NEW.salt IS NOT NULL OR NEW.erased_at IS NULL OR OLD.erased_at IS NOT NULL THEN
        RAISE EXCEPTION '{ERASES}' USING ERRCODE = 'integrity_constraint_violation';
      END IF;
      RETURN NEW;
    END $$
    """,
    f"""
    CREATE FUNCTION audit_head_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.id <> OLD.id OR NEW.sequence <= OLD.sequence THEN
        RAISE EXCEPTION '{HEAD}' USING ERRCODE = 'integrity_constraint_violation';
      END IF;
      RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER audit_follows BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_follows()",
    "CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stays()",
    "CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()",
    "CREATE TRIGGER audit_subjects_are_erased BEFORE UPDATE ON audit_subjects "
    "FOR EACH ROW EXECUTE FUNCTION audit_subjects_are_erased()",
    "CREATE TRIGGER audit_subjects_stay BEFORE DELETE ON audit_subjects FOR EACH ROW EXECUTE FUNCTION audit_stays()",
    "CREATE TRIGGER audit_subjects_are_not_emptied BEFORE TRUNCATE ON audit_subjects "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()",
    "CREATE TRIGGER audit_head_moves_on BEFORE UPDATE ON audit_head "
    "FOR EACH ROW EXECUTE FUNCTION audit_head_moves_on()",
    "CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_stays()",
    "CREATE TRIGGER audit_head_is_not_emptied BEFORE TRUNCATE ON audit_head "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()",
)
