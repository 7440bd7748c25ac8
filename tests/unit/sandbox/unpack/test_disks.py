"""Images of disks and discs give their files, or say that they were not opened."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.sandbox.unpack.disks import open_disk
from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from tests.disk_images import exfat, ntfs, partitioned, udf, vhd, vhdx
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


LARGE = bytes(range(256)) * 100


def test_files_of_ntfs_are_opened_in_raw_images_vhd_and_vhdx() -> None:
    system = ntfs("run.js", LARGE)
    for image in (system, partitioned(system), vhd(partitioned(system)), vhdx(system), vhdx(partitioned(system))):
        root = apart(image, "a.vhd")
        assert [(one.name, one.raw) for one in root.children] == [("docs/run.js", LARGE)]
        assert {"DISK_IMAGE", "ATTACHMENT_ARCHIVED_EXECUTABLE"} <= symbols(root).keys()
        assert "ARCHIVE_UNOPENED" not in symbols(root)


@pytest.mark.parametrize("chained", [True, False])
def test_files_of_exfat_are_opened(chained: bool) -> None:
    name = "a name of more than fifteen letters.js"
    system = exfat(name, LARGE, chained=chained)
    for image in (system, vhd(partitioned(system))):
        root = apart(image, "a.img")
        assert [(one.name, one.raw) for one in root.children] == [(f"docs/{name}", LARGE)]
        assert symbols(root).keys() == {"DISK_IMAGE", "ATTACHMENT_ARCHIVED_EXECUTABLE"}


def test_further_streams_of_ntfs_are_files() -> None:
    root = apart(ntfs("notes.txt", b"text", stream=("run.js", b"script")), "a.img")
    assert [(one.name, one.raw) for one in root.children] == [
        ("docs/notes.txt", b"text"),
        ("docs/notes.txt:run.js", b"script"),
    ]


def test_journals_of_ntfs_are_left_alone() -> None:
    assert apart(ntfs("$TxfLog", LARGE, folder="$Extend"), "a.img").children == []


@pytest.mark.parametrize("flags", [1, 0x4000])
def test_what_ntfs_compresses_or_encrypts_is_named_and_said_not_to_be_opened(flags: int) -> None:
    root = apart(ntfs("run.js", LARGE, flags=flags), "a.img")
    assert [(one.name, one.size, one.raw) for one in root.children] == [("docs/run.js", len(LARGE), b"")]
    assert {"ARCHIVE_UNOPENED", "ATTACHMENT_ARCHIVED_EXECUTABLE"} <= symbols(root).keys()


def test_a_vhdx_that_is_a_difference_to_another_is_not_opened() -> None:
    assert "ARCHIVE_UNOPENED" in symbols(apart(vhdx(ntfs("run.js", LARGE), flags=2), "a.vhdx"))


def test_files_of_udf_are_opened_with_and_without_iso_9660() -> None:
    for bridge, count in ((False, 1), (True, 2)):
        root = apart(udf("run.js", LARGE, bridge=bridge), "a.iso")
        assert [(one.name, one.raw) for one in root.children] == [("run.js", LARGE)] * count
        assert symbols(root).keys() == {"DISK_IMAGE", "ATTACHMENT_ARCHIVED_EXECUTABLE"}


def test_udf_by_way_of_a_metadata_partition() -> None:
    """What Windows writes on Blu-ray discs: the blocks of folders are those of a file."""
    raw = bytearray(udf("run.js", LARGE))
    at = next(
        at
        for at in range(32 * 2048, len(raw), 2048)
        if raw[at : at + 2] == b"\6\0" and raw[at + 12] == at // 2048 % 256
    )
    begins = next(
        int.from_bytes(raw[one + 188 : one + 192], "little")
        for one in range(32 * 2048, len(raw), 2048)
        if raw[one : one + 2] == b"\5\0"
    )
    block = len(raw) // 2048 - begins
    kind = b"\2\x40\0\0\0*UDF Metadata Partition".ljust(36, b"\0") + struct.pack(
        "<HHIIIIHB", 1, 0, block, block, 0, 1, 1, 0
    )
    maps = kind.ljust(64, b"\0") + raw[at + 440 : at + 446]
    raw[at + 264 : at + 272] = struct.pack("<II", len(maps), 2)
    raw[at + 440 : at + 440 + len(maps)] = maps
    extents = struct.pack("<II", 40 * 2048, 0) + struct.pack("<II", block * 2048 - 40 * 2048, 40)
    entry = bytearray(2048)
    entry[:2] = b"\5\1"
    entry[27] = 250
    entry[56:64] = (block * 2048).to_bytes(8, "little")
    entry[168:176] = struct.pack("<II", 0, len(extents))
    entry[176 : 176 + len(extents)] = extents
    entry[4] = sum(entry[:16]) & 0xFF
    root = apart(bytes(raw + entry), "a.iso")
    assert [(one.name, one.raw) for one in root.children] == [("run.js", LARGE)]


def test_an_image_that_begins_as_a_picture_is_one_all_the_same() -> None:
    for image in (udf("run.js", LARGE), vhd(partitioned(ntfs("run.js", LARGE)))):
        root = apart(b"GIF89a" + image[6:], "a.iso")
        assert LARGE in [one.raw for one in root.children]
        assert {"UNPACK_TWO_KINDS", "DISK_IMAGE"} <= symbols(root).keys()


@given(st.binary(max_size=64), st.integers(0, 4000))
def test_a_broken_disk_ends(change: bytes, at: int) -> None:
    raw = fat12(CONTENT)
    with contextlib.suppress(ExhaustedError):
        opened(raw[:at] + change + raw[at + len(change) :])


_NTFS = ntfs("run.js", LARGE, stream=("s", b"content"))
_UDF = udf("run.js", LARGE)
_PLACES = [at for at in range(32 * 1024, len(_UDF), 2048) if any(_UDF[at : at + 16])]


@given(st.binary(max_size=16), st.integers(0, 12 * 4096))
def test_a_broken_ntfs_ends(change: bytes, at: int) -> None:
    apart(_NTFS[:at] + change + _NTFS[at + len(change) :], "a.img")


_EXFAT = exfat("run.js", LARGE)


@given(st.binary(max_size=16), st.integers(64, 40_000))
def test_a_broken_exfat_ends(change: bytes, at: int) -> None:
    apart(_EXFAT[:at] + change + _EXFAT[at + len(change) :], "a.img")


@given(st.binary(max_size=16), st.sampled_from(_PLACES), st.integers(16, 500))
def test_a_broken_udf_ends(change: bytes, place: int, within: int) -> None:
    at = place + within
    apart(_UDF[:at] + change + _UDF[at + len(change) :], "a.iso")


def test_images_are_chosen_by_their_kind() -> None:
    assert [(one.name, one.raw) for one in apart(fat12(CONTENT), "a.img").children] == [("DIR/RUN.JS", CONTENT)]
    assert "ARCHIVE_UNOPENED" in symbols(apart(bytes(32768) + b"\0NSR02\x01" + bytes(4096), "a.iso"))
