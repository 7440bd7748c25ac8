"""A message as DKIM and ARC see it: its raw header fields and body, canonicalised (RFC 6376 §3.4) in linear time and in pieces."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

PIECE = 1 << 20
"""Octets of the body that are canonicalised at once, so that a big body is never copied whole."""
HEADER_LIMIT = 1 << 20
"""Octets of the header section in which signatures are looked for: honest ones are below 100 KiB."""
FIELDS_LIMIT = 10_000
"""Fields that are told apart; what stands below counts as one. A million cost 1.5 s, and as much time for all other mail."""

_BARE_LF = re.compile(rb"(?<!\r)\n")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_SPACES = re.compile(rb" {2,}")
_EMPTY_LINES = b"\r\n" * 1024
_WSP = re.compile(rb"[ \t]+")


def may_have(raw: bytes, name: bytes) -> bool:
    """Whether there may be a field whose name begins so (in lower case): what has none need not be taken apart to see that."""
    end = raw.find(b"\r\n\r\n", 0, HEADER_LIMIT)
    header = raw[: end if end >= 0 else HEADER_LIMIT].lower()
    return b"\n" + name in header or header.startswith(name)


class Canonicalisation(StrEnum):
    """The algorithms of RFC 6376 §3.4."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


class RawField(NamedTuple):
    """One header field: `name` in lower case, `raw` as it came with its folding, without the CRLF that ends it.

    A tuple, since a mail has dozens of them, and a frozen dataclass takes three times as long to make.
    """

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """All behind the colon."""
        return self.raw.partition(b":")[2]


@dataclass(frozen=True, slots=True)
class BodyHash:
    """SHA-256 of a canonical body, or of its first `limit` octets; `length` is that of all of it."""

    digest: bytes
    length: int


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """The fields from top to bottom, and where the body starts in `raw` (CRLF line ends)."""

    fields: tuple[RawField, ...]
    raw: bytes = field(repr=False)
    body_start: int

    @classmethod
    def of(cls, raw: bytes) -> SignedMessage:
        """Split a message. Lines that end in LF alone are taken as ended by CRLF; never raises."""
        if raw.count(b"\n") != raw.count(b"\r\n"):
            raw = _BARE_LF.sub(b"\r\n", raw)
        if raw.startswith(b"\r\n"):
            return cls((), raw, 2)
        end = raw.find(b"\r\n\r\n")
        header, body_start = (raw[:end], end + 4) if end >= 0 else (raw.removesuffix(b"\r\n"), len(raw))
        return cls(tuple(_fields(header)), raw, body_start)

    def named(self, name: bytes) -> list[RawField]:
        """The fields of that name (in lower case), from top to bottom."""
        return [item for item in self.fields if item.name == name]

    def select(self, names: Iterable[bytes]) -> Iterator[RawField]:
        """The fields that h= names, each name's from the bottom up; names without a field left give none (§5.4.2)."""
        wanted = [name.lower() for name in names]
        stacks: dict[bytes, list[RawField]] = {name: [] for name in wanted}
        for item in self.fields:
            if item.name in stacks:
                stacks[item.name].append(item)
        for name in wanted:
            stack = stacks[name]
            if stack:
                yield stack.pop()

    def body_hash(self, canonicalisation: Canonicalisation, limit: int | None = None) -> BodyHash:
        """The body hash of §3.7. `limit` is the l= tag."""
        hasher = hashlib.sha256()
        length = 0
        for piece in canonical_body(self.raw, self.body_start, canonicalisation):
            if limit is None or length + len(piece) <= limit:
                hasher.update(piece)
            elif length < limit:
                hasher.update(piece[: limit - length])
            length += len(piece)
        return BodyHash(hasher.digest(), length)


def _fields(header: bytes) -> Iterator[RawField]:
    for i, raw in enumerate(_FIELD_END.split(header, FIELDS_LIMIT)):
        name, colon, _ = raw.partition(b":")
        if colon and not (i == 0 and raw.startswith(b"From ")):  # an mbox line is no field
            yield RawField(name.rstrip(b" \t").lower(), raw)


def canonical_field(item: RawField, canonicalisation: Canonicalisation) -> bytes:
    """A field in canonical form, its CRLF included (§3.4.1, §3.4.2)."""
    if canonicalisation is Canonicalisation.SIMPLE:
        return item.raw + b"\r\n"
    value = item.value.replace(b"\r\n", b"")
    if b"\t" in value or b"  " in value:
        value = _WSP.sub(b" ", value)
    return b"%b:%b\r\n" % (item.name, value.strip(b" "))


def canonical_body(raw: bytes, start: int, canonicalisation: Canonicalisation) -> Iterator[bytes]:
    """The canonical body in pieces (§3.4.3, §3.4.4): empty lines at its end dropped, one CRLF at the end of what is left."""
    relaxed = canonicalisation is Canonicalisation.RELAXED
    pending = 0  # line ends that count only if more text follows
    seen = False
    for piece in _pieces(raw, start):
        canonical = _relaxed_lines(piece) if relaxed else piece
        stripped = _without_line_ends(canonical)
        if stripped:
            if pending:
                yield b"\r\n" * pending
            yield stripped
            pending, seen = 0, True
        pending += (len(canonical) - len(stripped)) // 2
    if seen or not relaxed:
        yield b"\r\n"


def _pieces(raw: bytes, start: int) -> Iterator[bytes]:
    """The body in pieces of whole lines."""
    while start < len(raw):
        end = len(raw)
        if end - start > PIECE:
            cut = raw.rfind(b"\r\n", start, start + PIECE)
            cut = cut if cut >= 0 else raw.find(b"\r\n", start + PIECE - 1)
            end = cut + 2 if cut >= 0 else len(raw)
        yield raw[start:end]
        start = end


def _relaxed_lines(piece: bytes) -> bytes:
    """White space runs as one space, none at line ends. First runs, then ends: each step is linear in the size."""
    if b"\t" in piece:
        piece = piece.replace(b"\t", b" ")
    if b"  " in piece:
        piece = _SPACES.sub(b" ", piece)
    piece = piece.replace(b" \r\n", b"\r\n")
    return piece if piece.endswith(b"\r\n") else piece.rstrip(b" ")


def _without_line_ends(piece: bytes) -> bytes:
    """`piece` without the CRLFs at its end, many at a time: a body may be millions of them."""
    end = len(piece)
    for run in (_EMPTY_LINES, b"\r\n"):
        while piece.endswith(run, 0, end):
            end -= len(run)
    return piece[:end]
