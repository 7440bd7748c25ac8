"""What was worked out from files and takes long to work out again, kept in a folder: worth nothing but time, and safe to lose.

A value is handed out only for the key it was kept under, whole, and from a file and folder that none but our own user can write.
"""

from __future__ import annotations

import contextlib
import errno
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
        self._folder = folder

    def get(self, name: str, key: bytes) -> bytes | None:
        """The value kept under `name` for `key`, a SHA-256; None when there is none for it. Raises NotTrustedError."""
        try:
            _require_ours(os.lstat(self._folder), stat.S_ISDIR, "the folder")
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                _require_ours(os.fstat(descriptor), stat.S_ISREG, "the file")
                octets = file.read(_HEADER + SIZE_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotTrustedError(f"cannot be read: {error.strerror}") from error
        header, value = octets[:_HEADER], octets[_HEADER:]
        if not header.startswith(_MARK) or header[-_DIGEST:] != hashlib.sha256(value).digest():
            raise NotTrustedError("the file is damaged")
        return value if header[len(_MARK) : -_DIGEST] == key else None

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Keep it, all or nothing. Raises NotTrustedError and OSError when it cannot be kept, which costs only time."""
        if len(value) > SIZE_LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        with contextlib.suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        _require_ours(os.lstat(self._folder), stat.S_ISDIR, "the folder")
        scratch = self._folder / f".{name}-{os.getpid()}"
        try:
            with contextlib.suppress(FileNotFoundError):
                scratch.unlink()  # of one that was killed right here
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MARK + key + hashlib.sha256(value).digest() + value)
            scratch.replace(self._folder / name)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise


def _require_ours(status: os.stat_result, kind: Callable[[int], bool], what: str) -> None:
    """Raises NotTrustedError when it is something else, or others may have written it."""
    if not kind(status.st_mode):
        raise NotTrustedError(f"{what} is something else")
    if status.st_uid != os.geteuid():
        raise NotTrustedError(f"{what} belongs to user {status.st_uid}, not to us")
    if status.st_mode & 0o022:
        raise NotTrustedError(f"{what} can be written by others")
