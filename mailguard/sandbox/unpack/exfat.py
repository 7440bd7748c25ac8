"""The files of exFAT (Microsoft's specification 1.00): what memory cards and large sticks have, and virtual disks may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.file_systems import Clusters, walk
from mailguard.sandbox.unpack.virtual_disks import SECTOR, Disk
from mailguard.sandbox.unpack.work import File, Work

FOLDER = 1 << 20
"""Octets of a folder that are read."""
_FILE, _STREAM, _NAME = 0x85, 0xC0, 0xC1
_FOLDER = 0x10
_IN_A_ROW = 2
_END = 0xFFFFFFF7


@dataclass(frozen=True, slots=True)
class _Entry:
    """`place` is its first cluster."""

    name: str
    is_folder: bool
    place: int
    size: int
    in_a_row: bool


@dataclass(frozen=True, slots=True)
class ExFat:
    """An exFAT file system. Offsets in octets, of the disk."""

    disk: Disk
    table: int
    clusters: Clusters
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
        clusters = Clusters(disk, start + (data << sector), 1 << sector + per, _END)
        return ExFat(disk, start + (table << sector), clusters, root)

    def files(self, file: File, work: Work) -> Iterator[tuple[str, bytes]]:
        """The files, with their paths."""
        root = _Entry("", is_folder=True, place=self.root, size=FOLDER, in_a_row=False)
        for path, entry in walk(root, lambda folder: _entries(self._content(folder, FOLDER)), file, work):
            yield path, self._content(entry, work.may_hold(file, entry.size))

    def _content(self, entry: _Entry, limit: int) -> bytes:
        size = min(entry.size, limit)
        if entry.in_a_row:
            return self.clusters.read(entry.place, size)
        return self.clusters.chain(entry.place, size, lambda cluster: self.disk.number(self.table + 4 * cluster, 4))


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
