"""The octets of a disk in their order, out of the file of a virtual one: raw, VHD 1.0 (fixed, dynamic), VHDX ([MS-VHDX]). Nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

SECTOR = 512
BLOCKS = 65_536
"""Blocks of a virtual disk that are known: with the usual 2 MiB, 128 GiB."""
_ABSENT = 0xFFFFFFFF
_MEBI = 1 << 20
_BAT = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_LOGICAL_SECTOR = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
_PRESENT = (6, 7)
"""States of a block that is in the file: fully; partly, the rest being in another file."""


class Disk:
    """Reads a disk by offsets in it. Blocks that the file does not have are zeros."""

    def __init__(self, raw: bytes, *, block: int = 0, places: Sequence[int] = ()) -> None:
        """`places`: where in `raw` each block of `block` octets begins, -1 for none; without `block` the file is the disk."""
        self._raw = raw
        self._block = block
        self._places = places
        self.size = block * len(places) if block else len(raw)

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` octets from `at`: fewer where the disk or its file ends."""
        size = max(0, min(size, self.size - at))
        if at < 0 or not size:
            return b""
        if not self._block:
            return self._raw[at : at + size]
        pieces = []
        while size:
            index, within = divmod(at, self._block)
            count = min(size, self._block - within)
            place = self._places[index]
            pieces.append(self._raw[place + within : place + within + count] if place >= 0 else bytes(count))
            if len(pieces[-1]) < count:
                break
            at, size = at + count, size - count
        return b"".join(pieces)

    def number(self, at: int, size: int) -> int:
        """The number of `size` octets at `at`, the lowest first; 0 beyond the end."""
        return int.from_bytes(self.read(at, size), "little")


def disk_of(raw: bytes) -> Disk | None:
    """The disk in a file. None for a virtual one that is broken, or is told by its difference to another file."""
    if raw.startswith(b"vhdxfile"):
        return _of_vhdx(raw)
    footer = raw[-SECTOR:] if raw[-SECTOR:].startswith(b"conectix") else raw[:SECTOR]
    if not footer.startswith(b"conectix"):
        return Disk(raw)
    kind = int.from_bytes(footer[60:64], "big")
    if kind == 2:
        return Disk(raw[:-SECTOR])
    return _of_dynamic_vhd(raw, int.from_bytes(footer[16:24], "big")) if kind == 3 else None


def _of_dynamic_vhd(raw: bytes, at: int) -> Disk | None:
    header = raw[at : at + 1024]
    table, count, block = (int.from_bytes(header[a:b], "big") for a, b in ((16, 24), (28, 32), (32, 36)))
    if not header.startswith(b"cxsparse") or not SECTOR <= block <= 256 * _MEBI:
        return None
    bitmap = -(-(block // SECTOR // 8) // SECTOR) * SECTOR
    each = (int.from_bytes(raw[table + 4 * one : table + 4 * one + 4], "big") for one in range(min(count, BLOCKS)))
    return Disk(raw, block=block, places=[-1 if one == _ABSENT else one * SECTOR + bitmap for one in each])


def _of_vhdx(raw: bytes) -> Disk | None:
    regions = next((found for at in (192, 256) if (found := _table(raw, at * 1024, b"regi", 8, 16))), {})
    if _BAT not in regions or _METADATA not in regions:
        return None
    base = regions[_METADATA][0]
    items = _table(raw, base, b"metadata", 10, 32, size=2, offset=4)
    if _PARAMETERS not in items:
        return None
    at = base + items[_PARAMETERS][0]
    block, flags = (int.from_bytes(raw[one : one + 4], "little") for one in (at, at + 4))
    sector = SECTOR
    if _LOGICAL_SECTOR in items:
        place = base + items[_LOGICAL_SECTOR][0]
        sector = int.from_bytes(raw[place : place + 4], "little")
    if not _MEBI <= block <= 256 * _MEBI or sector not in (512, 4096) or flags & 2:  # 2: it has a parent
        return None
    ratio = (1 << 23) * sector // block
    """Blocks after each of which the table has an entry of another kind."""
    start, length = regions[_BAT]
    places = []
    for index in range(min(length // 8, BLOCKS)):
        if index % (ratio + 1) == ratio:
            continue
        entry = int.from_bytes(raw[start + 8 * index : start + 8 * index + 8], "little")
        places.append((entry >> 20) * _MEBI if entry & 7 in _PRESENT else -1)
    return Disk(raw, block=block, places=places)


def _table(
    raw: bytes, at: int, magic: bytes, count_at: int, entries_at: int, *, size: int = 4, offset: int = 8
) -> dict[bytes, tuple[int, int]]:
    """(offset, length) by GUID, out of one of VHDX's tables. `size`: of its count; `offset`: of an entry's numbers' width."""
    if not raw.startswith(magic, at):
        return {}
    count = int.from_bytes(raw[at + count_at : at + count_at + size], "little")
    found = {}
    for place in range(at + entries_at, at + entries_at + 32 * min(count, 2_047), 32):
        numbers = raw[place + 16 : place + 16 + offset + 4]
        found[raw[place : place + 16]] = (
            int.from_bytes(numbers[:offset], "little"),
            int.from_bytes(numbers[offset:], "little"),
        )
    return found
