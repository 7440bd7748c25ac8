"""ARJ archives (Robert Jung's TECHNOTE of 2.41): what is stored, and what methods 1 to 3 pack, which is LHA's -lh7- and read by libarchive as that."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack import archives
from mailguard.sandbox.unpack.work import File, Work

MAGIC = b"\x60\xea"
ENTRIES = 4_000
"""Entries that are read."""
_GARBLED = 0x01
_STORED, _LAST_AS_LHA = 0, 3
_FILES = (0, 1)
"""Types of entries that are files: binary, and text."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    flags: int
    method: int
    kind: int
    size: int
    crc: int
    packed: bytes


def open_arj(file: File, work: Work) -> None:
    """Hand on all files that can be unpacked. Raises ValueError for a broken one."""
    work.found(file, "ARCHIVE_UNUSUAL", file.kind)
    for entry in _entries(file.raw):
        work.tick(file)
        if entry.kind not in _FILES:
            continue
        archives.judge_path(file, entry.name, work)
        if entry.flags & _GARBLED:
            work.found(file, "ARCHIVE_ENCRYPTED", entry.name)
            work.mention(file, entry.name, entry.size)
        elif entry.method > _LAST_AS_LHA:
            work.found(file, "ARCHIVE_UNOPENED", f"{entry.name}: method {entry.method}")
            work.mention(file, entry.name, entry.size)
        else:
            limit = work.may_hold(file, entry.size)
            content = (
                entry.packed[:limit] if entry.method == _STORED else archives.unpack_lha(_as_lha(entry), file, work)
            )
            if zlib.crc32(content) != entry.crc:
                work.found(file, "UNPACK_BROKEN", f"{entry.name}: its checksum is another")
            work.add(file, entry.name, content)


def _entries(raw: bytes) -> Iterator[_Entry]:
    at = _after(raw, 0)[1]  # the archive's own header
    for _ in range(ENTRIES):
        head, end = _after(raw, at)
        if not head:
            return
        size, original, crc = struct.unpack_from("<3I", head, 12)
        name = head[head[0] :].partition(b"\0")[0].decode("cp437")
        yield _Entry(name, head[4], head[5], head[6], original, crc, raw[end : end + size])
        at = end + size


def _after(raw: bytes, at: int) -> tuple[bytes, int]:
    """A header, empty for the mark of the end, and where what follows it begins. Raises ValueError."""
    if raw[at : at + 2] != MAGIC:
        raise ValueError("no header where one must be")
    size = int.from_bytes(raw[at + 2 : at + 4], "little")
    head = raw[at + 4 : at + 4 + size]
    if not size:
        return b"", at + 4
    if not 30 <= head[0] <= size or len(head) < size:
        raise ValueError("a broken header")
    at += 4 + size + 4
    for _ in range(16):  # headers that extend it
        more = int.from_bytes(raw[at : at + 2], "little")
        at += 2
        if not more:
            break
        at += more + 4
    return head, at


def _as_lha(entry: _Entry) -> bytes:
    """The entry as an LHA archive of its own (header level 0, with no checksum that would be right)."""
    body = b"-lh7-" + struct.pack("<IIIBB", len(entry.packed), entry.size, 0, 0x20, 0) + b"\1a\0\0"
    return bytes([len(body), sum(body) & 0xFF]) + body + entry.packed + b"\0"
