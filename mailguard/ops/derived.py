"""What was worked out from files and takes long to work out again, kept in a folder: worth nothing but time, and safe to lose.

A value is handed out only for the key it was kept under, whole, and from a file and folder that none but our own user can write.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

SIZE_LIMIT = 64 << 20
"""Octets of a value that is kept."""
_MARK = b"mailguard derived 1\n"
_DIGEST = hashlib.sha256().digest_size
_HEADER = len(_MARK) + 2 * _DIGEST


class NotTrustedError(Exception):
    """Something is there that is not to be used; the text says why."""


class DerivedFiles:
    """Values by name in `folder`, a file each: a new one takes the place of the old. The folder is made with the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, key: bytes) -> bytes | None:
        """The value kept under `name` for `key`, a SHA-256; None when there is none for it. Raises NotTrustedError."""
        try:
            _require_ours(os.lstat(self.folder), stat.S_ISDIR, "the folder")
            descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                _require_ours(os.fstat(descriptor), stat.S_ISREG, "the file")
                header = file.read(_HEADER)
                if header.startswith(_MARK) and len(header) == _HEADER and header[len(_MARK) : -_DIGEST] != key:
                    return None
                value = file.read(SIZE_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotTrustedError(f"cannot be read: {error.strerror}") from error
        if not header.startswith(_MARK) or header[-_DIGEST:] != hashlib.sha256(value).digest():
            raise NotTrustedError("the file is damaged")
        return value

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Keep it, all or nothing. Raises NotTrustedError and OSError when it cannot be kept, which costs only time."""
        if len(value) > SIZE_LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self._require_folder()
        scratch = self.folder / f".{name}-{os.getpid()}"
        try:
            with contextlib.suppress(FileNotFoundError):
                scratch.unlink()  # of one that was killed right here
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MARK + key + hashlib.sha256(value).digest() + value)
            scratch.replace(self.folder / name)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise

    def lock(self, name: str) -> int | None:
        """A descriptor that keeps others from the lock of a name until all who have it close it; None when another has it.

        Raises NotTrustedError and OSError.
        """
        self._require_folder()
        descriptor = os.open(
            self.folder / f".{name}-lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
        try:
            _require_ours(os.fstat(descriptor), stat.S_ISREG, "the lock")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return descriptor

    def _require_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        _require_ours(os.lstat(self.folder), stat.S_ISDIR, "the folder")


def _require_ours(status: os.stat_result, kind: Callable[[int], bool], what: str) -> None:
    """Raises NotTrustedError when it is something else, or others may have written it."""
    if not kind(status.st_mode):
        raise NotTrustedError(f"{what} is something else")
    if status.st_uid != os.geteuid():
        raise NotTrustedError(f"{what} belongs to user {status.st_uid}, not to us")
    if status.st_mode & 0o022:
        raise NotTrustedError(f"{what} can be written by others")
