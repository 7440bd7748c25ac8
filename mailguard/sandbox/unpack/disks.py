"""Images of disks: FAT in raw images and in VHD (fixed and dynamic) is opened; others are recognised. VHD 1.0; FAT specification 1.03."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.work import File, Work

SECTOR = 512
ENTRIES = 4_000
"""Entries of folders that are read of a disk."""
CLUSTERS = 131_072
"""Clusters of a file that are followed."""
_ABSENT = 0xFFFFFFFF


def report_image(file: File, work: Work) -> None:
    """Report an image that another opener opens."""
    work.found(file, "DISK_IMAGE", file.kind)


def report_udf(file: File, work: Work) -> None:
    """Report an image with UDF, which Windows prefers to what the image says in ISO 9660, and which nobody here reads."""
    work.found(file, "DISK_IMAGE", file.kind)
    work.found(file, "ARCHIVE_UNOPENED", "UDF")


def open_disk(file: File, work: Work) -> None:
    """Report an image, and hand on what is in its file systems, if they are FAT."""
    work.found(file, "DISK_IMAGE", file.kind)
    raw = _plain(file, work)
    opened = False
    for start in _partitions(raw):
        if fat := _Fat.of(raw, start):
            opened = True
            for name, content in fat.files(file, work):
                work.add(file, name, content)
    if not opened:
        work.found(file, "ARCHIVE_UNOPENED", file.kind)


def _plain(file: File, work: Work) -> bytes:
    """The disk's octets in their order."""
    raw = file.raw
    footer = raw[-SECTOR:] if raw[-SECTOR:].startswith(b"conectix") else raw[:SECTOR]
    if not footer.startswith(b"conectix"):
        return raw
    if int.from_bytes(footer[60:64], "big") == 2:
        return raw[:-SECTOR]
    at = int.from_bytes(footer[16:24], "big")
    header = raw[at : at + 1024]
    if not header.startswith(b"cxsparse"):
        return b""
    table, count, block = (int.from_bytes(header[a:b], "big") for a, b in ((16, 24), (28, 32), (32, 36)))
    count = min(count, 65_536)
    bitmap = -(-(block // SECTOR // 8) // SECTOR) * SECTOR
    used = [int.from_bytes(raw[table + 4 * one : table + 4 * one + 4], "big") for one in range(count)]
    while used and used[-1] == _ABSENT:
        used.pop()
    work.may_hold(file, len(used) * block)
    empty = bytes(block)
    pieces = []
    for place in used:
        start = place * SECTOR + bitmap
        pieces.append(empty if place == _ABSENT else raw[start : start + block].ljust(block, b"\0"))
    return b"".join(pieces)


def _partitions(raw: bytes) -> Iterator[int]:
    """Where file systems may begin: the disk itself, and what its table says (MBR, GPT)."""
    yield 0
    if raw[510:512] != b"\x55\xaa":
        return
    for at in range(446, 510, 16):
        start = int.from_bytes(raw[at + 8 : at + 12], "little") * SECTOR
        if raw[at + 4] and 0 < start < len(raw):
            yield start
    if raw.startswith(b"EFI PART", SECTOR):
        for at in range(1024, 1024 + 128 * 16, 128):
            start = int.from_bytes(raw[at + 32 : at + 40], "little") * SECTOR
            if any(raw[at : at + 16]) and 0 < start < len(raw):
                yield start


@dataclass(frozen=True, slots=True)
class _Fat:
    """A FAT file system. Offsets in octets, of the disk."""

    raw: bytes
    bits: int
    table: int
    data: int
    cluster: int
    root: int
    """Its first cluster (FAT32), else where it begins."""
    root_size: int

    @staticmethod
    def of(raw: bytes, start: int) -> _Fat | None:
        """What begins at `start`, if it is one."""
        head = raw[start : start + SECTOR]
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
        return _Fat(raw, bits, start + reserved * sector, start + before * sector, per * sector, root, root_size)

    def files(self, file: File, work: Work) -> Iterator[tuple[str, bytes]]:
        """The files, with their paths."""
        first = (
            self._chain(self.root, work.may_hold(file, -1)) if self.bits == 32 else self._at(self.root, self.root_size)
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

    def _at(self, at: int, size: int) -> bytes:
        return self.raw[at : at + size]

    def _chain(self, cluster: int, size: int) -> bytes:
        out = bytearray()
        seen: set[int] = set()
        while len(out) < size and 2 <= cluster < _end_of(self.bits) and cluster not in seen and len(seen) < CLUSTERS:
            seen.add(cluster)
            piece = self._at(self.data + (cluster - 2) * self.cluster, self.cluster)
            if not piece:
                break
            out += piece
            cluster = self._next(cluster)
        return bytes(out[:size])

    def _next(self, cluster: int) -> int:
        if self.bits == 12:
            pair = int.from_bytes(self._at(self.table + cluster + cluster // 2, 2), "little")
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        width = self.bits // 8
        return int.from_bytes(self._at(self.table + cluster * width, width), "little") & 0x0FFFFFFF


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
