"""Images of disks: FAT, exFAT, NTFS and UDF in raw images, in VHD and in VHDX are opened; others are recognised."""

from __future__ import annotations

from collections.abc import Iterator

from mailguard.sandbox.unpack import archives
from mailguard.sandbox.unpack.exfat import ExFat
from mailguard.sandbox.unpack.fat import Fat
from mailguard.sandbox.unpack.kinds import image_kind
from mailguard.sandbox.unpack.ntfs import Ntfs
from mailguard.sandbox.unpack.udf import Udf, UnreadableError
from mailguard.sandbox.unpack.virtual_disks import SECTOR, Disk, disk_of
from mailguard.sandbox.unpack.work import File, Work

_HOLDERS = frozenset(
    {
        *("application/x-iso9660-image", "application/x-udf", "application/x-vhd", "application/x-vhdx"),
        *("application/x-vmdk", "application/x-qcow2", "application/x-fat-image", "application/x-raw-disk-image"),
        *("application/x-apple-diskimage", "application/x-tar", "application/x-cpio", "application/x-archive"),
    }
)
"""Kinds that are opened as images anyhow, or hold files as they are, one of which may be an image."""


def report_image(file: File, work: Work) -> None:
    """Report an image that another opener opens."""
    work.found(file, "DISK_IMAGE", file.kind)


def open_udf(file: File, work: Work) -> None:
    """Report an image with UDF, and hand on its files; and those of ISO 9660 as well, if it has that: programs differ in which they show."""
    work.found(file, "DISK_IMAGE", file.kind)
    try:
        for name, content in Udf(Disk(file.raw)).files(file, work):
            work.add(file, name, content)
    except UnreadableError as error:
        work.found(file, "ARCHIVE_UNOPENED", f"UDF: {error}")
    if file.raw.startswith(b"CD001", 32769):
        archives.open_archive(file, work)


def open_second_image(file: File, work: Work) -> None:
    """An image whose first octets, which nobody reads of it, say that it is something else."""
    if file.kind in _HOLDERS or not (kind := image_kind(file.raw)):
        return
    work.found(file, "UNPACK_TWO_KINDS", f"{file.kind} and {kind}")
    view = File(file.name, file.raw, kind, file.depth, found=file.found, children=file.children)
    report_image(view, work)
    {"application/x-udf": open_udf, "application/x-vhd": open_disk}.get(kind, archives.open_archive)(view, work)


def open_disk(file: File, work: Work) -> None:
    """Report an image, and hand on what is in its file systems."""
    work.found(file, "DISK_IMAGE", file.kind)
    disk = disk_of(file.raw)
    opened = False
    for start in _partitions(disk) if disk is not None else ():
        assert disk is not None
        if system := Fat.of(disk, start) or Ntfs.of(disk, start) or ExFat.of(disk, start):
            opened = True
            for name, content in system.files(file, work):
                work.add(file, name, content)
    if not opened and disk is not None:
        try:
            for name, content in Udf(disk).files(file, work):
                opened = True
                work.add(file, name, content)
        except UnreadableError:
            opened = False
    if not opened:
        work.found(file, "ARCHIVE_UNOPENED", file.kind)


def _partitions(disk: Disk) -> Iterator[int]:
    """Where file systems may begin: the disk itself, and what its table says (MBR, GPT)."""
    yield 0
    if disk.read(510, 2) != b"\x55\xaa":
        return
    table = disk.read(446, 64)
    for at in range(0, len(table), 16):
        start = int.from_bytes(table[at + 8 : at + 12], "little") * SECTOR
        if table[at + 4] and 0 < start < disk.size:
            yield start
    if disk.read(SECTOR, 8) == b"EFI PART":
        table = disk.read(1024, 128 * 16)
        for at in range(0, len(table), 128):
            start = int.from_bytes(table[at + 32 : at + 40], "little") * SECTOR
            if any(table[at : at + 16]) and 0 < start < disk.size:
                yield start
