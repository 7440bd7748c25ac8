"""The files of UDF (ECMA-167, OSTA UDF 1.02 to 2.60): what Windows shows of images that have it, whatever they say in ISO 9660.

Partitions of the plain, the sparable and the metadata kind are read; of the virtual kind (discs written in sessions) is said that it
is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.file_systems import walk
from mailguard.sandbox.unpack.virtual_disks import Disk
from mailguard.sandbox.unpack.work import File, Work

EXTENTS = 4_096
"""Pieces of a file that are put together."""
DESCRIPTORS = 64
"""Descriptors of a volume that are read."""
FOLDER = 4 * 1024 * 1024
"""Octets of a folder that are read."""
_PRIMARY, _PARTITION, _LOGICAL, _TERMINATOR = 1, 5, 6, 8
_FILE_SET, _FILE_NAME, _FILE, _EXTENDED_FILE = 256, 257, 261, 266
_ANCHOR, _CONTINUATION = 2, 258
_FOLDER_TYPE = 4
_SHOWN_TYPES = (0, 5)
"""Types of files with content: unspecified, and a sequence of octets."""
_DELETED, _PARENT = 0x04, 0x08


class UnreadableError(ValueError):
    """It has UDF of a kind that is not read, or a broken one."""


@dataclass(frozen=True, slots=True)
class _Extent:
    """`size` octets at `block` of a partition; `block` -1: zeros."""

    block: int
    size: int
    partition: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a file entry says."""

    kind: int
    size: int
    content: bytes | None
    extents: tuple[_Extent, ...]


@dataclass(frozen=True, slots=True)
class _Node:
    """What a folder names, with its entry and where that is: partition and block."""

    name: str
    entry: _Entry
    place: tuple[int, int]

    @property
    def is_folder(self) -> bool:
        return self.entry.kind == _FOLDER_TYPE


