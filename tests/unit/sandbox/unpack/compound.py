"""Writes OLE compound files (MS-CFB, version 3): what Outlook's messages, installers and old Office documents are."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

SECTOR, MINI, CUTOFF = 512, 64, 4096
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5


@dataclass(slots=True)
class _Entry:
    name: str
    kind: int
    data: bytes = b""
    children: list[int] = field(default_factory=list)
    right: int = FREE
    start: int = END
    kind_id: bytes = bytes(16)


def compound(streams: Mapping[str, bytes], *, kind: UUID | None = None) -> bytes:
    """A file with these streams, by their paths: `__attach_version1.0_#00000000/__substg1.0_37010102`; `kind`: its class."""
    entries = _entries(streams)
    entries[0].kind_id = kind.bytes_le if kind else bytes(16)
    mini = bytearray()
    mini_fat: list[int] = []
    for one in entries:
        if one.kind == _STREAM and 0 < len(one.data) < CUTOFF:
            one.start = _chain(mini_fat, -(-len(one.data) // MINI))
            mini += _padded(one.data, MINI)
    fat: list[int] = []
    body = bytearray()

    def put(data: bytes) -> int:
        if not data:
            return END
        body.extend(_padded(data, SECTOR))
        return _chain(fat, -(-len(data) // SECTOR))

    entries[0].start, entries[0].data = put(bytes(mini)), bytes(mini)
    for one in entries:
        if one.kind == _STREAM and len(one.data) >= CUTOFF:
            one.start = put(one.data)
    mini_start = put(_words(mini_fat))
    directory = put(b"".join(map(_packed, entries)))
    sectors = 1
    while sectors * SECTOR // 4 < len(fat) + sectors:
        sectors += 1
    first = len(fat)
    fat += [FAT] * sectors
    assert sectors <= 109
    table = _words(fat + [FREE] * (sectors * SECTOR // 4 - len(fat)))
    header = struct.pack(
        "<8s16sHHHHHHLLLLLLLLLL",
        *(
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            bytes(16),
            0x3E,
            3,
            0xFFFE,
            9,
            6,
            0,
            0,
            0,
            sectors,
            directory,
            0,
            CUTOFF,
        ),
        *(mini_start, -(-len(mini_fat) * 4 // SECTOR), END, 0),
    )
    places = [*range(first, first + sectors)]
    return header + _words(places + [FREE] * (109 - sectors)) + bytes(body) + table


def _entries(streams: Mapping[str, bytes]) -> list[_Entry]:
    entries = [_Entry("Root Entry", _ROOT)]
    known = {"": 0}
    for path, data in streams.items():
        above = ""
        for name in path.split("/"):
            here = f"{above}/{name}" if above else name
            if here not in known:
                known[here] = len(entries)
                entries[known[above]].children.append(len(entries))
                entries.append(_Entry(name, _STREAM if here == path else _STORAGE, data if here == path else b""))
            above = here
    for one in entries:  # brothers hang on each other's right
        for left, right in zip(one.children, one.children[1:], strict=False):
            entries[left].right = right
    return entries


def _packed(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le") + b"\0\0"
    child = entry.children[0] if entry.children else FREE
    start = entry.start if entry.kind != _STORAGE else 0
    return struct.pack(
        "<64sHBBLLL16sLQQLQ",
        *(name, len(name), entry.kind, 1, FREE, entry.right, child, entry.kind_id, 0, 0, 0, start, len(entry.data)),
    )


def _chain(table: list[int], count: int) -> int:
    """Add a chain of `count` sectors to a table; the first one."""
    first = len(table)
    table += [*range(first + 1, first + count), END]
    return first


def _padded(data: bytes, unit: int) -> bytes:
    return data + bytes(-len(data) % unit)


def _words(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}L", *numbers)
