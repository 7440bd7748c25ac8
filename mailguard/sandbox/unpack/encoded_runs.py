"""Files that stand in the source of a page in encoded form: base64, hexadecimal, percent and character codes. Never run.

Pieces of strings that a script puts together are put together first, one level deep.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

import re2

LOOK = 24 * 1024 * 1024
"""Octets of a source that are looked at."""
LEAST = 40
"""Octets from which something is a file."""
JOINTS = 200_000
"""Places where strings are put together, of one kind."""
PERCENT = 3 * 1024 * 1024
"""Octets of percent codes in one run that are read."""
NUMBERS = 1_000_000
"""Character codes in one list that are read."""
TRIED = 500
"""Runs of one kind that are decoded."""


class Pattern(Protocol):
    """What is used of a compiled pattern of RE2, which has no types."""

    def finditer(self, text: bytes) -> Iterator[re.Match[bytes]]:
        """All places."""
        ...

    def search(self, text: bytes) -> re.Match[bytes] | None:
        """The first place."""
        ...

    def fullmatch(self, text: bytes) -> re.Match[bytes] | None:
        """The whole."""
        ...

    def subn(self, replacement: bytes, text: bytes, count: int) -> tuple[bytes, int]:
        """All places replaced, and how many."""
        ...


_options = re2.Options()
_options.encoding = re2.Options.Encoding.LATIN1
_options.never_nl = False
_options.log_errors = False
_options.max_mem = 32 * 1024 * 1024


def _pattern(source: bytes) -> Pattern:
    """By RE2: whatever the source, the time is as long as it."""
    compiled: Pattern = re2.compile(source, _options)
    return compiled


_BASE64 = _pattern(
    rb"[A-Za-z0-9+/_-]{54,}(?:(?:\s|\\[nr]|\\\r?\n){1,20}[A-Za-z0-9+/_-]{54,})*(?:(?:\s|\\[nr]|\\\r?\n){1,20}[A-Za-z0-9+/_-]{1,76})?={0,2}"
)
_DATA = _pattern(rb"(?i)data:[a-z0-9.+/-]{0,80}(?:;[a-z0-9=._-]{1,40}){0,4},[a-z0-9+/=%_\s.,:;&?!*@$#{}()|~-]{40,}")
_HEXADECIMAL = _pattern(rb"[0-9a-fA-F]{80,}")
_ESCAPED = _pattern(rb"(?:\\x[0-9a-fA-F]{2}|\\u00[0-9a-fA-F]{2}){40,}")
_PERCENT = _pattern(rb"[A-Za-z0-9@*_+./-]{0,20}(?:%[0-9a-fA-F]{2}[A-Za-z0-9._~!*() ;:@&=+$,/?#-]{0,40}){12,}")
_WIDE = _pattern(rb"(?:%u[0-9a-fA-F]{4}){20,}")
_NUMBERS = _pattern(rb"(?:0x[0-9a-fA-F]{1,2}|-?\d{1,3})(?:\s{0,8},\s{0,8}(?:0x[0-9a-fA-F]{1,2}|-?\d{1,3})){39,}")
_PLUS = _pattern(rb"[\"'`]\s{0,200}\+\s{0,200}[\"'`]")
_COMMA = _pattern(rb"[\"'`]\s{0,200},\s{0,200}[\"'`]")
_APPENDED = _pattern(rb"[\"'`]\s{0,20};?\s{0,200}[A-Za-z_$][\w$.]{0,40}\s{0,20}\+=\s{0,20}[\"'`]")
_BEFORE = frozenset(b"=.&?%/+-_")
"""What stands before a run that is a part of an address."""
_BESIDE = frozenset(b"ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ+/=")
"""What stands beside digits that are a part of base64."""
_CODE = re.compile(rb"\\(?:x|u00)([0-9a-fA-F]{2})")
_NUMBER = re.compile(rb"0x[0-9a-fA-F]{1,2}|-?\d{1,3}")
_UNSAFE = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = re.compile(rb"\\[nr]|[^A-Za-z0-9+/]+")


@dataclass(frozen=True, slots=True)
class Hidden:
    """A file, and how it was encoded."""

    raw: bytes
    how: str


def hidden_files(source: bytes, *, limit: int, count: int, joined: bool = True) -> Iterator[Hidden]:
    """What is encoded in a source, each once: `count` at most, of at most `limit` octets each. `joined`: also in what a script
    would put together."""
    source = source[:LOOK]
    if source.startswith((b"\xff\xfe", b"\xfe\xff")):
        source = source.decode("utf-16", "replace").encode("utf-8", "replace")
    seen: set[bytes] = set()
    for text in _put_together(source) if joined else (source,):
        for how, pattern, decoder in _FORMS:
            for tried, match in enumerate(pattern.finditer(text)):
                if tried >= TRIED:
                    break
                start, end = match.span()
                if how == "base64" and start and text[start - 1] in _BEFORE:
                    continue
                if how == "hexadecimal" and not _BESIDE.isdisjoint(
                    text[max(0, start - 1) : start] + text[end : end + 1]
                ):
                    continue
                raw = decoder(text[start:end])[:limit]
                digest = hashlib.sha256(raw).digest()
                if len(raw) < LEAST or digest in seen:
                    continue
                seen.add(digest)
                yield Hidden(raw, how)
                if len(seen) >= count:
                    return


def _put_together(source: bytes) -> Iterator[bytes]:
    """The source, and what becomes of it when strings that are added, listed or appended are one."""
    yield source
    for pattern in (_PLUS, _COMMA, _APPENDED):
        if pattern.search(source):
            joined, times = pattern.subn(b"", source, JOINTS)
            if times >= 2:
                yield joined
    if b"reverse" in source:
        yield source[::-1]


def _base64(encoded: bytes) -> bytes:
    plain = _NOT_BASE64.sub(b"", encoded.translate(_UNSAFE)) if _NOT_BASE64.search(encoded) else encoded
    if _HEXADECIMAL.fullmatch(plain):
        return b""
    try:
        return base64.b64decode(plain[: len(plain) - (len(plain) % 4 == 1)] + b"=" * (-len(plain) % 4))
    except binascii.Error:
        return b""


def _data(encoded: bytes) -> bytes:
    head, _, content = encoded.partition(b",")
    plain = unquote_to_bytes(content) if b"%" in content else content
    return _base64(plain) if head.lower().endswith(b";base64") else plain


def _hexadecimal(encoded: bytes) -> bytes:
    return bytes.fromhex(encoded[: len(encoded) & ~1].decode("ascii"))


def _escaped(encoded: bytes) -> bytes:
    return bytes.fromhex(b"".join(_CODE.findall(encoded)).decode("ascii"))


def _percent(encoded: bytes) -> bytes:
    return unquote_to_bytes(encoded[:PERCENT])


def _wide(encoded: bytes) -> bytes:
    return b"".join(int(one, 16).to_bytes(2, "little") for one in encoded.split(b"%u")[1:])


def _numbers(encoded: bytes) -> bytes:
    numbers = [int(one, 16 if b"x" in one else 10) for one in _NUMBER.findall(encoded[: 4 * NUMBERS])]
    return bytes(one & 255 for one in numbers) if all(-128 <= one <= 255 for one in numbers) else b""


_FORMS: tuple[tuple[str, Pattern, Callable[[bytes], bytes]], ...] = (
    ("data URI", _DATA, _data),
    ("base64", _BASE64, _base64),
    ("hexadecimal", _HEXADECIMAL, _hexadecimal),
    ("escapes", _ESCAPED, _escaped),
    ("percent codes", _PERCENT, _percent),
    ("wide codes", _WIDE, _wide),
    ("character codes", _NUMBERS, _numbers),
)