class Udf:
    """A UDF volume. Raises UnreadableError when there is none that can be read."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.sector = 0
        self._starts: dict[int, int] = {}
        """Where a partition begins, in octets, by its number."""
        self._maps: list[tuple[int, _Entry | None]] = []
        """By reference: number of the partition, and the file in it that stands for its blocks, if one does."""
        anchor = self._anchor()
        logical = self._volume(anchor)
        self.block = int.from_bytes(logical[212:216], "little")
        if self.block not in (512, 1024, 2048, 4096, 8192, 16_384, 32_768):
            raise UnreadableError(f"blocks of {self.block} octets")
        self._read_maps(logical)
        self._root = self._file_set(logical)

    def files(self, file: File, work: Work) -> Iterator[tuple[str, bytes]]:
        """The files, with their paths."""
        for path, node in walk(self._node("", self._root), self._folder, file, work):
            if node.entry.kind in _SHOWN_TYPES:
                yield path, self._content(node.entry, min(node.entry.size, work.may_hold(file, node.entry.size)))

    def _node(self, name: str, place: _Extent) -> _Node:
        return _Node(name, self._entry(place), (place.partition, place.block))

    def _folder(self, folder: _Node) -> Iterator[_Node]:
        return (self._node(*named) for named in self._names(self._content(folder.entry, FOLDER)))

    def _anchor(self) -> bytes:
        for sector in (2048, 512, 4096, 1024):
            last = self._disk.size // sector
            for number in (256, last - 1, last - 257, 512):
                anchor = self._disk.read(number * sector, 512)
                if number > 0 and _tag(anchor) == _ANCHOR and int.from_bytes(anchor[12:16], "little") == number:
                    self.sector = sector
                    return anchor
        raise UnreadableError("no anchor")

    def _volume(self, anchor: bytes) -> bytes:
        """The descriptor of the logical volume; fills in where partitions begin."""
        for size, sector in ((anchor[at : at + 4], anchor[at + 4 : at + 8]) for at in (16, 24)):
            logical = b""
            first = int.from_bytes(sector, "little")
            for number in range(min(int.from_bytes(size, "little") // self.sector, DESCRIPTORS)):
                one = self._disk.read((first + number) * self.sector, self.sector)
                match _tag(one):
                    case 0 | 8:
                        break
                    case 5:
                        start = int.from_bytes(one[188:192], "little") * self.sector
                        self._starts[int.from_bytes(one[22:24], "little")] = start
                    case 6:
                        logical = one
            if logical and self._starts:
                return logical
        raise UnreadableError("no volume")

    def _read_maps(self, logical: bytes) -> None:
        at = 440
        metadata: dict[int, tuple[int, int]] = {}
        for index in range(min(int.from_bytes(logical[268:272], "little"), 8)):
            kind, size = logical[at], logical[at + 1]
            if kind == 1:
                self._maps.append((int.from_bytes(logical[at + 4 : at + 6], "little"), None))
            elif kind == 2:
                name = logical[at + 5 : at + 28].rstrip(b"\0")
                number = int.from_bytes(logical[at + 38 : at + 40], "little")
                if name == b"*UDF Metadata Partition":
                    places = (int.from_bytes(logical[one : one + 4], "little") for one in (at + 40, at + 44))
                    metadata[index] = (next(places), next(places))
                elif name != b"*UDF Sparable Partition":
                    raise UnreadableError(name.decode("latin-1"))
                self._maps.append((number, None))
            at += max(size, 1)
        for index, blocks in metadata.items():  # once all are known: its file lies in one of the others
            number = self._maps[index][0]
            plain = next((one for one, (of, _) in enumerate(self._maps) if of == number and one not in metadata), index)
            entries = (self._entry(_Extent(block, self.block, plain)) for block in blocks)
            self._maps[index] = (number, next((one for one in entries if one.extents), None))

    def _file_set(self, logical: bytes) -> _Extent:
        """Where the root folder's entry is."""
        place = _long(logical[248:264])
        found = self._blocks(place, 512)
        if _tag(found) != _FILE_SET:
            raise UnreadableError("no set of files")
        return _long(found[400:416])

    def _blocks(self, extent: _Extent, limit: int) -> bytes:
        """The first `limit` octets of an extent."""
        size = min(extent.size, limit)
        if extent.block < 0:
            return bytes(size)
        if extent.partition >= len(self._maps):
            raise UnreadableError(f"no partition {extent.partition}")
        number, table = self._maps[extent.partition]
        if table is not None:
            return self._within(table, extent.block * self.block, size)
        if number not in self._starts:
            raise UnreadableError(f"no partition {number}")
        return self._disk.read(self._starts[number] + extent.block * self.block, size)

    def _within(self, table: _Entry, at: int, size: int) -> bytes:
        """Octets of the file that stands for the blocks of a partition: of the extent that has the first of them."""
        for extent in table.extents:
            if at < extent.size:
                block, within = extent.block + at // self.block, at % self.block
                return self._blocks(_Extent(block, extent.size - (at - within), extent.partition), within + size)[
                    within:
                ]
            at -= extent.size
        return b""

    def _entry(self, place: _Extent) -> _Entry:
        raw = self._blocks(_Extent(place.block, self.block, place.partition), self.block)
        tag = _tag(raw)
        if tag not in (_FILE, _EXTENDED_FILE):
            return _Entry(-1, 0, None, ())
        kind, flags, size = raw[27], raw[34] & 7, int.from_bytes(raw[56:64], "little")
        at = 168 if tag == _FILE else 208
        extra, length = (int.from_bytes(raw[one : one + 4], "little") for one in (at, at + 4))
        area = raw[at + 8 + extra : at + 8 + extra + length]
        if flags == 3:
            return _Entry(kind, size, area[:size], ())
        return _Entry(kind, size, None, tuple(self._extents(area, flags, place.partition)))

    def _extents(self, area: bytes, flags: int, partition: int) -> Iterator[_Extent]:
        width = (8, 16, 20)[flags] if flags < 3 else 8
        areas = 0
        at = 0
        for _ in range(EXTENTS):
            one = area[at : at + width]
            word = int.from_bytes(one[:4], "little")
            size, kind = word & 0x3FFFFFFF, word >> 30
            if len(one) < width or not size:
                return
            at += width
            place = 12 if width == 20 else 4
            block = int.from_bytes(one[place : place + 4], "little")
            within = partition if width == 8 else int.from_bytes(one[place + 4 : place + 6], "little")
            if kind == 3:  # goes on elsewhere
                areas += 1
                more = self._blocks(_Extent(block, size, within), self.block)
                if _tag(more) != _CONTINUATION or areas > DESCRIPTORS:
                    return
                area, at = more[24 : 24 + int.from_bytes(more[20:24], "little")], 0
            else:
                yield _Extent(block if kind == 0 else -1, size, within)

    def _content(self, entry: _Entry, limit: int) -> bytes:
        if entry.content is not None:
            return entry.content[:limit]
        out = bytearray()
        for extent in entry.extents:
            if len(out) >= limit:
                break
            out += self._blocks(extent, limit - len(out))
        return bytes(out[: min(entry.size, limit)])

    def _names(self, folder: bytes) -> Iterator[tuple[str, _Extent]]:
        at = 0
        while at + 38 <= len(folder) and _tag(folder[at : at + 16]) == _FILE_NAME:
            flags, length, place = folder[at + 18], folder[at + 19], _long(folder[at + 20 : at + 36])
            used = int.from_bytes(folder[at + 36 : at + 38], "little")
            name = folder[at + 38 + used : at + 38 + used + length]
            if not flags & (_DELETED | _PARENT):
                yield _text(name), place
            at += -(-(38 + used + length) // 4) * 4


def _tag(raw: bytes) -> int:
    """The kind of a descriptor; -1 when its tag is not whole (§3/7.2: the sum of its other octets is in the fifth)."""
    if len(raw) < 16 or (sum(raw[:16]) - raw[4]) & 0xFF != raw[4]:
        return -1
    return int.from_bytes(raw[:2], "little")


def _long(raw: bytes) -> _Extent:
    """A long_ad (§4/14.14.2)."""
    size, block = (int.from_bytes(raw[at : at + 4], "little") for at in (0, 4))
    return _Extent(block, size & 0x3FFFFFFF, int.from_bytes(raw[8:10], "little"))


def _text(name: bytes) -> str:
    """OSTA compressed Unicode (UDF §2.1.1)."""
    return name[1:].decode("utf-16-be" if name[:1] in (b"\x10", b"\xff") else "latin-1", "replace")
