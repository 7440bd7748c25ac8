"""Message bodies by message id, durable when `put` returns. The rest of the code knows no paths, only this protocol."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from mailguard.core.errors import NotFoundError, StorageError
from mailguard.core.ids import is_message_id

T = TypeVar("T")
CHUNK = 256 * 1024
"""Octets that `stream` reads at a time."""
_SHARD = 2  # characters of the id's random end that name its directory: 1,024 of them
_ABANDONED = 3600  # seconds after which a temporary file has no writer any more


class BlobStore(Protocol):
    """Bodies under message ids. Every method may block; each raises StorageError when the storage is away or full."""

    def put(self, blob_id: str, chunks: Iterable[bytes]) -> None:
        """Keep the octets under the id, durably and all or nothing; again for the same id replaces them."""

    def get(self, blob_id: str) -> bytes:
        """All octets. Raises NotFoundError."""

    def stream(self, blob_id: str) -> Iterator[bytes]:
        """The octets, some at a time. Raises NotFoundError before the first."""

    def exists(self, blob_id: str) -> bool:
        """Whether there is one."""

    def size(self, blob_id: str) -> int:
        """Its octets. Raises NotFoundError."""

    def delete(self, blob_id: str) -> bool:
        """Remove it; False when there was none."""

    def ids(self) -> Iterator[str]:
        """The id of every body, in no order; those that come and go meanwhile may be among them or not."""


class FileOps:
    """The system calls that writing takes: the seam at which tests make them fail."""

    def create(self, path: Path) -> int:
        """A descriptor of a new file that only our user can read."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write; returns how much was."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return when the disk has it."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close."""
        os.close(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Take back what was written beyond so many octets."""
        os.ftruncate(descriptor, size)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, in one step."""
        source.replace(target)

    def make_directory(self, path: Path) -> None:
        """Make a directory, unless it is there."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Return when the disk has the names in a directory."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_all(files: FileOps, descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it, however little the disk takes at a time. Raises OSError, also when it takes nothing."""
    view = memoryview(data)
    while view:
        written = files.write(descriptor, view)
        if not written:
            raise OSError(errno.EIO, "the disk takes nothing")
        view = view[written:]


class FileBlobStore:
    """A BlobStore in files: `root/<shard>/<id>`, by way of `root/tmp`. Processes may share the root."""

    def __init__(self, root: Path, *, files: FileOps | None = None) -> None:
        self._root = root
        self._temporary = root / "tmp"
        self._files = files or FileOps()
        self._ready: set[Path] = set()

    def put(self, blob_id: str, chunks: Iterable[bytes]) -> None:
        """Write, sync, rename, sync the directory; a failure leaves nothing under the id that was not there before."""
        target = self._path(blob_id)
        temporary = self._temporary / f"{blob_id}.{secrets.token_hex(6)}"
        try:
            self._prepare(self._temporary)
            self._prepare(target.parent)
            there = target.exists()
            try:
                self._write(temporary, chunks)
                self._files.rename(temporary, target)
            except BaseException:
                _remove(temporary)
                raise
            try:
                self._files.sync_directory(target.parent)
            except OSError:
                if not there:  # what another unit's row stands on is left: it is the same message
                    _remove(target)
                raise
        except OSError as error:
            self._ready.clear()  # someone may have removed a directory
            raise StorageError(f"message storage unavailable: {error}") from error

    def get(self, blob_id: str) -> bytes:
        """All octets. Raises NotFoundError."""
        return self._read(blob_id, lambda path: path.read_bytes())

    def stream(self, blob_id: str) -> Iterator[bytes]:
        """The octets, CHUNK at a time. Raises NotFoundError before the first."""
        file = self._read(blob_id, lambda path: path.open("rb"))
        with file:
            while chunk := file.read(CHUNK):
                yield chunk

    def exists(self, blob_id: str) -> bool:
        """Whether there is one."""
        return is_message_id(blob_id) and self._path(blob_id).exists()

    def size(self, blob_id: str) -> int:
        """Its octets. Raises NotFoundError."""
        return self._read(blob_id, lambda path: path.stat().st_size)

    def delete(self, blob_id: str) -> bool:
        """Remove it; False when there was none. Not synced: a body that comes back after a crash is found as an orphan."""
        try:
            self._path(blob_id).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"message storage unavailable: {error}") from error
        return True

    def ids(self) -> Iterator[str]:
        """The id of every body."""
        for shard in _entries(self._root):
            if len(shard) == _SHARD:
                yield from filter(is_message_id, _entries(self._root / shard))

    def clean_up(self) -> int:
        """Remove temporary files whose writer must have died; returns how many."""
        removed = 0
        for name in _entries(self._temporary):
            path = self._temporary / name
            try:
                if path.stat().st_mtime < time.time() - _ABANDONED:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed

    def _path(self, blob_id: str) -> Path:
        if not is_message_id(blob_id):
            raise NotFoundError(f"{blob_id!r} is not the id of a message")
        return self._root / blob_id[-_SHARD:] / blob_id

    def _read(self, blob_id: str, read: Callable[[Path], T]) -> T:
        try:
            return read(self._path(blob_id))
        except FileNotFoundError:
            raise NotFoundError(f"the body of message {blob_id} is not kept") from None
        except OSError as error:
            raise StorageError(f"message storage unavailable: {error}") from error

    def _prepare(self, directory: Path) -> None:
        if directory in self._ready:
            return
        self._files.make_directory(directory)
        self._files.sync_directory(self._root)
        self._ready.add(directory)

    def _write(self, path: Path, chunks: Iterable[bytes]) -> None:
        descriptor = self._files.create(path)
        try:
            for chunk in chunks:
                write_all(self._files, descriptor, chunk)
            self._files.sync(descriptor)
        finally:
            self._files.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # upkeep finds it: a temporary file after an hour, an orphan after a day
        path.unlink()


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - names are all that is wanted of 100,000 entries
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"message storage unavailable: {error}") from error
