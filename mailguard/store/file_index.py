"""The files of each message in `message_files`, kept in step with `messages.findings`: added, replaced and erased with them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete

from mailguard.core.verdict import Findings
from mailguard.store.schema import message_files
from mailguard.store.statements import inserting, run_many
from mailguard.store.texts import clean

_ADD = inserting(message_files)


def add_files_in(connection: Connection, message: str, findings: Findings) -> None:
    """Add the files of a message that has none here yet. Only for works of `Database.write`."""
    rows = [
        {"message": message, "number": number, "sha256": file.sha256[:64], "name": clean(file.name)}
        for number, file in enumerate(findings.attachments, 1)
    ]
    if rows:
        run_many(connection, _ADD, rows)


def replace_files_in(connection: Connection, message: str, findings: Findings) -> None:
    """Put a message's files in the place of those it had here. Only for works of `Database.write`."""
    forget_files_in(connection, [message])
    add_files_in(connection, message, findings)


def forget_files_in(connection: Connection, messages: Sequence[str]) -> None:
    """Remove the files of messages whose findings say nothing of them any more."""
    connection.execute(delete(message_files).where(message_files.c.message.in_(messages)))
