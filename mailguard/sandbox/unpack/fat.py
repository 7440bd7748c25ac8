"""The files of FAT 12, 16 and 32 (Microsoft's specification 1.03)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.file_systems import Clusters, walk
from mailguard.sandbox.unpack.virtual_disks import SECTOR, Disk
from mailguard.sandbox.unpack.work import File, Work

FOLDER = 1 << 20
"""Octets of a folder that are read."""
_FOLDER, _LABEL, _PART_OF_NAME = 0x10, 0x08, 0x0F
_END = {12: 0xFF7, 16: 0xFFF7, 32: 0x0FFFFFF7}
"""By the bits of a cluster's number: from which one on a chain ends."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """`place` is its first cluster; 0 of the root of FAT 12 and 16, which has none."""

    name: str
    is_folder: bool
    place: int
    size: int


@dataclass(frozen=True, slots=True)
class Fat:
    """A FAT file system. Offsets in octets, of the disk."""

    disk: Disk
    bits: int
    table: int
    clusters: Clusters
    root: int
    """Its first cluster (FAT32), else where it begins."""
    root_size: int

    @staticmethod
    def of(disk: Disk, start: int) -> Fat | None:
        """What begins at `start`, if it is one."""
        head = disk.read(start, SECTOR)
        if len(head) < SECTOR or head[0] not in (0xEB, 0xE9) or head[510:512] != b"\x55\xaa":
            return None

        def number(at: int, size: int) -> int:
            return int.from_bytes(head[at : at + size], "little")

        sector, per, reserved, copies = number(11, 2), head[13], number(14, 2), head[16]
        each = number(22, 2) or number(36, 4)
        total = number(19, 2) or number(32, 4)
        if sector not in (512, 1024, 2048, 4096) or not per or per & (per - 1) or not copies or not each or not total:
            return None
        root_size = number(17, 2) * 32
        before = reserved + copies * each + -(-root_size // sector)
        clusters = (total - before) // per
        bits = 32 if not number(22, 2) else 12 if clusters < 4085 else 16
        root_at = start + (reserved + copies * each) * sector
        root = number(44, 4) if bits == 32 else root_at
        held = Clusters(disk, start + before * sector, per * sector, _END[bits])
        return Fat(disk, bits, start + reserved * sector, held, root, root_size)

    def files(self, file: File, work: Work) -> Iterator[tuple[str, bytes]]:
        """The files, with their paths."""
        root = _Entry("", is_folder=True, place=self.root if self.bits == 32 else 0, size=0)
        for path, entry in walk(root, self._folder, file, work):
            yield path, self._chain(entry.place, min(entry.size, work.may_hold(file, entry.size)))

    def _folder(self, folder: _Entry) -> Iterator[_Entry]:
        fixed = self.bits != 32 and not folder.place
        return _entries(self.disk.read(self.root, self.root_size) if fixed else self._chain(folder.place, FOLDER))

    def _chain(self, cluster: int, size: int) -> bytes:
        return self.clusters.chain(cluster, size, self._next)

    def _next(self, cluster: int) -> int:
        if self.bits == 12:
            pair = self.disk.number(self.table + cluster + cluster // 2, 2)
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        width = self.bits // 8
        return self.disk.number(self.table + cluster * width, width) & 0x0FFFFFFF


def _entries(folder: bytes) -> Iterator[_Entry]:
    """What a folder holds, with long names."""
    long = ""
    for at in range(0, len(folder) - 31, 32):
        entry = folder[at : at + 32]
        if not entry[0]:
            return
        if entry[0] == 0xE5:
            long = ""
        elif entry[11] == _PART_OF_NAME:
            piece = (entry[1:11] + entry[14:26] + entry[28:32]).decode("utf-16-le", "replace")
            long = piece.split("\0")[0].rstrip("\uffff") + ("" if entry[0] & 0x40 else long)
        else:
            base, suffix = (part.decode("cp437").rstrip() for part in (entry[:8], entry[8:11]))
            name = long or (f"{base}.{suffix}" if suffix else base)
            long = ""
            if base not in (".", "..") and not (entry[11] & _LABEL):
                cluster = int.from_bytes(entry[26:28], "little") | int.from_bytes(entry[20:22], "little") << 16
                yield _Entry(name, bool(entry[11] & _FOLDER), cluster, int.from_bytes(entry[28:32], "little"))
