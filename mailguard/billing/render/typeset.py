"""Sets a template with typst. Data goes in as one JSON value and is shown as text: none of it can be markup."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from importlib.resources import files

from mailguard.billing.render.fonts import Fonts
from mailguard.billing.render.text import plain
from mailguard.core.errors import ConfigError, Problem

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]
"""JSON."""

LIMIT = 300
"""Characters of a text that are shown; the rest is cut off, with an ellipsis."""

_LEFT_TO_RIGHT, _RIGHT_TO_LEFT, _ISOLATE_ENDS = "\u2066", "\u2067", "\u2069"
_LONG = re.compile(r"\S{40,}")
_PIECE = 20


def printable(text: str, *, limit: int = LIMIT) -> str:
    """`text` as one line for a page (`plain`), cut to `limit` characters.

    Words of 40 characters and more can be broken where a line ends. Text that has right-to-left
    letters runs in the direction of its first letter, apart from what stands around it (UAX #9, isolates).
    """
    line = plain(text, limit=limit)
    return _isolated(_LONG.sub(lambda word: "\u200b".join(_pieces(word[0])), line))


def typeset(
    template: str, data: Mapping[str, Value], *, package: str, at: date, fonts: Fonts, archival: bool = False
) -> bytes:
    """The PDF of `template`, a file of `package`, with `data` as `sys.inputs.data`; dated `at`.

    The same input gives the same bytes, as long as typst and the fonts are the same. `archival`: as PDF/A-2u. Raises
    ConfigError when that cannot be, since something has no glyph.
    """
    import typst

    document = {**data, "families": list(fonts.families)}
    try:
        return typst.compile(
            files(package).joinpath(template).read_bytes(),
            font_paths=fonts.loaded,
            ignore_system_fonts=True,
            sys_inputs={"data": json.dumps(document, ensure_ascii=True, sort_keys=True)},
            timestamp=datetime.combine(at, time(), UTC),
            pdf_standards=["a-2u"] if archival else [],
            format="pdf",
        )
    except typst.TypstError as error:
        if not archival or "could not be displayed" not in str(error):
            raise
        raise ConfigError([Problem("PDF", f"{error}; install a font that has it, or write it otherwise")]) from error


def drawable(data: Mapping[str, Value], fonts: Fonts) -> dict[str, Value]:
    """`data` with U+FFFD for each character that no font can draw."""

    def value(item: Value) -> Value:
        if isinstance(item, str):
            return fonts.drawable(item)
        if isinstance(item, list):
            return [value(one) for one in item]
        return {name: value(one) for name, one in item.items()} if isinstance(item, dict) else item

    return {name: value(item) for name, item in data.items()}


def _isolated(line: str) -> str:
    if line.isascii():
        return line
    strong = [kind for kind in map(unicodedata.bidirectional, line) if kind in ("L", "R", "AL")]
    if not any(kind != "L" for kind in strong):
        return line
    return f"{_LEFT_TO_RIGHT if strong[0] == 'L' else _RIGHT_TO_LEFT}{line}{_ISOLATE_ENDS}"


def _pieces(word: str) -> list[str]:
    """A long word in pieces, none of which begins with a mark that belongs to the letter before."""
    pieces = [word[:_PIECE]]
    for start in range(_PIECE, len(word), _PIECE):
        piece = word[start : start + _PIECE]
        while piece and unicodedata.category(piece[0])[0] == "M":
            pieces[-1] += piece[0]
            piece = piece[1:]
        if piece:
            pieces.append(piece)
    return pieces
