"""Images of disks give their files, or say that they were not opened."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from mailguard.sandbox.unpack.disks import open_disk
from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from tests.unit.sandbox.unpack.taken import apart, symbols


def fat12(content: bytes) -> bytes:
    """A floppy of 64 sectors with `run.js` in the folder `dir`, in two clusters that do not follow each other."""
    boot = bytearray(512)
    boot[:3] = b"\xeb\x3c\x90"
    boot[11:36] = struct.pack("<HBHBHHBHHHII", 512, 1, 1, 1, 16, 64, 0xF8, 1, 1, 1, 0, 0)
    boot[54:59] = b"FAT12"
    boot[510:] = b"\x55\xaa"
    chain = {2: 0xFFF, 3: 5, 5: 0xFFF}
    table = bytearray(512)
    for cluster, follows in chain.items():
        at = cluster + cluster // 2
        pair = int.from_bytes(table[at : at + 2], "little")
        pair |= follows << 4 if cluster & 1 else follows
        table[at : at + 2] = pair.to_bytes(2, "little")
    folder = b"DIR        \x10" + bytes(14) + struct.pack("<HI", 2, 0)
    entry = b"RUN     JS \x20" + bytes(14) + struct.pack("<HI", 3, len(content))
    sectors = [bytes(512)] * 64
    sectors[0], sectors[1], sectors[2] = bytes(boot), bytes(table), folder.ljust(512, b"\0")
    first = 3
    sectors[first] = entry.ljust(512, b"\0")
    sectors[first + 1], sectors[first + 3] = content[:512], content[512:].ljust(512, b"\0")
    return b"".join(sectors)


def opened(raw: bytes) -> File:
    work = Work(File("a.img", raw, "application/x-vhd"))
    open_disk(work.root, work)
    return work.root


CONTENT = bytes(range(200)) * 4


def test_files_of_fat_are_opened_in_raw_images_partitions_and_vhd() -> None:
    raw = fat12(CONTENT)
    table = bytearray(512)
    table[446:462] = struct.pack("<B3sB3sII", 0, b"", 1, b"", 1, 64)
    table[510:] = b"\x55\xaa"
    footer = (b"conectix".ljust(60, b"\0") + struct.pack(">I", 2)).ljust(512, b"\0")
    for image in (raw, bytes(table) + raw, raw + footer, bytes(table) + raw + footer):
        root = opened(image)
        assert [(one.name, one.raw) for one in root.children] == [("DIR/RUN.JS", CONTENT)]
        assert "DISK_IMAGE" in symbols(root)
        assert "ARCHIVE_UNOPENED" not in symbols(root)


def test_a_dynamic_vhd_is_put_together() -> None:
    raw = fat12(CONTENT)
    block = 64 * 1024
    footer = (b"conectix".ljust(16, b"\0") + struct.pack(">Q", 512)).ljust(60, b"\0") + struct.pack(">I", 3)
    header = (b"cxsparse" + bytes(8) + struct.pack(">QIII", 1536, 0, 1, block)).ljust(1024, b"\0")
    table = struct.pack(">I", 4).ljust(512, b"\xff")
    image = footer.ljust(512, b"\0") + header + table + bytes(512) + raw.ljust(block, b"\0") + footer.ljust(512, b"\0")
    assert [one.raw for one in opened(image).children] == [CONTENT]


def test_other_file_systems_are_said_not_to_be_opened() -> None:
    assert list(symbols(opened(b"vhdxfile" + bytes(4096)))) == ["DISK_IMAGE", "ARCHIVE_UNOPENED"]


@given(st.binary(max_size=64), st.integers(0, 4000))
def test_a_broken_disk_ends(change: bytes, at: int) -> None:
    raw = fat12(CONTENT)
    with contextlib.suppress(ExhaustedError):
        opened(raw[:at] + change + raw[at + len(change) :])


def test_images_are_chosen_by_their_kind() -> None:
    assert [(one.name, one.raw) for one in apart(fat12(CONTENT), "a.img").children] == [("DIR/RUN.JS", CONTENT)]
    assert "ARCHIVE_UNOPENED" in symbols(apart(bytes(32768) + b"\0BEA01\x01" + bytes(4096), "a.iso"))
