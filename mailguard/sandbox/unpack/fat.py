"""The files of FAT 12, 16 and 32 (Microsoft's specification 1.03)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.virtual_disks import SECTOR, Disk
from mailguard.sandbox.unpack.work import File, Work

ENTRIES = 4_000
"""Entries of folders that are read of a file system."""
CLUSTERS = 131_072
"""Clusters of a file that are followed."""


@dataclass(frozen=True, slots=True)
class Fat:
    """A FAT file system. Offsets in octets, of the disk."""

    disk: Disk
    bits: int
    table: int
    data: int
    cluster: int
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
        return Fat(disk, bits, start + reserved * sector, start + before * sector, per * sector, root, root_size)

    def files(self, file: File, work: Work) -> Iterator[tuple[str, bytes]]:
        """The files, with their paths."""
        first = (
            self._chain(self.root, work.may_hold(file, -1))
            if self.bits == 32
            else self.disk.read(self.root, self.root_size)
        )
        waiting = [("", first)]
        seen: set[int] = set()
        left = ENTRIES
        while waiting:
            path, folder = waiting.pop()
            for name, attributes, cluster, size in _entries(folder):
                left -= 1
                if left < 0:
                    work.found(file, "UNPACK_TOO_MANY", f"more than {ENTRIES} entries")
                    return
                if attributes & 0x10:
                    if cluster not in seen:
                        seen.add(cluster)
                        waiting.append((f"{path}{name}/", self._chain(cluster, 1 << 20)))
                else:
                    yield path + name, self._chain(cluster, min(size, work.may_hold(file, size)))

    def _chain(self, cluster: int, size: int) -> bytes:
        out = bytearray()
        seen: set[int] = set()
        while len(out) < size and 2 <= cluster < _end_of(self.bits) and cluster not in seen and len(seen) < CLUSTERS:
            seen.add(cluster)
            piece = self.disk.read(self.data + (cluster - 2) * self.cluster, self.cluster)
            if not piece:
                break
            out += piece
            cluster = self._next(cluster)
        return bytes(out[:size])

    def _next(self, cluster: int) -> int:
        if self.bits == 12:
            pair = self.disk.number(self.table + cluster + cluster // 2, 2)
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        width = self.bits // 8
        return self.disk.number(self.table + cluster * width, width) & 0x0FFFFFFF


def _end_of(bits: int) -> int:
    return {12: 0xFF7, 16: 0xFFF7}.get(bits, 0x0FFFFFF7)


def _entries(folder: bytes) -> Iterator[tuple[str, int, int, int]]:
    """(name, attributes, first cluster, size), with long names."""
    long = ""
    for at in range(0, len(folder) - 31, 32):
        entry = folder[at : at + 32]
        if not entry[0]:
            return
        if entry[0] == 0xE5:
            long = ""
        elif entry[11] == 0x0F:
            piece = (entry[1:11] + entry[14:26] + entry[28:32]).decode("utf-16-le", "replace")
            long = piece.split("\0")[0].rstrip("\uffff") + ("" if entry[0] & 0x40 else long)
        else:
            base, suffix = (part.decode("cp437").rstrip() for part in (entry[:8], entry[8:11]))
            name = long or (f"{base}.{suffix}" if suffix else base)
            long = ""
            if base not in (".", "..") and not (entry[11] & 0x08):
                cluster = int.from_bytes(entry[26:28], "little") | int.from_bytes(entry[20:22], "little") << 16
                yield name, entry[11], cluster, int.from_bytes(entry[28:32], "little")
