"""The files of exFAT (Microsoft's specification 1.00): what memory cards and large sticks have, and virtual disks may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.virtual_disks import SECTOR, Disk
from mailguard.sandbox.unpack.work import File, Work

ENTRIES = 4_000
"""Files and folders that are read."""
CLUSTERS = 131_072
"""Clusters of a file that are followed."""
FOLDER = 1 << 20
"""Octets of a folder that are read."""
_FILE, _STREAM, _NAME = 0x85, 0xC0, 0xC1
_FOLDER = 0x10
_IN_A_ROW = 2
_END = 0xFFFFFFF7


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    folder: bool
    cluster: int
    size: int
    in_a_row: bool


@dataclass(frozen=True, slots=True)
class ExFat:
    """An exFAT file system. Offsets in octets, of the disk."""

    disk: Disk
    table: int
    data: int
    cluster: int
    root: int

    @staticmethod
    def of(disk: Disk, start: int) -> ExFat | None:
        """What begins at `start`, if it is one."""
        head = disk.read(start, SECTOR)
        if head[3:11] != b"EXFAT   " or len(head) < SECTOR:
            return None
        table, data, root = (int.from_bytes(head[at : at + 4], "little") for at in (80, 88, 96))
        sector, per = head[108], head[109]
        if not 9 <= sector <= 12 or sector + per > 25:
            return None
        return ExFat(disk, start + (table << sector), start + (data << sector), 1 << sector + per, root)

    def files(self, file: File, work: Work) -> Iterator[tuple[str, bytes]]:
        """The files, with their paths."""
        waiting = [("", _Entry("", True, self.root, FOLDER, False))]
        seen: set[int] = set()
        left = ENTRIES
        while waiting:
            path, folder = waiting.pop()
            if folder.cluster in seen:
                continue
            seen.add(folder.cluster)
            for entry in _entries(self._content(folder, FOLDER)):
                work.tick(file)
                left -= 1
                if left < 0:
                    work.found(file, "UNPACK_TOO_MANY", f"more than {ENTRIES} entries")
                    return
                if entry.folder:
                    waiting.append((f"{path}{entry.name}/", entry))
                else:
                    yield path + entry.name, self._content(entry, work.may_hold(file, entry.size))

    def _content(self, entry: _Entry, limit: int) -> bytes:
        size = min(entry.size, limit)
        if entry.in_a_row:
            return self.disk.read(self._at(entry.cluster), size) if entry.cluster >= 2 else b""
        out = bytearray()
        cluster = entry.cluster
        for _ in range(CLUSTERS):
            if len(out) >= size or not 2 <= cluster < _END:
                break
            piece = self.disk.read(self._at(cluster), min(self.cluster, size - len(out)))
            if not piece:
                break
            out += piece
            cluster = self.disk.number(self.table + 4 * cluster, 4)
        return bytes(out)

    def _at(self, cluster: int) -> int:
        return self.data + (cluster - 2) * self.cluster


def _entries(folder: bytes) -> Iterator[_Entry]:
    """A file's entry, then one of its content, then those of its name (§7.4, §7.6, §7.7)."""
    at = 0
    while at + 32 <= len(folder) and folder[at]:
        if folder[at] != _FILE:
            at += 32
            continue
        count = folder[at + 1]
        attributes = int.from_bytes(folder[at + 4 : at + 6], "little")
        stream = folder[at + 32 : at + 64]
        further = (folder[one : one + 32] for one in range(at + 64, at + 32 * (count + 1), 32))
        name = b"".join(one[2:] for one in further if one[:1] == bytes([_NAME]))
        at += 32 * (count + 1)
        if len(stream) < 32 or stream[0] != _STREAM:
            continue
        yield _Entry(
            name[: 2 * stream[3]].decode("utf-16-le", "replace"),
            bool(attributes & _FOLDER),
            int.from_bytes(stream[20:24], "little"),
            int.from_bytes(stream[24:32], "little"),
            bool(stream[1] & _IN_A_ROW),
        )
