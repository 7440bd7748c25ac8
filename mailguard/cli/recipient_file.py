"""Reading a CSV file of recipients, as `mailguard recipient import` takes it."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailguard.core.errors import ConfigError, Problem

HEADINGS = frozenset(
    {"address", "addresses", "e-mail", "email", "mail", "recipient", "e-mail address", "email address"}
)
"""Names of the column that holds the addresses, in lower case."""
MAILBOX_HEADINGS = frozenset({"mailbox", "billed as"})
"""Names of the column that holds the mailboxes that they are billed as."""
FILE_LIMIT = 100_000_000
"""Octets of a file to import."""


@dataclass(frozen=True, slots=True)
class Line:
    """A recipient, and where in the file it stands. `mailbox`: whose bill it is on; empty: its own; None: it is not said."""

    where: str
    address: str
    mailbox: str | None = None


def lines(text: str, *, where: str) -> Iterator[Line]:
    """The recipients of a CSV file. Separated by comma, semicolon or tab; a heading is optional.

    Without one the addresses stand in the first column, and an address in the second is the mailbox.
    """
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    address, mailbox, headed = 0, 1, False
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values) or values[0].startswith("#"):
                continue
            if reader.line_num == 1 and not any("@" in value for value in values):
                headed = True
                address, mailbox = _column(values, HEADINGS, default=0), _column(values, MAILBOX_HEADINGS, default=-1)
                continue
            named = _cell(values, mailbox) if mailbox >= 0 else None
            if not headed and named is not None and "@" not in named:
                named = None  # a name or the like, as lists have them
            yield Line(f"{where}:{reader.line_num}", _cell(values, address), named)
    except csv.Error as error:
        raise ConfigError([Problem(f"{where}:{reader.line_num}", f"is not CSV: {error}")]) from error


def read(file: str) -> str:
    """The text of a file, or of standard input for `-`. Raises ConfigError."""
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
            raw = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError([Problem(file, error.strerror or str(error))]) from error
    if len(raw) > FILE_LIMIT:
        raise ConfigError([Problem(file, f"is longer than {FILE_LIMIT} octets")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(file, f"is not UTF-8: {error.reason} at octet {error.start}")]) from error


def _column(values: Sequence[str], names: frozenset[str], *, default: int) -> int:
    return next((at for at, value in enumerate(values) if value.lower() in names), default)


def _cell(values: Sequence[str], column: int) -> str:
    """A cell without what `export` puts before what a spreadsheet would take for a formula."""
    cell = values[column] if column < len(values) else ""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in "=+-@" else cell
