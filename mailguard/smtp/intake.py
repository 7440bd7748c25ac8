"""A message while it comes in: cleaned as it comes, small ones in memory, large ones in a file that has no name.

A slow client's large message thus costs no memory, and what is handed on is one object of its size, when there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mailguard.smtp.data import Cleaner


class Intake:
    """Collects one message's clean text. `close` it whatever becomes of it.

    Over `memory` octets it goes to a file in `directory` (None: where the system keeps temporary files); over `limit`
    nothing of it is kept, and `too_large` says so. `failed`: the file could not be written, the disk being full or broken.
    """

    def __init__(self, *, limit: int, memory: int, directory: Path | None, dots: bool) -> None:
        self.size = 0
        """Octets of the clean text so far."""
        self.too_large = False
        self.failed = False
        self._limit = limit
        self._memory = memory
        self._directory = directory
        self._cleaner = Cleaner(dots=dots)
        self._pieces: list[bytes] = []
        self._held = 0
        self._file: BinaryIO | None = None

    @property
    def bare(self) -> bool:
        """Whether a CR or LF stood alone."""
        return self._cleaner.bare

    @property
    def in_file(self) -> bool:
        """Whether it is too large for memory."""
        return self._file is not None

    async def add(self, raw: bytes) -> None:
        """The next octets as they came."""
        if not (self.too_large or self.failed):
            await self._keep(self._cleaner.push(raw))

    async def end(self) -> None:
        """There are no more."""
        if not (self.too_large or self.failed):
            await self._keep(self._cleaner.end())

    async def _keep(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.size += len(piece)
            if self.size > self._limit:
                self.too_large = True
                self.close()
                return
            self._pieces.append(piece)
            self._held += len(piece)
            if self._held > self._memory:
                await self._write()

    async def _write(self) -> None:
        pieces, self._pieces, self._held = self._pieces, [], 0
        try:
            file = self._file
            if file is None:
                file = self._file = await asyncio.to_thread(_open, self._directory)
            await asyncio.to_thread(file.writelines, pieces)
        except OSError:
            self.failed = True
            self.close()

    async def content(self) -> bytes:
        """All of it, once. Raises OSError."""
        pieces, self._pieces = self._pieces, []
        if self._file is None:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        file, self._file = self._file, None
        return await asyncio.to_thread(_read_all, file, pieces, self.size)

    def close(self) -> None:
        """Forget what is kept; the file is gone with that."""
        self._pieces, self._held = [], 0
        file, self._file = self._file, None
        if file is not None:
            _close(file)


def _open(directory: Path | None) -> BinaryIO:
    return tempfile.TemporaryFile(dir=directory)  # closed by Intake.close, or when it has been read


def _read_all(file: BinaryIO, rest: list[bytes], size: int) -> bytes:
    try:
        file.writelines(rest)
        file.seek(0)
        return file.read(size)  # of a given size it is read into place: no second copy while it grows
    finally:
        _close(file)


def _close(file: BinaryIO) -> None:
    with contextlib.suppress(OSError):  # its last octets could not be written: nobody wants them
        file.close()


class Room:
    """Octets of large messages that are being carried out at a time: more of them wait, in the order they came.

    A message larger than all the room goes when it is alone.
    """

    def __init__(self, octets: int) -> None:
        self._octets = octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.taken = 0
        """Octets in use."""

    @property
    def waiting(self) -> int:
        """Messages that wait."""
        return len(self._waiting)

    async def enter(self, octets: int) -> None:
        """Take room, when there is. What entered must `leave`."""
        if not self._waiting and self._fits(octets):
            self.taken += octets
            return
        turn = asyncio.get_running_loop().create_future()
        entry = (octets, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(octets)  # its turn had come, and nobody takes it
            elif entry in self._waiting:
                self._waiting.remove(entry)
                self._admit()
            raise

    def leave(self, octets: int) -> None:
        """Give room back."""
        self.taken -= octets
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            octets, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.taken += octets
                turn.set_result(None)

    def _fits(self, octets: int) -> bool:
        return not self.taken or self.taken + octets <= self._octets
