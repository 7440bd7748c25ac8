"""Deflate64 in zips (APPNOTE.TXT §4.4.5, method 9), which Windows writes for large files and libarchive does not read."""

from __future__ import annotations

import zlib

import inflate64

from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from mailguard.sandbox.unpack.zip_views import Entry, entries_of

METHOD = 9
_STEP = 128
"""Octets that are inflated at a time: they swell to 4 MiB at most, since 18 bits may stand for 64 KiB."""


def entries_packed_so(raw: bytes) -> list[Entry]:
    """The entries of a zip that are Deflate64 and not encrypted, in the order of their content."""
    return [entry for entry in entries_of(raw)[1] if entry.method == METHOD and not entry.encrypted]


def content_of(entry: Entry, file: File, work: Work) -> bytes:
    """What an entry of `file` holds. Raises ValueError when it is broken, ExhaustedError as `Work.may_hold`."""
    limit = work.may_hold(file, entry.unpacked)
    inflater = inflate64.Inflater()
    out = bytearray()
    for at in range(entry.content, entry.end, _STEP):
        if inflater.eof:
            break
        work.tick(file)
        out += inflater.inflate(file.raw[at : min(at + _STEP, entry.end)])
        if len(out) > limit:
            work.found(file, "UNPACK_BOMB", f"more than {limit} octets out of {len(file.raw)}")
            raise ExhaustedError
    if len(out) != entry.unpacked:
        raise ValueError(f"{len(out)} octets in place of {entry.unpacked}")
    return bytes(out)


def prepare() -> None:
    """Pack and unpack a little."""
    packer = inflate64.Deflater()
    packed = packer.deflate(b"a" * 100) + packer.flush()
    if zlib.crc32(inflate64.Inflater().inflate(packed)) != zlib.crc32(b"a" * 100):
        raise RuntimeError("inflate64 does not unpack what it packed")
