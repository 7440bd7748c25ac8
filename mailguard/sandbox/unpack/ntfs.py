"""The files of NTFS, with their further streams, out of its table of files (MFT); compressed and encrypted ones are named alone.

NTFS 3.1, as Microsoft's "Master File Table" and the Linux-NTFS project's documentation describe it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mailguard.sandbox.unpack.virtual_disks import SECTOR, Disk
from mailguard.sandbox.unpack.work import File, Work

RECORDS = 20_000
"""Records of the table that are read."""
RUNS = 4_096
"""Pieces of a file that are put together."""
DEPTH = 64
"""Folders in which a file lies at most."""
_OWN = 24
"""The first records are those of the file system's own files."""
_RESERVED = "$Extend/"
"""A folder in which NTFS alone can put files: its journals, of ten megabytes and more."""
_NAME, _DATA = 0x30, 0x80
_COMPRESSED, _ENCRYPTED = 0x00FF, 0x4000
_DOS_NAME = 2
_REFERENCE = (1 << 48) - 1


@dataclass(slots=True)
class _Stream:
    """The content of a file, or a further stream of it: either `content`, or runs of (first cluster, clusters), -1 for zeros."""

    content: bytes = b""
    size: int = 0
    runs: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """By the first cluster of the stream that they tell of."""
    packed: bool = False


