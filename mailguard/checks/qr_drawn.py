"""Codes that are no pictures: drawn with block characters in a text, or with the coloured cells of a table."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailguard.message.colours import colour_of
from mailguard.message.message import Message
from mailguard.message.pages import PageKind

SIDE = 21
"""Modules of the smallest QR code's side (ISO/IEC 18004)."""
WIDTH, HEIGHT = 400, 400
"""Cells across and down that a drawing has at most."""
DRAWINGS = 3
"""Drawings of a mail that are looked at."""
LEAST_BLOCKS = 60
"""Block characters that a text must have to be looked at line by line."""
LEAST_CELLS = 100
"""Coloured elements that HTML must have for its tables to be looked at."""

DARK, LIGHT = 0, 255
_QUADRANTS = {
    "█": 0b1111, "▀": 0b1100, "▄": 0b0011, "▌": 0b1010, "▐": 0b0101, "▘": 0b1000, "▝": 0b0100, "▖": 0b0010, "▗": 0b0001,
    "▛": 0b1110, "▜": 0b1101, "▙": 0b1011, "▟": 0b0111, "▚": 0b1001, "▞": 0b0110, "■": 0b1111, "▓": 0b1111,
}  # fmt: skip
"""Upper left, upper right, lower left, lower right."""
_BLOCKS = "█▀▄⬛■▓"
_WRITTEN = ("&#96", "&#x25", "&#X25")
"""How the same characters begin as numeric references (U+2580 to U+25FF)."""
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/pre)\b[^<>]*+>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*+>")
_TABLE = re.compile(r"<(/?)(table|tr|td|th)\b([^<>]*+)>", re.IGNORECASE)
_COLOUR = re.compile(
    r"(?:bgcolor\s*=\s*|background(?:-color)?\s*:\s*)[\"']?\s*([#\w]+(?:\([\d\s,]{5,15}\))?)", re.IGNORECASE
)
_SPAN = re.compile(r"colspan\s*=\s*[\"']?(\d{1,3})", re.IGNORECASE)
_COLOURED = re.compile(r"bgcolor|background", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Cells row by row, DARK or LIGHT, `width` in a row, each `across` by `down` pixels in proportion."""

    cells: bytes
    width: int
    across: int
    down: int
    name: str


def drawings(message: Message) -> list[Drawing]:
    """What in a mail may be the drawing of a code; nearly always nothing, and then it cost a few searches."""
    found: list[Drawing] = []
    sources = [message.html] if message.html else []
    sources += [page.source for page in message.pages if page.kind is PageKind.HTML]
    if _has_blocks(message.plain):
        found += _in_text(message.plain)
    for source in sources:
        if _has_blocks(source) or sum(map(source.count, _WRITTEN)) >= LEAST_BLOCKS:
            found += _in_text(_lines_of(source))
        if source.count("<td") + source.count("<TD") >= LEAST_CELLS and len(_COLOURED.findall(source)) >= LEAST_CELLS:
            found += _in_tables(source)
    return found[:DRAWINGS]


def _has_blocks(text: str) -> bool:
    return not text.isascii() and sum(map(text.count, _BLOCKS)) >= LEAST_BLOCKS


def _lines_of(source: str) -> str:
    """The lines that HTML shows, blanks kept."""
    if "<pre" not in source.lower():
        source = source.replace("\r", "").replace("\n", "")
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", source)))


def _in_text(text: str) -> Iterator[Drawing]:
    rows: list[str] = []
    for line in [*text.splitlines(), ""]:
        if sum(map(line.count, _BLOCKS)) >= 5:
            rows.append(line.rstrip("\r\n")[:WIDTH])
            continue
        if len(rows) >= (SIDE + 1) // 2:
            yield _drawn(rows[: HEIGHT // 2])
        rows = []


def _drawn(rows: Sequence[str]) -> Drawing:
    """Lines of block characters: each stands for two cells by two, half as broad as high; squares are two letters broad."""
    lines = [row.replace("⬛", "██").replace("⬜", "  ").replace("■", "██") for row in rows]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    lines = [line[indent:] for line in lines]
    width = max(map(len, lines))
    out = bytearray()
    for line in lines:
        quadrants = [_QUADRANTS.get(letter, 0) for letter in line.ljust(width)]
        for left, right in ((8, 4), (2, 1)):
            for quadrant in quadrants:
                out.append(DARK if quadrant & left else LIGHT)
                out.append(DARK if quadrant & right else LIGHT)
    return Drawing(bytes(out), 2 * width, 2, 4, "letters of the text")


def _in_tables(source: str) -> Iterator[Drawing]:
    """Tables of which each cell is a module: at least SIDE rows of as many cells."""
    open_tables: list[list[bytearray]] = []
    ground: int = LIGHT
    for match in _TABLE.finditer(source):
        closing, name, attributes = match[1], match[2].lower(), match[3]
        if name == "table":
            if not closing:
                open_tables.append([])
            elif open_tables:
                yield from _grid(open_tables.pop())
        elif not open_tables or closing:
            continue
        elif name == "tr":
            open_tables[-1].append(bytearray())
            ground = _shade(attributes, LIGHT)
        elif open_tables[-1] and len(open_tables[-1]) <= HEIGHT:
            span = _SPAN.search(attributes)
            cells = open_tables[-1][-1]
            times = min(int(span[1]) if span else 1, WIDTH - len(cells))
            cells += bytes([_shade(attributes, ground)]) * times
    for rows in open_tables:
        yield from _grid(rows)


def _shade(attributes: str, otherwise: int) -> int:
    named = _COLOUR.search(attributes)
    colour = colour_of(named[1]) if named else None
    if colour is None:
        return otherwise
    red, green, blue = colour
    return DARK if 299 * red + 587 * green + 114 * blue < 128_000 else LIGHT


def _grid(rows: list[bytearray]) -> Iterator[Drawing]:
    rows = [row for row in rows[:HEIGHT] if len(row) >= SIDE]
    if len(rows) < SIDE:
        return
    width = max(map(len, rows))
    cells = b"".join(bytes(row).ljust(width, bytes([LIGHT])) for row in rows)
    if DARK in cells and LIGHT in cells:
        yield Drawing(cells, width, 4, 4, "cells of a table")
