"""The text of VBA macros in an OLE file: modules found by what they look like, whatever directory or names a file gives them.

MS-OVBA §2.4.1 (compression); a module's text begins with `Attribute VB_Name`, which compressed is always the same octets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import olefile

TEXT_LIMIT = 2 * 1024 * 1024
"""Octets of macro text that are read in all: the longest honest projects have some 1 MiB."""
STREAM_LIMIT = 8 * 1024 * 1024
"""Octets of a stream that are looked at."""
STREAMS = 500
"""Streams that are looked at."""

# A container's signature (01), its first chunk's header, its first flags (none), and the first eight letters: `Attribut`,
# then again flags of which the first letters are told by copies. The header may be anything of a compressed chunk.
_MODULE = re.compile(rb"\x01.(?:[\xb0-\xbf]\x00|\x3f)(?i:Attribut)", re.DOTALL)
_OFFSET = re.compile(rb"\x31\x00\x04\x00\x00\x00(....)", re.DOTALL)
_IDENTIFIER = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{3,63}")


@dataclass(frozen=True, slots=True)
class Project:
    """What macros an OLE file has. `texts`: of each module (stream, source); `compiled`: names that the compiled macros use."""

    texts: tuple[tuple[str, str], ...]
    compiled: frozenset[str] = frozenset()
    """In lower case."""
    forms: str = ""
    """Texts of the controls of forms, where macros keep what they do not want to be seen."""
    is_there: bool = False
    """Whether the file has a project of macros at all; it may be without text."""


def decompress(raw: bytes, limit: int = TEXT_LIMIT) -> bytes:
    """A compressed container of MS-OVBA §2.4.1.3, as far as it is whole. ValueError when `raw` does not begin with one."""
    return _container(raw, 0, limit)[0]


def _container(raw: bytes, start: int, limit: int) -> tuple[bytes, int]:
    """What the container at `start` holds, and where what was read of it ends."""
    if not raw.startswith(b"\x01", start):
        raise ValueError("no compressed container")
    out = bytearray()
    at = start + 1
    while at + 2 < len(raw) and len(out) < limit:
        header = int.from_bytes(raw[at : at + 2], "little")
        if header >> 12 & 7 != 3:
            break
        end = min(len(raw), at + (header & 0x0FFF) + 3)
        if header & 0x8000:
            _chunk(raw, at + 2, end, out)
        else:
            out += raw[at + 2 : min(end, at + 2 + 4096)]
        at = end
    return bytes(out[:limit]), min(at, len(raw))


def _chunk(raw: bytes, at: int, end: int, out: bytearray) -> None:
    start = len(out)
    while at < end:
        flags = raw[at]
        at += 1
        if not flags:
            out += raw[at : min(at + 8, end)]
            at += 8
            continue
        for bit in range(8):
            if at >= end:
                return
            if not flags >> bit & 1:
                out.append(raw[at])
                at += 1
                continue
            if at + 2 > end:
                return
            token = raw[at] | raw[at + 1] << 8
            at += 2
            done = len(out) - start
            bits = max((done - 1).bit_length(), 4)
            length = (token & (0xFFFF >> bits)) + 3
            offset = (token >> (16 - bits)) + 1
            if offset > done or done + length > 8192:
                return
            piece = out[-offset:] if offset < length else out[len(out) - offset : len(out) - offset + length]
            out += (piece * (length // len(piece) + 1))[:length]


def modules(raw: bytes) -> Iterator[bytes]:
    """The texts of the modules in a stream, or in any octets."""
    left = 8 * len(raw) + TEXT_LIMIT  # each is read to its end, which is another's too where somebody wants that
    for count, match in enumerate(_MODULE.finditer(raw)):
        text, end = _container(raw, match.start(), TEXT_LIMIT)
        yield text
        left -= end - match.start() + len(text)
        if count == STREAMS or left <= 0:
            return


def project_of(ole: olefile.OleFileIO) -> Project:
    """The macros of an open OLE file."""
    texts: list[tuple[str, str]] = []
    compiled: set[str] = set()
    forms: list[str] = []
    left = TEXT_LIMIT
    there = False
    paths = ole.listdir()[:STREAMS]
    offsets = _offsets(ole, paths)
    for path in paths:
        last = path[-1].lower()
        inside = len(path) > 1 and path[-2].lower() == "vba"
        if not inside and last in _PLAIN:
            continue
        data = stream(ole, path)
        if last == "_vba_project":
            there = True
            compiled |= _identifiers(data)
        elif last in ("f", "o") and len(path) > 1:
            forms.append(data[:65_536].decode("latin-1"))
        found = list(modules(data))
        if not found and inside and last != "dir":  # without attributes; its place stands in the directory
            found = [decompress(data[offset:]) for offset in offsets if data.startswith(b"\x01", offset)]
        for text in found:
            there = True
            texts.append(("/".join(path), text[:left].decode("latin-1")))
            left -= len(texts[-1][1])
            if left <= 0:
                break
    return Project(tuple(texts), frozenset(compiled), "\n".join(forms) if there else "", there)


def _offsets(ole: olefile.OleFileIO, paths: list[list[str]]) -> list[int]:
    """Where modules begin in their streams, by the directory of the project (MODULEOFFSET, MS-OVBA §2.3.4.2.3.2.5)."""
    for path in paths:
        if path[-1].lower() == "dir" and (data := stream(ole, path)).startswith(b"\x01"):
            found = {int.from_bytes(four, "little") for four in _OFFSET.findall(decompress(data))}
            return sorted(found)[:50]
    return []


_PLAIN = frozenset(
    {
        "worddocument",
        "workbook",
        "book",
        "powerpoint document",
        "1table",
        "0table",
        "data",
        "pictures",
        "\x05summaryinformation",
        "\x05documentsummaryinformation",
        "\x01compobj",
        "\x01ole10native",
        "\x01ole",
        "contents",
        "package",
        "projectwm",
        "project",
    }
)
"""Streams that are never modules."""


def stream(ole: olefile.OleFileIO, path: list[str], limit: int = STREAM_LIMIT) -> bytes:
    """The first `limit` octets of a stream; empty when it is broken."""
    try:
        if ole.get_type(path) != olefile.STGTY_STREAM:
            return b""
        with ole.openstream(path) as opened:
            data: bytes = opened.read(limit)
            return data
    except (OSError, IndexError, ValueError):
        return b""


def _identifiers(data: bytes) -> set[str]:
    return {word.decode("ascii").lower() for word in _IDENTIFIER.findall(data)}
