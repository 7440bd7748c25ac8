"""Encrypted 7z archives, which libarchive does not open, with py7zr; its key derivation is done here, thirty times as fast."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import py7zr
from py7zr import compressor
from py7zr import py7zr as reader
from py7zr.io import BytesIOFactory

from mailguard.sandbox.unpack.work import ExhaustedError, File, Work

_STEP = 1 << 16
_MEMORY = 32 * 1024 * 1024
"""Octets that the library inflates at a time."""


def open_with_password(file: File, work: Work) -> bool:
    """Take all files out with the first password of the mail that fits. Whether one did."""
    for password in work.passwords:
        work.tick(file)
        try:
            files = list(_files(file, work, password))
        except (ExhaustedError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - with a wrong password it is broken in every way that there is
            files = []
        if not files:
            continue
        work.found(file, "ARCHIVE_PASSWORD", password)
        for name, raw in files:
            work.add(file, name, raw, via="password")
        return True
    return False


def _files(file: File, work: Work, password: str) -> Iterator[tuple[str, bytes]]:
    with py7zr.SevenZipFile(io.BytesIO(file.raw), password=password) as archive:
        size = sum(one.uncompressed for one in archive.list() if not one.is_directory)
        factory = BytesIOFactory(work.may_hold(file, size))
        archive.extractall(factory=factory)
        for name, product in factory.products.items():
            product.seek(0)
            yield name, product.read()


def key_of(password: bytes, cycles: int, salt: bytes, digest: str = "sha256") -> bytes:
    """The key of a 7z: SHA-256 over 2**cycles times salt, password and a counter of 8 octets. Raises ValueError above 24."""
    if cycles == 0x3F:
        return (salt + password + bytes(32))[:32]
    if cycles > 20:  # what programs write is 19; an archive that asks for more is not worth the time
        raise ValueError(f"2**{cycles} rounds")
    one = salt + password + bytes(8)
    rounds = 1 << cycles
    step = min(rounds, _STEP)
    block = bytearray(one * step)
    at = len(one) - 8
    block[at :: len(one)] = (bytes(range(256)) * (-(-step // 256)))[:step]
    block[at + 1 :: len(one)] = b"".join(bytes([high]) * 256 for high in range(-(-step // 256)))[:step]
    total = hashlib.new(digest)
    for high in range(rounds // step):
        block[at + 2 :: len(one)] = bytes([high & 255]) * step
        total.update(block)
    return total.digest()[:32]


def _key_of_name(name: str, path: Path | None) -> Path:
    """Files are kept in memory by their names; none is written."""
    return Path(name.lstrip("/\\") or "unnamed")


def prepare() -> None:
    """Put our key derivation in the library's place, and write and read an encrypted archive.

    The library would also read from /proc how much memory there is, and look on the disk where files would be written to that
    are kept in memory: nobody can, once the process has given up its rights.
    """
    setattr(compressor, "calculate_key", key_of)  # noqa: B010 - a name that the library does not export
    setattr(reader, "get_memory_limit", lambda: _MEMORY)  # noqa: B010 - likewise
    setattr(reader, "get_sanitized_output_path", _key_of_name)  # noqa: B010 - likewise
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w", password="a", header_encryption=True) as made:  # noqa: S106
        made.writestr(b"abc" * 50, "a")
    work = Work(File("a.7z", out.getvalue(), "application/x-7z-compressed"), passwords=["b", "a"])
    open_with_password(work.root, work)
