"""Token buckets in a small file that all workers of a machine share: soft state, never synced, lost without loss of mail.

The file is a table of fixed size. A key has a place in one row of a few buckets; when all of those are others', it takes the
one that was quiet longest. An operation is a lock, a read and a write of some hundred octets: some microseconds.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

_HEADER = struct.Struct("<8s16s8x")
_MAGIC = b"mgbucke1"
_BUCKET = struct.Struct("<Qdd")  # the key's hash, what is left, and when that was so
_WAYS = 8
_ROW = _BUCKET.size * _WAYS
TRIES = 200
"""How often the lock is tried before we go on without it: another worker may have been stopped while it held it."""


class SharedBuckets:
    """A smtp.rates.Limiter. `rows` of eight buckets each: 65,536 keys in 1.5 MB by default.

    What cannot be read or written is let pass, and `on_error` told. `monotonic` must be the same for all processes.
    """

    def __init__(
        self,
        path: Path,
        *,
        rows: int = 8192,
        monotonic: Callable[[], float] = time.monotonic,
        on_error: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        self._path = path
        self._rows = rows
        self._monotonic = monotonic
        self._on_error = on_error
        self._descriptor = -1
        self._salt = b""

    def take(self, key: str, *, limit: int, seconds: float) -> bool:
        """See Limiter."""
        try:
            if self._descriptor < 0:
                self._open()
            digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16, key=self._salt).digest()
            locked = self._lock()
            try:
                return self._take(digest, limit, limit / seconds)
            finally:
                if locked:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        except OSError as error:
            self.close()
            self._on_error(error)
            return True

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, digest: bytes, limit: int, rate: float) -> bool:
        now = self._monotonic()
        name = int.from_bytes(digest[:8], "little") or 1
        start = _HEADER.size + int.from_bytes(digest[8:], "little") % self._rows * _ROW
        row = os.pread(self._descriptor, _ROW, start).ljust(_ROW, b"\0")
        buckets = list(_BUCKET.iter_unpack(row))
        place = next((i for i, bucket in enumerate(buckets) if bucket[0] == name), -1)
        if place >= 0:
            _, left, at = buckets[place]
            # `at` lies ahead when the machine was started anew: then nothing is known.
            left = min(float(limit), left + (now - at) * rate) if at <= now else float(limit)
        else:
            place = min(range(_WAYS), key=lambda i: buckets[i][2] if buckets[i][0] and buckets[i][2] <= now else -1.0)
            left = float(limit)
        taken: bool = left >= 1
        bucket = _BUCKET.pack(name, left - taken, now)
        os.pwrite(self._descriptor, bucket, start + place * _BUCKET.size)
        return taken

    def _lock(self) -> bool:
        for _ in range(TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                os.sched_yield()
        return False

    def _open(self) -> None:
        """Open the file, or make it; of several workers that do, one writes its header. Raises OSError."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            header = os.pread(descriptor, _HEADER.size, 0)
            size = _HEADER.size + self._rows * _ROW
            if len(header) < _HEADER.size or header[:8] != _MAGIC or os.fstat(descriptor).st_size != size:
                os.ftruncate(descriptor, 0)
                os.ftruncate(descriptor, size)
                header = _HEADER.pack(_MAGIC, os.urandom(16))  # a salt, so that nobody can aim at another's bucket
                os.pwrite(descriptor, header, 0)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError:
            os.close(descriptor)
            raise
        _, self._salt = _HEADER.unpack(header)
        self._descriptor = descriptor
