"""The central directory of a zip archive: names, sizes and flags, without unpacking. Broken ones as far as they go, within limits."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MEMBER_LIMIT = 1_000
"""Members that are read of one archive."""
NAME_LIMIT = 1_024
"""Octets of a member's name that are read."""

_END = struct.Struct("<4s4H2LH")
_END_REACH = 65_557
"""Octets from the end within which the end record begins: its own 22 and the longest comment."""
_MEMBER = struct.Struct("<4s6H3L5H2L")
_ENCRYPTED, _UTF8 = 0x1, 0x800


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One entry. `size` is what it claims to unpack to, in octets."""

    name: str
    size: int
    compressed: int
    encrypted: bool


@dataclass(frozen=True, slots=True)
class ZipDirectory:
    """The entries. `complete` is false when there is more, or the directory is broken."""

    members: tuple[ZipMember, ...] = ()
    complete: bool = True


def read_zip_directory(data: bytes) -> ZipDirectory:
    """The directory of an archive, from the whole of it or from an end that holds the directory. Never raises."""
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - _END_REACH))
    if end < 0 or end + _END.size > len(data):
        return ZipDirectory(complete=False)
    _, _, _, _, count, size, offset, _ = _END.unpack_from(data, end)
    # Octets may stand before the archive (self-extracting ones), so count from where the directory must end.
    at = end - size
    if at < 0 or not data.startswith(b"PK\x01\x02", at):
        at = offset
    members: list[ZipMember] = []
    while data.startswith(b"PK\x01\x02", at) and at + _MEMBER.size <= len(data) and len(members) < MEMBER_LIMIT:
        fields = _MEMBER.unpack_from(data, at)
        flags, compressed, unpacked, name_length, extra, comment = fields[3], fields[8], fields[9], *fields[10:13]
        start = at + _MEMBER.size
        raw = data[start : start + min(name_length, NAME_LIMIT)]
        name = raw.decode("utf-8", "replace") if flags & _UTF8 or _is_utf8(raw) else raw.decode("cp437")
        members.append(ZipMember(name, unpacked, compressed, bool(flags & _ENCRYPTED)))
        at = start + name_length + extra + comment
    return ZipDirectory(tuple(members), len(members) == count and bool(members or not count))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
