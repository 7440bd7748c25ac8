"""Images of disks and discs made for tests: NTFS, exFAT, virtual disks (VHD, VHDX), UDF as Windows mounts it. 7-Zip reads what is made here, but for exFAT."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path
from uuid import UUID

CLUSTER, RECORD, SECTOR = 4096, 1024, 512
_RECORDS = 32
_FIRST_FREE = 12
"""Clusters before it: the boot sector, and from the fourth on the table of files."""


def ntfs(
    name: str, raw: bytes, *, folder: str = "docs", stream: tuple[str, bytes] = ("", b""), flags: int = 0
) -> bytes:
    """A disk with one file in one folder, in two pieces that do not follow each other; `stream`: a further one of it, (name, content).

    `flags`: of the file's content: 1 compressed, 0x4000 encrypted (it is neither).
    """
    clusters = -(-len(raw) // CLUSTER) or 1
    half = clusters // 2
    second = _FIRST_FREE + clusters - half + 3
    runs = _run(clusters - half, _FIRST_FREE) + (_run(half, second - _FIRST_FREE) if half else b"")
    total = second + half + 1
    records = {number: _record(number, [], 1) for number in range(_RECORDS)}
    table = _outside(_run(_RECORDS * RECORD // CLUSTER, 4), _RECORDS * RECORD)
    records[0] = _record(0, [_named("$MFT", 5), table], 1)
    records[5] = _record(5, [_named(".", 5)], 3)
    records[24] = _record(24, [_named(folder, 5)], 3)
    further = [_inside(stream[1], stream[0])] if stream[0] else []
    records[25] = _record(25, [_named(name, 24), _outside(runs, len(raw), flags), *further], 1)
    records[26] = _record(26, [_named("deleted.exe", 24), _inside(b"gone")], 0)
    out = bytearray(total * CLUSTER)
    boot = bytearray(SECTOR)
    boot[:13] = b"\xeb\x52\x90NTFS    " + struct.pack("<H", SECTOR)
    boot[13] = CLUSTER // SECTOR
    struct.pack_into("<BHHBH", boot, 21, 0xF8, 0, 63, 255, 0)
    boot[36:40] = b"\x80\0\x80\0"
    struct.pack_into("<QQQBxxxBxxxQ", boot, 40, total * (CLUSTER // SECTOR) - 1, 4, 2, 0xF6, 1, 4711)
    boot[510:] = b"\x55\xaa"
    out[:SECTOR] = boot
    out[4 * CLUSTER : 4 * CLUSTER + _RECORDS * RECORD] = b"".join(records.values())
    out[_FIRST_FREE * CLUSTER : _FIRST_FREE * CLUSTER + min(len(raw), (clusters - half) * CLUSTER)] = raw[
        : (clusters - half) * CLUSTER
    ]
    rest = raw[(clusters - half) * CLUSTER :]
    out[second * CLUSTER : second * CLUSTER + len(rest)] = rest
    return bytes(out)


def _run(count: int, offset: int) -> bytes:
    return b"\x44" + struct.pack("<ii", count, offset)


def _attribute(kind: int, body: bytes, *, outside: bool = False, name: str = "", flags: int = 0) -> bytes:
    size = -(-(16 + len(body)) // 8) * 8
    at = 24 if name else 0
    return (struct.pack("<IIBBHHH", kind, size, outside, len(name), at, flags, 0) + body).ljust(size, b"\0")


def _inside(value: bytes, name: str = "") -> bytes:
    encoded = name.encode("utf-16-le")
    at = -(-(24 + len(encoded)) // 8) * 8
    return _attribute(0x80, struct.pack("<IHH", len(value), at, 0) + encoded.ljust(at - 24, b"\0") + value, name=name)


def _outside(runs: bytes, size: int, flags: int = 0) -> bytes:
    clusters = -(-size // CLUSTER) or 1
    body = struct.pack("<QQHHIQQQ", 0, clusters - 1, 64, 0, 0, clusters * CLUSTER, size, size)
    return _attribute(0x80, body + runs + b"\0", outside=True, flags=flags)


def _named(name: str, parent: int) -> bytes:
    encoded = name.encode("utf-16-le")
    value = struct.pack("<Q", parent | 1 << 48) + bytes(48) + bytes(8) + bytes([len(name), 1]) + encoded
    return _attribute(0x30, struct.pack("<IHH", len(value), 24, 0) + value)


def _record(number: int, attributes: list[bytes], flags: int) -> bytes:
    body = b"".join(attributes) + b"\xff\xff\xff\xff\0\0\0\0"
    head = struct.pack("<4sHHQHHHHIIQHHI", b"FILE", 48, 3, 0, 1, 1, 56, flags, 56 + len(body), RECORD, 0, 9, 0, number)
    out = bytearray((head.ljust(48, b"\0") + b"\7\0".ljust(8, b"\0") + body).ljust(RECORD, b"\0"))
    for index in (1, 2):  # the last two octets of each sector stand in the record's head, while it is on the disk
        out[48 + 2 * index : 50 + 2 * index] = out[index * SECTOR - 2 : index * SECTOR]
        out[index * SECTOR - 2 : index * SECTOR] = b"\7\0"
    return bytes(out)


def exfat(name: str, raw: bytes, *, folder: str = "docs", chained: bool = True) -> bytes:
    """A disk with one file in one folder; its clusters are those of a `chained` list, each but the first behind a gap, or lie in a row."""
    clusters = -(-len(raw) // CLUSTER) or 1
    own = [4 + number * (2 if chained else 1) for number in range(clusters)]
    total = own[-1] + 1
    table_at, data_at = 24, 24 + 8 * (-(-(total + 2) * 4 // CLUSTER))
    out = bytearray(data_at * SECTOR + total * CLUSTER)
    boot = bytearray(SECTOR)
    boot[:11] = b"\xeb\x76\x90EXFAT   "
    struct.pack_into(
        "<QQIIIIII", boot, 64, 0, len(out) // SECTOR, table_at, data_at - table_at, data_at, total, 2, 4711
    )
    struct.pack_into("<HHBBBBB", boot, 104, 0x100, 0, 9, 3, 1, 0x80, 0xFF)
    boot[510:] = b"\x55\xaa"
    out[:SECTOR] = boot
    chain = [0xFFFFFFF8, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, *[0] * total]
    for cluster, follows in zip(own, [*own[1:], 0xFFFFFFFF], strict=True):
        chain[cluster] = follows if chained else 0
    out[table_at * SECTOR : table_at * SECTOR + 4 * (total + 2)] = struct.pack(f"<{total + 2}I", *chain[: total + 2])

    def put(cluster: int, content: bytes) -> None:
        at = data_at * SECTOR + (cluster - 2) * CLUSTER
        out[at : at + len(content)] = content

    gone = bytearray(_entry("gone.exe", 0x20, 4, 9, False))
    for at in range(0, len(gone), 32):
        gone[at] &= 0x7F  # deleted
    label = bytes([0x83, 1]) + "x".encode("utf-16-le").ljust(30, b"\0")
    put(2, label + bytes(gone) + _entry(folder, 0x10, 3, CLUSTER, True))
    put(3, _entry(name, 0x20, own[0], len(raw), not chained))
    for number, cluster in enumerate(own):
        put(cluster, raw[number * CLUSTER : (number + 1) * CLUSTER])
    return bytes(out)


def _entry(name: str, attributes: int, cluster: int, size: int, in_a_row: bool) -> bytes:
    encoded = name.encode("utf-16-le")
    pieces = [encoded[at : at + 30].ljust(30, b"\0") for at in range(0, len(encoded), 30)]
    head = struct.pack("<BBHHHIIIBBBBB7x", 0x85, 1 + len(pieces), 0, attributes, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    stream = struct.pack("<BBBBHHQIIQ", 0xC0, 3 if in_a_row else 1, 0, len(name), 0, 0, size, 0, cluster, size)
    return head + stream + b"".join(b"\xc1\0" + piece for piece in pieces)


def partitioned(system: bytes) -> bytes:
    """A disk with a table (MBR) of one partition, behind 64 KiB."""
    table = bytearray(64 * 1024)
    table[446:462] = struct.pack("<B3sB3sII", 0, b"", 7, b"", 128, len(system) // SECTOR)
    table[510:512] = b"\x55\xaa"
    return bytes(table) + system


def vhd(disk: bytes) -> bytes:
    """A fixed VHD."""
    footer = b"conectix" + struct.pack(
        ">IIQI4sI4sQQ", 2, 0x10000, (1 << 64) - 1, 0, b"win ", 0xA0000, b"Wi2k", len(disk), len(disk)
    )
    footer += struct.pack(">HBBI", 65, 4, 17, 2)
    total = ~sum(footer) & 0xFFFFFFFF
    return disk + (footer + struct.pack(">I", total)).ljust(SECTOR, b"\0")


def vhdx(disk: bytes, *, flags: int = 0) -> bytes:
    """A dynamic VHDX with blocks of 1 MiB, those of zeros left out, the others in the order that they do not have in the disk."""
    mebi = 1 << 20
    blocks = [disk[at : at + mebi].ljust(mebi, b"\0") for at in range(0, len(disk), mebi)]
    used = [number for number, block in enumerate(blocks) if any(block)]
    out = bytearray((4 + len(used)) * mebi)
    out[:8] = b"vhdxfile"
    head = b"head" + struct.pack("<IQ16s16s16sHHIQ", 0, 1, b"1" * 16, b"2" * 16, bytes(16), 0, 1, mebi, mebi)
    head = head.ljust(4096, b"\0")
    for at in (64 * 1024, 128 * 1024):
        out[at : at + 4096] = head[:4] + struct.pack("<I", _crc32c(head)) + head[8:]
    regions = b"regi" + struct.pack("<III", 0, 2, 0)
    for identity, at in (("2dc27766-f623-4200-9d64-115e9bfd4a08", 3), ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 2)):
        regions += UUID(identity).bytes_le + struct.pack("<QII", at * mebi, mebi, 1)
    regions = regions.ljust(64 * 1024, b"\0")
    regions = regions[:4] + struct.pack("<I", _crc32c(regions)) + regions[8:]
    for at in (192 * 1024, 256 * 1024):
        out[at : at + len(regions)] = regions
    items = (
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<II", mebi, flags), 4),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", len(blocks) * mebi), 6),
        ("beca12ab-b2e6-4523-93ef-c309e000c746", b"3" * 16, 6),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", SECTOR), 6),
        ("cda348c7-445d-4471-9cc9-e9885251c556", struct.pack("<I", 4096), 6),
    )
    table, at = b"metadata" + struct.pack("<HH20x", 0, len(items)), 64 * 1024
    for identity, value, kind in items:
        table += UUID(identity).bytes_le + struct.pack("<IIII", at, len(value), kind, 0)
        out[2 * mebi + at : 2 * mebi + at + len(value)] = value
        at += len(value)
    out[2 * mebi : 2 * mebi + len(table)] = table
    for place, number in enumerate(reversed(used), 4):
        struct.pack_into("<Q", out, 3 * mebi + 8 * number, place << 20 | 6)
        out[place * mebi : (place + 1) * mebi] = blocks[number]
    return bytes(out)


def _crc32c(raw: bytes) -> int:
    """RFC 3720's, which 7-Zip checks."""
    table = []
    for octet in range(256):
        for _ in range(8):
            octet = octet >> 1 ^ 0x82F63B78 if octet & 1 else octet >> 1  # noqa: PLW2901
        table.append(octet)
    crc = 0xFFFFFFFF
    for octet in raw:
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


def udf(name: str, raw: bytes, *, bridge: bool = False) -> bytes:
    """A disc with UDF and, as a `bridge`, ISO 9660 as well."""
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "in")
        inside.mkdir()
        (inside / name).write_bytes(raw)
        image = Path(folder, "image.iso")
        subprocess.run(
            ["genisoimage", "-quiet", "-udf", "-J", "-r", "-o", str(image), str(inside)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        made = image.read_bytes()
    return made if bridge else without_iso9660(made)


def without_iso9660(raw: bytes) -> bytes:
    """A bridge with nothing but UDF: its descriptors follow at once, as on discs that Windows writes."""
    first = 32_768
    end = raw.index(b"\0BEA01", first)
    tail = raw.index(b"\0TEA01", end) + 2048
    return raw[:first] + raw[end:tail] + bytes(end - first) + raw[tail:]