@dataclass(slots=True)
class _Record:
    """A file or folder."""

    names: list[tuple[int, int, str]] = field(default_factory=list)
    """(namespace, record of the folder, name)."""
    streams: dict[str, _Stream] = field(default_factory=dict)
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Ntfs:
    """An NTFS file system. `start` and `cluster` in octets; `table`: the first cluster of the table of files."""

    disk: Disk
    start: int
    cluster: int
    record: int
    table: int

    @staticmethod
    def of(disk: Disk, start: int) -> Ntfs | None:
        """What begins at `start`, if it is one."""
        head = disk.read(start, SECTOR)
        if head[3:11] != b"NTFS    ":
            return None
        sector, per = int.from_bytes(head[11:13], "little"), head[13]
        per = 1 << (256 - per) if per > 0x80 else per
        size = int.from_bytes(head[64:65], "little", signed=True)
        cluster = sector * per
        if sector not in (256, 512, 1024, 2048, 4096) or not per or per & (per - 1) or cluster > 1 << 21:
            return None
        record = size * cluster if size > 0 else 1 << min(-size, 32)
        if not 256 <= record <= 65_536:
            return None
        return Ntfs(disk, start, cluster, record, int.from_bytes(head[48:56], "little"))

    def files(self, file: File, work: Work) -> Iterator[tuple[str, bytes]]:
        """The files, with their paths; a further stream as `name:stream`."""
        records = self._records(file, work)
        for number, record in records.items():
            if number < _OWN or record.folder:
                continue
            path = _path(records, number)
            if path.startswith(_RESERVED):
                continue
            for name, stream in record.streams.items():
                shown = f"{path}:{name}" if name else path
                if stream.packed:
                    work.found(file, "ARCHIVE_UNOPENED", f"{shown}: compressed or encrypted by NTFS")
                    work.mention(file, shown, stream.size)
                elif stream.size:
                    yield shown, self._content(stream, work.may_hold(file, stream.size))

    def _records(self, file: File, work: Work) -> dict[int, _Record]:
        first = _mended(self.disk.read(self.start + self.table * self.cluster, self.record))
        records: dict[int, _Record] = {}
        _read(first, 0, records)
        table = records[0].streams.get("") if 0 in records else None
        if table is None:
            return {}
        records.clear()
        number = 0
        left = min(table.size, RECORDS * self.record)
        if table.size > left:
            work.found(file, "UNPACK_TOO_MANY", f"more than {RECORDS} records")
        for piece in self._pieces(table, left, self.record):
            work.tick(file)
            for at in range(0, len(piece), self.record):
                if number >= RECORDS:
                    return records
                _read(_mended(piece[at : at + self.record]), number, records)
                number += 1
        return records

    def _content(self, stream: _Stream, limit: int) -> bytes:
        size = min(stream.size, limit)
        return stream.content[:size] if not stream.runs else b"".join(self._pieces(stream, size, 1))

    def _pieces(self, stream: _Stream, size: int, whole: int) -> Iterator[bytes]:
        """The stream's first `size` octets, in pieces of 1 MiB at most, each of a multiple of `whole`."""
        step = max(whole, (1 << 20) // whole * whole)
        rest = b""
        count = 0
        for _, runs in sorted(stream.runs.items()):
            for first, clusters in runs:
                count += 1
                if count > RUNS or size <= 0:
                    break
                at, left = self.start + first * self.cluster, min(clusters * self.cluster, size)
                size -= left
                while left > 0:
                    piece = bytes(min(left, step)) if first < 0 else self.disk.read(at, min(left, step))
                    if not piece:
                        return
                    at, left = at + len(piece), left - len(piece)
                    rest += piece
                    even = len(rest) // whole * whole
                    if even:
                        yield rest[:even]
                        rest = rest[even:]


def _mended(raw: bytes) -> bytes:
    """A record as it was before the last two octets of each sector were exchanged, when it was written; empty for none."""
    if not raw.startswith(b"FILE"):
        return b""
    at, count = (int.from_bytes(raw[one : one + 2], "little") for one in (4, 6))
    out = bytearray(raw)
    for index in range(1, min(count, len(raw) // SECTOR + 1)):
        out[index * SECTOR - 2 : index * SECTOR] = raw[at + 2 * index : at + 2 * index + 2]
    return bytes(out[: len(raw)])


def _read(raw: bytes, number: int, records: dict[int, _Record]) -> None:
    """Take a record in use into `records`; what continues another one, into that."""
    flags = int.from_bytes(raw[22:24], "little")
    if not flags & 1:
        return
    base = int.from_bytes(raw[32:40], "little") & _REFERENCE
    record = records.setdefault(base or number, _Record())
    record.folder |= bool(flags & 2)
    at = int.from_bytes(raw[20:22], "little")
    while at + 24 <= len(raw):
        kind, size = (int.from_bytes(raw[one : one + 4], "little") for one in (at, at + 4))
        if kind == 0xFFFFFFFF or size < 24:
            return
        attribute = raw[at : at + size]
        if kind == _NAME and not attribute[8]:
            _name(_resident(attribute), record)
        elif kind == _DATA:
            _data(attribute, record)
        at += size


def _resident(attribute: bytes) -> bytes:
    size, at = int.from_bytes(attribute[16:20], "little"), int.from_bytes(attribute[20:22], "little")
    return attribute[at : at + size]


def _name(value: bytes, record: _Record) -> None:
    if len(value) < 66:
        return
    name = value[66 : 66 + 2 * value[64]].decode("utf-16-le", "replace")
    record.names.append((value[65], int.from_bytes(value[:8], "little") & _REFERENCE, name))


def _data(attribute: bytes, record: _Record) -> None:
    at = int.from_bytes(attribute[10:12], "little")
    name = attribute[at : at + 2 * attribute[9]].decode("utf-16-le", "replace")
    stream = record.streams.setdefault(name, _Stream())
    stream.packed |= bool(int.from_bytes(attribute[12:14], "little") & (_COMPRESSED | _ENCRYPTED))
    if not attribute[8]:
        stream.content = _resident(attribute)
        stream.size = len(stream.content)
        return
    start, at = int.from_bytes(attribute[16:24], "little"), int.from_bytes(attribute[32:34], "little")
    if not start:
        stream.size = int.from_bytes(attribute[48:56], "little")
    stream.runs[start] = list(_runs(attribute, at))


def _runs(attribute: bytes, at: int) -> Iterator[tuple[int, int]]:
    """(first cluster, or -1 for zeros; clusters)."""
    cluster = 0
    for _ in range(RUNS):
        if at >= len(attribute) or not attribute[at]:
            return
        count, offset = attribute[at] & 15, attribute[at] >> 4
        length = int.from_bytes(attribute[at + 1 : at + 1 + count], "little")
        at += 1 + count
        cluster += int.from_bytes(attribute[at : at + offset], "little", signed=True)
        at += offset
        yield (cluster if offset else -1), length


def _path(records: dict[int, _Record], number: int) -> str:
    parts: list[str] = []
    seen: set[int] = set()
    while number not in seen and len(parts) < DEPTH and number in records and records[number].names:
        seen.add(number)
        # The name for DOS only where there is no other.
        _, parent, name = min(records[number].names, key=lambda one: one[0] == _DOS_NAME)
        if number == parent:  # the root
            break
        parts.append(name)
        number = parent
    return "/".join(reversed(parts)) or "unnamed"
