"""Files that are too large to be made anew octet by octet: images of disks, encrypted archives, zips; an input says what is changed in one.

And what draws and takes out pictures that may hold codes.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable

from mailguard.sandbox.unpack.embedded_pictures import OCTETS, PICTURES, pictures_in, pictures_in_rtf
from mailguard.sandbox.unpack.svg_drawing import SIDE, drawn
from mailguard.sandbox.unpack.virtual_disks import disk_of
from mailguard.sandbox.unpack.work import File
from tests import rars
from tests.disk_images import exfat, ntfs, partitioned, udf, vhd, vhdx
from tests.further_wrappings import in_arj
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.opened_files import opened

_CONTENT = bytes(range(256)) * 20
_DISK = partitioned(ntfs("run.js", _CONTENT, stream=("s", b"content")))


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/setup.py", "photo.jpg", "b.txt"):
            archive.writestr(name, name * 20)
    return out.getvalue()


def _patched(base: bytes, kind: str, name: str, run_on: Callable[[File], None] = opened) -> Callable[[bytes], None]:
    """A target whose inputs are changes: two octets that say where, among the octets that are not zero or follow one; how many; they."""
    live = sorted({at for match in re.finditer(rb"[^\0]+", base) for at in range(match.start(), match.end() + 1)})

    def run(data: bytes) -> None:
        """The file with what the input changes in it."""
        source = Input(data)
        raw = bytearray(base)
        for _ in range(12):
            place, count = source.octet() << 8 | source.octet(), source.octet() % 17
            if not count:
                break
            at = live[place * len(live) >> 16]
            for index in range(count):
                if at + index < len(raw):
                    raw[at + index] = source.octet()
        run_on(File(name, bytes(raw), kind))

    return run


def _disk(file: File) -> None:
    """The disk alone: hashing megabytes anew for each input would leave no time for any."""
    disk = disk_of(file.raw)
    if disk is None:
        return
    for at, size in ((0, 512), (disk.size // 2, 1 << 21), (disk.size - 9, 99), (1 << 40, 9), (-1, 9)):
        assert len(disk.read(at, size)) <= size
    disk.number(510, 2)


def svg(data: bytes) -> None:
    """An SVG picture as pixels."""
    picture = drawn(Input(data).long_rest(), seconds=0.5)
    assert picture is None or max(picture.size) <= 2 * SIDE


def pictures(data: bytes) -> None:
    """Pictures in streams of documents, and in RTF."""
    raw = Input(data).long_rest()
    for found in (list(pictures_in(raw)), list(pictures_in_rtf(raw))):
        assert len(found) <= PICTURES
        assert all(len(one) <= OCTETS for one in found)


def arj(data: bytes) -> None:
    """An ARJ archive."""
    opened(File("a.arj", Input(data).long_rest(), "application/x-arj"))


_CHANGES = (
    b"\0\0\0",
    b"\x20\0\x04\xff\xff\xff\xff",
    b"\x80\0\x01\0\xc0\0\x01\xff",
    b"\xff\0\x08" + bytes(8),
    b"\x10\0\x10" + b"\x7f" * 16,
)
_SIZES = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80", b"\1\0", b"\xff\xff")

TARGETS = (
    Target("ntfs_files", _patched(_DISK, "application/x-raw-disk-image", "a.img"), _CHANGES, tokens=(*_SIZES, b"FILE", b"\x80\0\0\0", b"\x44", b"\x11")),
    Target("exfat_files", _patched(exfat("run.js", _CONTENT), "application/x-raw-disk-image", "a.img"), _CHANGES, tokens=(*_SIZES, b"\x85", b"\xc0", b"\xc1")),
    Target("vhd_disks", _patched(vhd(_DISK), "application/x-vhd", "a.vhd"), _CHANGES, tokens=_SIZES),
    Target("vhdx_disks", _patched(vhdx(_DISK), "application/x-vhdx", "a.vhdx", _disk), _CHANGES, tokens=(*_SIZES, b"regi", b"metadata")),
    Target("udf_files", _patched(udf("run.js", _CONTENT), "application/x-udf", "a.iso"), _CHANGES, tokens=(*_SIZES, b"\x05\x01", b"\x0a\x01", b"\x01\x01", b"*UDF Metadata Partition", b"*UDF Sparable Partition")),
    *(
        Target(f"locked_{name.replace(' ', '_')}", _patched(raw, "application/x-rar", "a.rar"), _CHANGES, tokens=(*_SIZES, b"\x80", b"\x74", b"\x73"))
        for name, raw in (
            ("rar4", rars.rar4("run.js", _CONTENT, "a")),
            ("rar4 names", rars.rar4("run.js", _CONTENT, "a", headers=True)),
            ("rar5", rars.rar5("run.js", _CONTENT, "a", power=1)),
            ("rar5 names", rars.rar5("run.js", _CONTENT, "a", headers=True, power=1)),
        )
    ),
    Target("zips", _patched(_zip(), "application/zip", "a.zip"), _CHANGES, tokens=(*_SIZES, b"PK\1\2", b"PK\3\4", b"\x09\0", b"\x63\0")),
    Target(
        "arj",
        arj,
        (in_arj("run.js", b"content")[1], b"\x60\xea\0\0", in_arj("a", b"\0" * 20)[1].replace(b"\0\0\0\0\x0a\x0b", b"\1\1\1\1")),
        tokens=(*_SIZES, b"\x60\xea", b"\x1e"),
    ),
    Target(
        "svg_codes",
        svg,
        (
            b"<path d='M0 0h1v1h-1zm2 2l3 4L5,6H7V8Z'/>" * 12,
            b"<rect x='1' y='2' width='3' height='4'/>" * 31,
            b"<svg>\xfd<rect x='1' y='2' width='3' height='4' fill='#000'/>\xfe\x10</svg>",
            b"<svg><g transform='scale(2) translate(3,4)'>\xfd<path d='M0 0h1v1h-1z m2 2 L 3 4 Z' stroke='#000'/>\xfe\x10</g>",
            b"<rect id='a' width='1e9' height='-5'/>\xfd<use href='#a' x='1' y='9'/>\xfe\x10",
            b"\xfd<circle cx='1' cy='2' r='3' style='fill:white;stroke:none'/>\xfe\x10<polygon points='1,2 3,4 5,6'/>",
            b"<path d='\xfdM0 0h1v1\xfe\x40'/>",
        ),
        tokens=(b"<rect ", b"<path d='", b"<g transform='", b"matrix(1,0,0,1,2,3)", b"<use href='#a'", b"id='a'", b"width='", b"1e9", b"fill='none'", b"M0 0", b"h1v1h-1z"),
    ),
    Target(
        "embedded_pictures",
        pictures,
        (
            b"\x89PNG\r\n\x1a\n" + bytes(70) + b"IEND\xaeB`\x82" + b"\xff\xd8\xff\xe0" + bytes(80) + b"\xff\xd9",
            b"\xfd\xff\xd8\xff\xe0\xfe\x40",
            b"\xfd\x89PNG\r\n\x1a\n\xfe\x40",
            b"\\pngblip\\picw1 {\\*\\blipuid 00}" + b"89504e47" * 40,
            b"\\pngblip\xfd{a}\xfe\x40",
            b"\\pngblip\xfd\\a1 \xfe\x40",
            b"\xfd\\pngblip 00\xfe\x40",
            b"\\pngblip \xfd \xfe\xf0",
            b"\\pngblip\xfd{\xfe\xf0",
        ),
        tokens=(b"\\pngblip", b"\\jpegblip", b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82", b"\xff\xd8\xff\xe0", b"\xff\xd9"),
    ),
)  # fmt: skip
