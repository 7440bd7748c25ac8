"""Which attached files go to the sandbox: those that can hold something. Told by their first octets, which costs next to nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import re2

from mailguard.message import transfer
from mailguard.message.attachments import EXECUTABLE_EXTENSIONS, UNKNOWN, extension, type_of
from mailguard.message.message import Message, Part

FILES = 20
"""Files of a mail that are looked into."""
_HEAD = 512
_TAIL = 96 * 1024
_NEVER = frozenset(
    {
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "text/x-amp-html",
        "message/delivery-status",
        "message/disposition-notification",
    }
)
"""Declared types of what accompanies mail, not of files."""
_DISKS = frozenset({"iso", "img", "udf", "vhd", "vhdx"})
_PLAIN = ("audio/", "video/", "image/", "font/")
_BEHIND = (b"PK\x05\x06", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
_ENCODED = re.compile(
    # Only where a run begins: from each of its letters, one of a megabyte would take hours.
    rb"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{60,}+={0,2}+\s++){4}|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{400}"
    rb"|^begin(?:-base64)? [0-7]{3}",
    re.MULTILINE,
)
_MAY_BE_ENCODED = re2.compile(rb"(?m)[A-Za-z0-9+/_\-]{60}|^begin(?:-base64)? [0-7]{3}")
"""What _ENCODED finds begins where this does: a table of 1 MB has none, which takes 1 ms to see instead of 30."""
_BASE64_ALONE = re.compile(rb"\s*+[A-Za-z0-9+/_-]{20,}+[A-Za-z0-9+/_\r\n-]*+={0,2}+\s*+\Z")
_FORMULA = re.compile(rb"[=+@-][\w.\\ :()'\"/]{1,40}\|")
"""What a cell of a table that starts a program has: a program's name, a bar, and what it is told."""
_TABLES = frozenset({"csv", "tsv", "tab", "dif", "txt"})
_NAMED = frozenset(
    {
        *("rdp", "desktop", "theme", "themepack", "deskthemepack", "iqy", "oqy", "rqy", "dqy", "ini", "contact"),
        *("website", "search-ms", "library-ms", "searchconnector-ms"),
    }
)
"""Endings of small texts that open what they name, beside those of programs and what is told by its first words."""
_ACTIVE = (b"<script", b"base64", b"data:", b"javascript:")
_SVG = re.compile(rb"<(?:svg:)?svg\b", re.IGNORECASE)
"""A picture that may be a code, or have a script."""
_MARKS = re.compile(
    rb"\s*(?:\[InternetShortcut|WEB\r?\n|ID;P|<\?xml|BEGIN:V|\{\\rt|\(This file must|-----BEGIN|[!-9;-~]{1,40}:[^\n]*\r?\n[!-9;-~]{1,40}:)"
)


@dataclass(slots=True)
class Choice:
    """The parts that are looked into, the names of those that are too large for it, and how many more there were."""

    chosen: list[Part] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)
    left_out: int = 0


def choose(message: Message, *, octets: int) -> Choice:
    """The files of a mail that can hold something, none of more than `octets`, at most FILES."""
    choice = Choice()
    for part in message.attachments:
        if part.container or part.content_type in _NEVER or not can_hold(part):
            continue
        size = part.encoded_size * 3 // 4 if part.encoding == transfer.BASE64 else part.encoded_size
        if size > octets:
            choice.too_large.append(f"{part.filename}: {size} octets")
        elif len(choice.chosen) < FILES:
            choice.chosen.append(part)
        else:
            choice.left_out += 1
    return choice


def can_hold(part: Part) -> bool:
    """Whether something may lie in a file: all kinds but plain texts without encoded runs, and pictures, sound and films with
    nothing behind them."""
    end = min(part.end, part.body + 2 * _HEAD + 64)
    head = b"".join(transfer.decode_chunks(part.buffer, part.body, end, part.encoding))
    if not head:
        return False
    kind = type_of(head)
    if kind.startswith(_PLAIN):
        # Windows mounts by the name, whatever stands in the octets that a disk leaves to others.
        return any(extension(name) in _DISKS for name in part.names) or any(mark in _tail(part) for mark in _BEHIND)
    if kind not in ("text/plain", "text/html", UNKNOWN):
        return True
    if kind == UNKNOWN or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    suffixes = {extension(name) for name in part.names}
    if suffixes & (EXECUTABLE_EXTENSIONS | _NAMED) or _MARKS.match(head):
        return True
    content = part.decoded(1024 * 1024)
    if kind == "text/html":
        lower = content.lower()
        return _SVG.search(content, 0, _HEAD) is not None or any(sign in lower for sign in _ACTIVE)
    if suffixes & _TABLES and b"|" in content and _FORMULA.search(content):
        return True
    return _BASE64_ALONE.match(content) is not None or _has_encoded(content)


def _has_encoded(content: bytes) -> bool:
    may = _MAY_BE_ENCODED.search(content)
    return may is not None and _ENCODED.search(content, may.start()) is not None


def _tail(part: Part) -> bytes:
    """The last octets of a file, without those before: of base64 from the beginning of a line."""
    start = max(part.body, part.end - _TAIL)
    if start > part.body:
        line = bytes(part.buffer[start : start + 2_000]).find(b"\n")
        start = start + line + 1 if line >= 0 else part.body
    return b"".join(transfer.decode_chunks(part.buffer, start, part.end, part.encoding))
