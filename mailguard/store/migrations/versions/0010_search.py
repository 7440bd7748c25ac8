"""What mail is looked for by: its files, its author and author's domain, its recipient's domain."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

FILL_SECONDS = 20.0
"""How long kept findings are read at most, the newest first: on SQLite mail waits meanwhile."""
_BATCH = 2_000
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_DOMAIN = "substr({0}, length(rtrim({0}, replace({0}, '@', ''))) + 1)"


def upgrade() -> None:
    """The table `message_files`, five indexes, and in `meta` from which time on files are in that table."""
    op.create_table(
        "message_files",
        sa.Column("message", sa.String(length=26), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_message_files_message")),
        sa.PrimaryKeyConstraint("message", "number", name=op.f("pk_message_files")),
        sqlite_with_rowid=False,
    )
    _fill(op.get_bind())
    op.create_index("ix_message_files_sha256", "message_files", ["sha256", "message"])
    op.create_index("ix_messages_header_from", "messages", ["header_from", "received_at"])
    author = sa.text(_DOMAIN.format("header_from"))
    op.create_index("ix_messages_header_from_domain", "messages", [author, "received_at"])
    op.create_index("ix_addresses_domain", "addresses", [sa.text(_DOMAIN.format("address"))])
    op.create_index("ix_units_domain", "units", ["domain", "received_at"])
    op.create_index("ix_refusals_mail_from", "refusals", ["mail_from", "at"])


def _fill(connection: sa.Connection) -> None:
    """Put the files of kept findings into the table; what is too old for the time there is stays to be read there."""
    began = time.monotonic()
    at = time.time_ns() // 1_000_000
    files = sa.table("message_files", sa.column("message"), sa.column("number"), sa.column("sha256"), sa.column("name"))
    oldest: int | None = None
    reached_the_first = True
    for rows in _newest_first(connection):
        found = [file for message, findings, _ in rows for file in _files_of(message, findings)]
        if found:
            op.bulk_insert(files, found)
        oldest = rows[-1][2] if oldest is None else min(oldest, rows[-1][2])
        if time.monotonic() - began > FILL_SECONDS:
            reached_the_first = False
            break
    if oldest is None:
        return  # a new database
    meta = sa.table("meta", sa.column("key", sa.String), sa.column("value", sa.Text))
    values = {"files_indexed_from": "0" if reached_the_first else str(oldest + 1), "files_indexed_at": str(at)}
    op.bulk_insert(meta, [{"key": key, "value": value} for key, value in values.items()])


def _newest_first(connection: sa.Connection) -> Iterator[list[tuple[str, str | None, int]]]:
    """Pages of messages: id, the findings if there is a file in them, and when it was received."""
    messages = sa.table("messages", sa.column("id"), sa.column("received_at"), sa.column("findings", sa.Text))
    with_files = sa.case((messages.c.findings.contains('"attachments"'), messages.c.findings))
    query = sa.select(messages.c.id, with_files, messages.c.received_at)
    place = sa.tuple_(messages.c.received_at, messages.c.id)
    query = query.order_by(messages.c.received_at.desc(), messages.c.id.desc()).limit(_BATCH)
    rows = connection.execute(query).all()
    while rows:
        yield [(row[0], row[1], row[2]) for row in rows]
        rows = connection.execute(query.where(place < sa.tuple_(rows[-1][2], rows[-1][0]))).all()


def _files_of(message: str, findings: str | None) -> Iterator[dict[str, object]]:
    for number, file in enumerate(json.loads(findings).get("attachments", ()) if findings else (), 1):
        name = _UNSTORABLE.sub("\ufffd", file.get("name", ""))
        yield {"message": message, "number": number, "sha256": file.get("sha256", "")[:64], "name": name}
