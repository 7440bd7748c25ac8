"""The terminal as a sink: every hostile string is escaped here, and nowhere else does the command line print.

Markup, highlighting and emoji codes of Rich are off, so that text is text; control and direction characters are taken out.
JSON is ASCII only, which leaves nothing to take out.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 10_000
"""Columns when the output is no terminal: nothing is wrapped or cut, so that grep and awk see whole lines."""

_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_BREAKS = frozenset("\t\n\v\f\r\x85\u2028\u2029")


def safe(text: str, *, limit: int = 0) -> str:
    """`text` as one harmless line: no C0, C1, bidi or other invisible characters; line breaks and tabs become spaces.

    With a `limit`, longer text is cut to that many characters, the last one an ellipsis.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(
            " " if c in _BREAKS else c for c in text if c in _BREAKS or unicodedata.category(c) not in _DROPPED
        )
    return text[: limit - 1] + "…" if limit and len(text) > limit else text


def say(text: str = "", *, style: str = "") -> None:
    """Print a line for people on standard output, escaped."""
    if style and _coloured(sys.stdout):
        _console().print(safe(text), style=style, soft_wrap=True)
    else:  # Rich takes 0.15 ms for a line to which it does nothing: most of what showing a mail took
        _write(f"{safe(text)}\n")


def complain(text: str) -> None:
    """Print an error on standard error, escaped line by line."""
    for line in text.splitlines() or [""]:
        _console(error=True).print(safe(line), style="red", soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value as JSON, one document, keys as they come."""
    _write(json.dumps(value, indent=2, ensure_ascii=True, default=str) + "\n")


def print_json_line(value: object) -> None:
    """Print a value as JSON on one line, for output of many documents."""
    _write(json.dumps(value, ensure_ascii=True, default=str, separators=(",", ":")) + "\n")


def print_line(line: bytes) -> None:
    """Write one line of a machine format whose octets (a path's) need not be UTF-8; its maker has escaped it."""
    print_raw(line + b"\n")


def print_raw(content: bytes) -> None:
    """Write bytes to standard output as they are: asked for with `--raw`, with the warning in its help."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_plain(line: str) -> None:
    """Write one line of a machine format (TSV, CSV) that its maker has escaped already."""
    _write(line + "\n")


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell with a style; plain strings do for the others."""

    text: str
    style: str = ""


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    *,
    title: str = "",
    right: Sequence[str] = (),
    empty: str = "nothing found",
) -> None:
    """Print a table, the columns named in `right` right-aligned, or the line `empty` when there are no rows."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=safe(title) or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in right else "left", no_wrap=heading in right, overflow="fold"
        )
    count = 0
    for row in rows:
        cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        table.add_row(*(Text(safe(cell.text), style=cell.style) for cell in cells))
        count += 1
    if not count:
        say(empty)
    elif sys.stdout.isatty():
        _console().print(table)
    else:
        with _console().capture() as captured:
            _console().print(table)
        _write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def print_facts(facts: Mapping[str, str]) -> None:
    """Print name and value pairs, the values aligned; empty values are left out."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if value:
            say(f"{name:<{width}}  {value}")


def _write(text: str) -> None:
    sys.stdout.write(text)


def _coloured(stream: TextIO) -> bool:
    """Whether a style may show. Whether it does, Rich knows."""
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE"))


def _console(*, error: bool = False) -> Console:
    return _console_on(sys.stderr if error else sys.stdout)


@cache
def _console_on(stream: TextIO) -> Console:
    from rich.console import Console

    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width, legacy_windows=False)
