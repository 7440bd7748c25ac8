"""Files that stand in a text in encoded form: a text of base64 alone, however short, uuencode, BinHex, and runs within other texts."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from mailguard.message.attachments import EXECUTABLE_EXTENSIONS, EXECUTABLE_TYPES, UNKNOWN, extension
from mailguard.sandbox.unpack.encoded_runs import hidden_files
from mailguard.sandbox.unpack.kinds import TEXT, kind_of
from mailguard.sandbox.unpack.work import File, Work

FILES = 30
"""Files that are taken out of one text."""
LOOK = 8 * 1024 * 1024
"""Octets of a text in which runs are looked for; one that is encoded as a whole is read to its end."""
_ORDINARY = ("image/", "font/", "text/", "application/x-empty", UNKNOWN)
"""Kinds that texts hold without any harm: pictures of a note, keys, checksums."""
_SUFFIX = re.compile(r"\.(?:b64|base64|mim|mime|uue?|xxe|hqx)(?:\.txt)?$", re.IGNORECASE)
_ARMOUR = re.compile(rb"-----(?:BEGIN|END) [A-Z0-9 ]{1,40}-----")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_BEGIN = re.compile(rb"^begin(-base64)? [0-7]{3,4} ([^\r\n]{1,255})\r?\n", re.MULTILINE)
_END = re.compile(rb"^(?:end|====)\s*$", re.MULTILINE)
_BINHEX = re.compile(rb"\(This file must be converted with BinHex[^:]{0,200}:([^:]*)")
_BINHEX_LETTERS = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_TO_BASE64 = bytes.maketrans(_BINHEX_LETTERS, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def open_base64(file: File, work: Work) -> None:
    """A text of base64 alone, with or without the lines around it that `certutil -encode` and PEM have."""
    text = _ARMOUR.sub(b"", _plain(file.raw)).translate(bytes.maketrans(b"-_", b"+/"))
    encoded = _NOT_BASE64.sub(b"", text)
    if len(text.translate(None, b"\r\n\t =")) - len(encoded) > len(text) // 20:  # it only begins as base64
        open_text(file, work)
        return
    work.may_hold(file, len(encoded) * 3 // 4)
    raw = base64.b64decode(encoded[: len(encoded) - (len(encoded) % 4 == 1)] + b"=" * (-len(encoded) % 4))
    _hand_on(file, work, _SUFFIX.sub("", file.name) or "decoded", raw, "base64")


def open_text(file: File, work: Work) -> None:
    """Encoded files among other text, also several."""
    text = _plain(file.raw)
    for name, raw, how in _named(text, work, file):
        _hand_on(file, work, name, raw, how)
    most = work.may_hold(file, -1)
    if extension(file.name) in EXECUTABLE_EXTENSIONS:  # its strings may be put together
        runs = hidden_files(text[:LOOK], limit=most, count=FILES)
    else:
        runs = hidden_files(text[:LOOK], limit=most, count=FILES, joined=False)
    for number, hidden in enumerate(runs, 1):
        work.tick(file)
        if kind_of(hidden.raw) != UNKNOWN:  # else nothing that anybody could open
            _hand_on(file, work, f"{hidden.how} {number}", hidden.raw, hidden.how)


def open_uuencode(file: File, work: Work) -> None:
    """uuencode (POSIX), also its form with base64, and several files one after the other."""
    for name, raw, how in _named(_plain(file.raw), work, file):
        _hand_on(file, work, name, raw, how)


def open_binhex(file: File, work: Work) -> None:
    """BinHex 4.0 (RFC 1741): its data fork and its resource fork. ValueError when it is none."""
    match = _BINHEX.search(_plain(file.raw))
    if match is None:
        raise ValueError("no BinHex")
    letters = re.sub(rb"\s+", b"", match[1]).translate(_TO_BASE64)
    packed = base64.b64decode(letters[: len(letters) - (len(letters) % 4 == 1)] + b"=" * (-len(letters) % 4))
    raw = _repeated(packed, work.may_hold(file, -1))
    length = raw[0]
    at = 1 + length + 1 + 4 + 4 + 2
    data, resource = (int.from_bytes(raw[at + place : at + place + 4], "big") for place in (0, 4))
    start = at + 8 + 2
    name = raw[1 : 1 + length].decode("ascii", "replace") or "data"
    _hand_on(file, work, name, raw[start : start + data], "BinHex")
    if resource:
        start += data + 2
        _hand_on(file, work, f"{name} (resources)", raw[start : start + resource], "BinHex")


def _repeated(packed: bytes, most: int) -> bytes:
    """Runs written out: an octet, 0x90 and how often (RFC 1741 §4.2); 0x90 0 is 0x90 itself. At most about `most` octets."""
    out = bytearray()
    at = 0
    while (mark := packed.find(b"\x90", at)) >= 0 and len(out) < most:
        out += packed[at:mark]
        count = packed[mark + 1] if mark + 1 < len(packed) else 0
        if count == 0:
            out.append(0x90)
        elif out:
            out += out[-1:] * (count - 1)
        at = mark + 2
    return bytes(out + packed[at:])


def _plain(raw: bytes) -> bytes:
    """A text in UTF-16 as one of octets."""
    return (
        raw.decode("utf-16", "replace").encode("utf-8", "replace")
        if raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        else raw
    )


def _named(text: bytes, work: Work, file: File) -> Iterator[tuple[str, bytes, str]]:
    """(name, octets, how) of what stands between `begin` and `end`."""
    for count, begin in enumerate(_BEGIN.finditer(text)):
        if count >= FILES:
            work.found(file, "UNPACK_TOO_MANY", f"more than {FILES} encoded files")
            return
        work.tick(file)
        end = _END.search(text, begin.end())
        body = text[begin.end() : end.start() if end else len(text)]
        name = begin[2].decode("utf-8", "replace").strip()
        raw = _lines_of_base64(body) if begin[1] else _lines(body)
        if raw:
            yield name, raw, "uuencode"


def _lines_of_base64(body: bytes) -> bytes:
    encoded = _NOT_BASE64.sub(b"", body)
    return base64.b64decode(encoded[: len(encoded) - (len(encoded) % 4 == 1)] + b"=" * (-len(encoded) % 4))


def _lines(body: bytes) -> bytes:
    """What lines of uuencode hold, up to the first that is none; those that lost their trailing blanks or gained some are read too."""
    out = []
    for line in body.splitlines():
        if not line or not 32 <= line[0] <= 96:
            if line.strip():
                break
            continue
        size = (line[0] - 32) & 63
        letters = line[1 : 1 + -(-size // 3) * 4].ljust(-(-size // 3) * 4)
        try:
            out.append(binascii.a2b_uu(line[:1] + letters))
        except binascii.Error:
            break
    return b"".join(out)


def _hand_on(file: File, work: Work, name: str, raw: bytes, how: str) -> None:
    kind = kind_of(raw, name)
    if kind in EXECUTABLE_TYPES:
        work.found(file, "UNPACK_ENCODED_EXECUTABLE", f"{kind}, {len(raw)} octets in {how}")
    elif not kind.startswith(_ORDINARY) and kind != TEXT:
        work.found(file, "UNPACK_ENCODED", f"{kind}, {len(raw)} octets in {how}")
    work.add(file, name, raw, via=how)
