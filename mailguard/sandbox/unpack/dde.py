"""Links by DDE, which start a program when a document is opened: their form in fields, cells, links and tables of text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailguard.sandbox.unpack.targets import PROGRAMS
from mailguard.sandbox.unpack.work import File, Work

_FIELD = re.compile(r"\bDDE(?:AUTO)?\b\s*(.{0,2000})", re.IGNORECASE | re.DOTALL)
_QUOTE = re.compile(r"^\s*QUOTE((?:\s+\d{1,4})+)\s*$", re.IGNORECASE)
_CELL = re.compile(
    r"(?:^|[,;\t\"\n(@=+-])\s*[=+@-][^,;\t\n|]{0,300}?['\"]?\b([A-Za-z][\w.\\:-]{0,120})['\"]?\s?\|\s?(['\"]?[^!\n]{1,500}!)",
    re.MULTILINE,
)
FIELD_LIMIT = 4_000
"""Characters of a field that are read."""


def report_dde(file: File, work: Work, program: str, topic: str) -> None:
    """Report a link to a program: one that runs what it is told is another matter than one that gives prices."""
    command = f"{program} {topic}".strip()
    # Names that nobody has as a service of DDE are programs to be started: all but Excel and the like are.
    if PROGRAMS.search(command) or re.search(r"\.(?:exe|com|bat|scr)\b|https?:", command, re.IGNORECASE):
        work.found(file, "OFFICE_DDE_RUNS", command)
    else:
        work.found(file, "OFFICE_DDE", command)


def report_field(file: File, work: Work, code: str) -> bool:
    """Report a field of Word if it is a DDE one. Whether it is."""
    match = _FIELD.match(code.strip()[:FIELD_LIMIT])
    if match:
        report_dde(file, work, "", " ".join(match[1].split()))
    return bool(match)


def fields(tokens: Iterable[tuple[str, str]]) -> Iterable[str]:
    """The codes of fields, from tokens: ("begin" | "separate" | "end", "") and ("code", text); fields may lie in fields.

    A QUOTE field of numbers, with which codes are hidden, becomes its letters in the field around it.
    """
    open_: list[list[str]] = []
    shown: list[bool] = []
    for kind, text in tokens:
        if kind == "begin":
            open_.append([])
            shown.append(False)
        elif not open_:
            if kind == "code":
                yield text
        elif kind == "code":
            if not shown[-1] or len(open_) > 1:
                open_[-1].append(text)
        elif kind == "separate":
            shown[-1] = True
        else:
            code = "".join(open_.pop())
            shown.pop()
            if (quote := _QUOTE.match(code)) and open_:
                open_[-1].append("".join(chr(int(number)) for number in quote[1].split()[:500]))
                continue
            yield code
            if open_ and code.lstrip()[:3].upper() not in ("DDE",):
                open_[-1].append(" ")
    for rest in open_:
        yield "".join(rest)


def report_cells(file: File, work: Work, text: str) -> None:
    """Report formulas of the form `=program|'topic'!item` in a table of text (CSV, SYLK)."""
    for count, match in enumerate(_CELL.finditer(text)):
        report_dde(file, work, match[1], match[2].rstrip("!"))
        if count > 10:
            return
