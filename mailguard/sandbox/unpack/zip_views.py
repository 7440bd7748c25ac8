"""What a zip shows to programs that read it from the front, and its directory does not; entries that share their octets.

APPNOTE.TXT §4.3: local headers (§4.3.7) lie before the directory (§4.3.12), which alone most programs read.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.work import File, Work

ENTRIES = 20_000
"""Entries of a directory that are compared."""
HIDDEN = 10
"""Places with files that the directory does not name, of which each is opened."""
_LOCAL, _CENTRAL, _END, _END64 = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6"
_ENTRY = struct.Struct("<4s6H3L5H2L")
_SAID_ELSEWHERE = 0xFFFFFFFF
_SCANNED = frozenset({0, 8, 9, 12})
"""Methods that clamd unpacks: none, Deflate, Deflate64, bzip2; not LZMA, xz, PPMd."""
_MASKED = 0x2000
"""A flag: the local header does not say what the directory does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the directory: where its local header begins, where its content ends."""

    name: bytes
    start: int
    end: int
    content: int
    """Where its content begins."""
    method: int
    unpacked: int
    encrypted: bool
    told_otherwise: str = ""
    """What its local header says, when that is something else."""


def compare_views(file: File, work: Work) -> None:
    """See openers.Opener. Hands on what lies between the entries of the directory and is a file of its own."""
    raw = file.raw
    if not raw.startswith(_LOCAL):
        return
    at, entries = entries_of(raw)
    if not entries:
        return
    for before, after in itertools.pairwise(entries):
        if after.start < before.end:
            work.found(file, "ARCHIVE_OVERLAPS", _shown(before.name) + ", " + _shown(after.name))
            return
    if len(entries) == ENTRIES:
        return  # what comes later is not known, and so not what is hidden
    for entry in entries:
        if entry.told_otherwise:
            work.found(file, "ARCHIVE_DISAGREES", entry.told_otherwise)
            break
    names = {entry.name for entry in entries}
    ends = [0, *(entry.end for entry in entries)]
    starts = [*(entry.start for entry in entries), at]
    count = 0
    for start, end in zip(ends, starts, strict=True):
        place = raw.find(_LOCAL, start, end)
        while place >= 0 and count < HIDDEN:
            name = _local_name(raw, place)
            if name and name not in names and not name.endswith(b"/"):
                count += 1
                work.found(file, "ARCHIVE_DISAGREES", f"{_shown(name)} is not in the directory")
                work.add(file, f"{file.name} from octet {place}", raw[place:end], via="front")
                break
            place = raw.find(_LOCAL, place + 4, end)


def entries_of(raw: bytes) -> tuple[int, list[Entry]]:
    """Where a zip's directory begins (-1: it has none), and its entries in the order of their content: the first ENTRIES."""
    at, shift = _directory(raw)
    return at, sorted(_entries(raw, at, shift), key=lambda entry: entry.start) if at >= 0 else []


def is_odd(raw: bytes) -> bool:
    """Whether a virus scanner may see other files in a zip than are here, or none: by its methods, or since the zip shows two views."""
    return any(entry.method not in _SCANNED or entry.told_otherwise for entry in entries_of(raw)[1])


def _directory(raw: bytes) -> tuple[int, int]:
    """Where the directory begins, and by how much the offsets in it are too small; -1 when there is none."""
    end = raw.rfind(_END, max(0, len(raw) - 65_557))
    if end < 0 or end + 22 > len(raw):
        return -1, 0
    size, offset = struct.unpack_from("<LL", raw, end + 12)
    if _SAID_ELSEWHERE in (size, offset):
        record = raw.rfind(_END64, max(0, end - 1_024), end)
        if record < 0 or record + 56 > len(raw):
            return -1, 0
        size, offset = struct.unpack_from("<QQ", raw, record + 40)
        end = record
    for at in (end - size, offset):
        if at >= 0 and raw.startswith(_CENTRAL, at):
            return at, at - offset
    return -1, 0


def _entries(raw: bytes, at: int, shift: int) -> Iterator[Entry]:
    for _ in range(ENTRIES):
        if not raw.startswith(_CENTRAL, at) or at + _ENTRY.size > len(raw):
            return
        fields = _ENTRY.unpack_from(raw, at)
        flags, size, (name_length, extra_length, comment) = fields[3], fields[8], fields[10:13]
        name = raw[at + _ENTRY.size : at + _ENTRY.size + name_length]
        extra = raw[at + _ENTRY.size + name_length : at + _ENTRY.size + name_length + extra_length]
        offset = fields[16]
        if _SAID_ELSEWHERE in (size, offset):
            size, offset = _large(extra, fields[9], size, offset)
        start = offset + shift
        if raw.startswith(_LOCAL, start) and start + 30 <= len(raw):
            content = start + 30 + sum(struct.unpack_from("<HH", raw, start + 26))
            other = "" if flags & _MASKED else _difference(raw, start, name, fields)
            yield Entry(name, start, content + size, content, fields[4], fields[9], bool(flags & 1), other)
        at += _ENTRY.size + name_length + extra_length + comment


def _difference(raw: bytes, start: int, name: bytes, fields: tuple[int, ...]) -> str:
    """What a local header says otherwise than the directory, of what both state; `fields`: those of the directory."""
    _, flags, method, _, _, _, size, unpacked, length = struct.unpack_from("<5H3LH", raw, start + 4)
    own = raw[start + 30 : start + 30 + length]
    if own.replace(b"\\", b"/") != name.replace(b"\\", b"/"):
        return f"{_shown(own)} is {_shown(name)}"
    if method != fields[4]:
        return f"{_shown(name)} is packed by method {method} or {fields[4]}"
    # Not stated here: zeros, as where the sizes follow the content (flag 8), and what a field of zip64 says instead.
    unsaid = (0, _SAID_ELSEWHERE)
    if flags & 8 or size in unsaid or unpacked in unsaid or _SAID_ELSEWHERE in fields[8:10]:
        return ""
    if (size, unpacked) != fields[8:10]:
        return f"{_shown(name)} has {unpacked} or {fields[9]} octets, packed {size} or {fields[8]}"
    return ""


def _large(extra: bytes, unpacked: int, size: int, offset: int) -> tuple[int, int]:
    """Size and offset of an entry whose zip64 field says them (§4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        identity, length = struct.unpack_from("<HH", extra, at)
        if identity == 1:
            values = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            if unpacked == _SAID_ELSEWHERE:
                next(values, 0)
            size = next(values, size) if size == _SAID_ELSEWHERE else size
            return size, next(values, offset) if offset == _SAID_ELSEWHERE else offset
        at += 4 + length
    return size, offset


def _local_name(raw: bytes, at: int) -> bytes:
    (length,) = struct.unpack_from("<H", raw, at + 26) if at + 30 <= len(raw) else (0,)
    return raw[at + 30 : at + 30 + length]


def _shown(name: bytes) -> str:
    return name[:80].decode("utf-8", "replace")
