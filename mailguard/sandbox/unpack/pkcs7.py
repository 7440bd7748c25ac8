"""S/MIME and PKCS #7 files: what is signed is taken out and opened; what is encrypted is told as that. RFC 5652, X.690.

Signatures are not verified here: whom they are from is the reader's business.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.work import File, Work

NESTING = 40
"""Elements within each other that are walked."""
ELEMENTS = 20_000
"""Pieces of one string that are put together."""

_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]{1,40}-----([^-]+)-----END")
_SIGNED = bytes.fromhex("2a864886f70d010702")
_ENVELOPED = (bytes.fromhex("2a864886f70d010703"), bytes.fromhex("2a864886f70d0109100117"))
_COMPRESSED = bytes.fromhex("2a864886f70d0109100109")
_SEQUENCE, _SET, _OID, _OCTETS, _OCTETS_IN_PIECES, _CONTENT = 0x30, 0x31, 0x06, 0x04, 0x24, 0xA0


class BerError(ValueError):
    """Octets that are no BER."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag's octet, and where its content lies. `after` is where the next begins."""

    tag: int
    start: int
    end: int
    after: int


def open_pkcs7(file: File, work: Work) -> None:
    """See openers.Opener. Raises BerError for what is none."""
    raw = file.raw
    if match := _PEM.search(raw[: 64 * 1024 * 1024]):
        raw = base64.b64decode(match[1])
    outer = element(raw, 0, len(raw))
    parts = list(children(raw, outer, 2))
    if len(parts) < 1 or parts[0].tag != _OID:
        raise BerError("no content type")
    kind = raw[parts[0].start : parts[0].end]
    if kind in _ENVELOPED:
        work.found(file, "ENCRYPTED_SMIME", "enveloped for its reader")
    elif kind in (_SIGNED, _COMPRESSED) and len(parts) == 2:
        if kind == _SIGNED:
            work.found(file, "SIGNED_SMIME", "signed")
        most = work.may_hold(file, -1)
        content = _content(raw, parts[1])
        if kind == _COMPRESSED:
            content = zlib.decompressobj().decompress(content, most + 1)
        if content:
            work.add(file, "content", content)
    else:
        raise BerError("neither signed nor enveloped")


def open_pgp(file: File, work: Work) -> None:
    """See openers.Opener: nobody but its reader can look into it."""
    work.found(file, "ENCRYPTED_PGP", "encrypted for its reader")


def open_signature(file: File, work: Work) -> None:
    """See openers.Opener: a signature beside what it signs."""
    work.found(file, "SIGNED_PGP", "a signature of OpenPGP")


def element(raw: bytes, at: int, end: int, depth: int = 0) -> Element:
    """The element at an offset (X.690 §8.1). One of indefinite length is walked to its end. Raises BerError."""
    if depth > NESTING or at + 2 > end:
        raise BerError("ends too early, or too deep")
    tag, length, start = raw[at], raw[at + 1], at + 2
    if tag & 0x1F == 0x1F:
        raise BerError("a tag of more than one octet")
    if length == 0x80:
        inner = start
        while not raw.startswith(b"\0\0", inner):
            inner = element(raw, inner, end, depth + 1).after
            if inner >= end:
                raise BerError("without an end")
        return Element(tag, start, inner, inner + 2)
    if length & 0x80:
        count = length & 0x7F
        if count > 5 or start + count > end:
            raise BerError("a length of too many octets")
        length = int.from_bytes(raw[start : start + count], "big")
        start += count
    if start + length > end:
        raise BerError("longer than what it stands in")
    return Element(tag, start, start + length, start + length)


def children(raw: bytes, parent: Element, limit: int) -> Iterator[Element]:
    """The first `limit` elements in another."""
    at = parent.start
    for _ in range(limit):
        if at >= parent.end:
            return
        one = element(raw, at, parent.end)
        yield one
        at = one.after


def _content(raw: bytes, explicit: Element) -> bytes:
    """The encapsulated content of SignedData or CompressedData (RFC 5652 §5.1, RFC 3274 §1.1); empty when it is detached."""
    data = next(children(raw, explicit, 1), None)
    for inner in children(raw, data, 5) if data else ():
        if inner.tag == _SEQUENCE:
            pair = list(children(raw, inner, 2))
            if len(pair) == 2 and pair[0].tag == _OID and pair[1].tag == _CONTENT:
                string = next(children(raw, pair[1], 1), None)
                return b"".join(_pieces(raw, string)) if string else b""
    return b""


def _pieces(raw: bytes, string: Element) -> Iterator[bytes]:
    """An octet string that may be in pieces, and these again (X.690 §8.7)."""
    waiting, count = [string], 0
    while waiting and count < ELEMENTS:
        one = waiting.pop()
        count += 1
        if one.tag == _OCTETS:
            yield raw[one.start : one.end]
        elif one.tag == _OCTETS_IN_PIECES:
            waiting.extend(reversed(list(children(raw, one, ELEMENTS - count))))
