"""Content-Transfer-Encodings (RFC 2045 §6, and uuencode), decoded in pieces so that memory stays flat; broken ones as far as they go."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

CHUNK = 256 * 1024
"""Encoded octets that are decoded at a time."""

BASE64 = "base64"
QUOTED_PRINTABLE = "quoted-printable"
UUENCODE = "x-uuencode"
IDENTITY = ""

_NAMES = {
    "base64": BASE64,
    "quoted-printable": QUOTED_PRINTABLE,
    "x-uuencode": UUENCODE,
    "uuencode": UUENCODE,
    "x-uue": UUENCODE,
    "uue": UUENCODE,
    "7bit": IDENTITY,
    "8bit": IDENTITY,
    "binary": IDENTITY,
    "": IDENTITY,
}
_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64 = bytes(byte for byte in range(256) if byte not in _BASE64_ALPHABET)
_PADDING = re.compile(rb"=+")


def canonical(name: str) -> str | None:
    """One of the constants above for the value of a Content-Transfer-Encoding field; None when it is unknown."""
    return _NAMES.get(name.partition(";")[0].strip(" \t\"'").lower())


def decode_chunks(data: bytes, start: int, end: int, encoding: str) -> Iterator[bytes]:
    """`data[start:end]` decoded, in pieces. Never raises: what is not valid is skipped or passed on as it is."""
    if encoding == BASE64:
        yield from _base64_chunks(data, start, end)
    elif encoding == QUOTED_PRINTABLE:
        for chunk in _line_chunks(data, start, end):
            yield binascii.a2b_qp(chunk)
    elif encoding == UUENCODE:
        for chunk in _line_chunks(data, start, end):
            yield _uudecode(chunk)
    else:
        for at in range(start, end, CHUNK):
            yield data[at : min(at + CHUNK, end)]


def base64_lenient(data: bytes) -> bytes:
    """Base64 that may hold anything: foreign octets are skipped, padding in the middle begins anew, a lone last sextet is dropped."""
    out = []
    clean = data.translate(None, _NOT_BASE64)
    for run in (
        _PADDING.split(clean) if b"=" in clean else (clean,)
    ):  # the search for padding takes five times the decoding
        usable = len(run) - (len(run) % 4 == 1)
        out.append(binascii.a2b_base64(run[:usable] + b"=" * (-usable % 4)))
    return out[0] if len(out) == 1 else b"".join(out)


def _base64_chunks(data: bytes, start: int, end: int) -> Iterator[bytes]:
    if end - start <= CHUNK:
        yield _base64_whole(data[start:end])
        return
    # Honest base64 is lines of whole quads, which one call decodes: that takes half the time of what may be anything.
    while start < end:
        last = end - start <= CHUNK
        stop = end if last else data.rfind(b"\n", start + CHUNK // 2, start + CHUNK) + 1
        decoded = _honest_base64(data[start:stop]) if stop else None
        if decoded is None:
            yield from _foul_chunks(data, start, end)
            return
        yield decoded
        start = stop


def _foul_chunks(data: bytes, start: int, end: int) -> Iterator[bytes]:
    rest = b""
    for at in range(start, end, CHUNK):
        run = rest + data[at : min(at + CHUNK, end)].translate(None, _NOT_BASE64)
        # Cut where quads end: after the last padding, else at a multiple of four.
        cut = run.rfind(b"=") + 1
        cut += (len(run) - cut) // 4 * 4
        rest = run[cut:]
        yield base64_lenient(run[:cut])
    if rest:
        yield base64_lenient(rest)


def _base64_whole(data: bytes) -> bytes:
    decoded = _honest_base64(data)
    return base64_lenient(data) if decoded is None else decoded


def _honest_base64(data: bytes) -> bytes | None:
    """What whole quads decode to, the last one padded perhaps, with white space or foreign octets among them; None: it is else."""
    padding = data.find(b"=")
    if padding < 0 or not data[padding:].strip(b"= \t\r\n"):
        try:
            return binascii.a2b_base64(data)
        except binascii.Error:
            pass
    return None


def _line_chunks(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """Pieces of about CHUNK octets that end with a line."""
    while start < end:
        stop = min(start + CHUNK, end)
        if stop < end:
            newline = data.rfind(b"\n", start, stop)
            stop = newline + 1 if newline >= 0 else stop
        yield data[start:stop]
        start = stop


def _uudecode(data: bytes) -> bytes:
    out = []
    for line in data.splitlines():
        if not line or line.startswith(b"begin ") or line.rstrip() in (b"end", b"`"):
            continue
        try:
            out.append(binascii.a2b_uu(line))
        except binascii.Error:
            # Some encoders write lengths that are too small or trailing octets; take what the first octet claims.
            octets = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                out.append(binascii.a2b_uu(line[:octets]))
            except binascii.Error:
                continue
    return b"".join(out)
