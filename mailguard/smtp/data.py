"""A message's octets on their way in: where DATA ends, and how any chunks of them become clean CRLF text.

Only CRLF.CRLF ends DATA. Anything looser lets a sender hide a second transaction in a message ("SMTP smuggling").
"""

from __future__ import annotations

import re
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

END = b"\r\n.\r\n"
CHUNK = 128 * 1024
"""Octets that are read at a time; the stream holds twice as much before it stops the client."""
OVERRUN = 2
"""How many times its limit a message may go on, to be refused rightly at its end, before the connection is cut."""

_CRS_BEFORE_LF = re.compile(rb"(?<!\r)\r++\n")  # tried once a run of CRs, not at each of them
_STUFFED = re.compile(rb"\r\n\.(?!\r\n)")
_HIDDEN_DOT = re.compile(rb"(?<=\r\n)\x00++\.")

Take = Callable[[bytes], Awaitable[None]]
"""Takes the next octets of a message."""


class OverrunError(Exception):
    """The message went on for more than OVERRUN times its limit."""


@dataclass(slots=True)
class Progress:
    """What a watcher may look at while a message comes in."""

    octets: int = 0


async def read_data(reader: StreamReader, take: Take, *, limit: int, progress: Progress) -> None:
    """Give the data up to and without the final dot to `take`, dots still stuffed.

    Raises IncompleteReadError when the client goes away in its midst, OverrunError when it goes on for OVERRUN times
    `limit` octets.
    """
    # The CRLF that ended the DATA command begins the first line too: put back, it lets one search find every end,
    # the empty message's included. (StreamReader has no public way to unread.)
    reader._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]
    skip = 2
    ended = False
    while not ended:
        try:
            chunk = await reader.readuntil(END)
            ended = True
        except LimitOverrunError as overrun:
            chunk = await reader.read(overrun.consumed)
        progress.octets += len(chunk)
        if progress.octets > OVERRUN * limit and not ended:
            raise OverrunError
        await take(chunk[skip:-3] if ended else chunk[skip:])
        skip = 0


async def read_octets(reader: StreamReader, take: Take, count: int, *, progress: Progress) -> None:
    """Give the next `count` octets to `take`. Raises IncompleteReadError when the client goes away in their midst."""
    left = count
    while left:
        chunk = await reader.read(min(left, CHUNK))
        if not chunk:
            raise IncompleteReadError(b"", left)
        left -= len(chunk)
        progress.octets += len(chunk)
        await take(chunk)


class Cleaner:
    """Makes clean text of a message that comes in chunks cut anywhere: every line ended by CRLF, dots unstuffed.

    `dots`: the client doubled dots at the start of lines (DATA does, BDAT does not). `bare` tells whether a CR or LF
    stood alone so far, or NULs before the first dot of a line. What it gives is what `reveal(unstuff(normalise(...)))`
    makes of the whole.
    """

    def __init__(self, *, dots: bool) -> None:
        self.bare = False
        self._dots = dots
        self._crs = 0  # held back: they may belong to an LF that is still to come
        self._dot = False  # held back: the line may be nothing but a dot
        self._line_start = True
        self._nuls = 0  # held back: they stand at the start of a line, and a dot may follow
        self._clean_start = True

    def push(self, chunk: bytes) -> Iterator[bytes]:
        """The clean text of one more chunk, as far as it is certain."""
        text = chunk.rstrip(b"\r")
        crs, self._crs = self._crs, len(chunk) - len(text)
        if not text:
            self._crs += crs
            return
        if crs:
            follows = text.lstrip(b"\r")
            crs, text = crs + len(text) - len(follows), follows
            if text[0] == 10:
                self.bare |= crs > 1
                text = b"\r" + text
            else:
                yield from self._lone(crs)
        if has_bare_newline(text):
            self.bare = True
            text = normalise(text)
        yield from self._revealed(self._unstuffed(text))

    def end(self) -> Iterator[bytes]:
        """What was held back. Text that does not end with a line end gets one: a message is made of lines."""
        crs, self._crs = self._crs, 0
        yield from self._lone(crs)
        yield from self._held_nuls()
        if not self._line_start:
            self._line_start = True
            yield b"\r\n"

    def _lone(self, crs: int) -> Iterator[bytes]:
        """CRs that no LF follows: a line end each. In pieces, since there may be millions."""
        self.bare |= crs > 0
        for at in range(0, crs, CHUNK):
            yield from self._revealed(self._unstuffed(b"\r\n" * min(CHUNK, crs - at)))

    def _unstuffed(self, text: bytes) -> bytes:
        starts_line = self._line_start
        self._line_start = text.endswith(b"\r\n")
        if not self._dots:
            return text
        if self._dot:  # stood at the start of a line
            self._dot, starts_line, text = False, True, b"." + text
        if text.endswith(b"\r\n.") or (starts_line and text == b"."):
            self._dot, self._line_start, text = True, True, text[:-1]
        return unstuff(text) if starts_line else _unstuff_lines(text)

    def _revealed(self, text: bytes) -> Iterator[bytes]:
        """`text` as `reveal` makes it; NULs at the start of a line are held back until it is known what follows."""
        if self._nuls or b"\0" in text:
            if self._clean_start:
                rest = text.lstrip(b"\0")
                self._nuls += len(text) - len(rest)
                text = rest
                if not text:
                    return
                if text[0] == 46:
                    self.bare |= self._nuls > 0
                    self._nuls = 0
                yield from self._held_nuls()
            rest = text.rstrip(b"\0")
            if rest.endswith(b"\r\n"):
                self._nuls, text = len(text) - len(rest), rest
            if _HIDDEN_DOT.search(text):
                self.bare = True
                text = _HIDDEN_DOT.sub(b".", text)
        if text:
            self._clean_start = text.endswith(b"\r\n")
            yield text

    def _held_nuls(self) -> Iterator[bytes]:
        """NULs that hide no dot: text like other text. In pieces, since there may be millions."""
        nuls, self._nuls = self._nuls, 0
        for at in range(0, nuls, CHUNK):
            yield bytes(min(CHUNK, nuls - at))


def reveal(clean: bytes) -> bytes:
    """`clean` without NULs before the first dot of a line.

    A server that drops NULs would take CRLF NUL . CRLF for the end of the message, and what follows for commands.
    """
    return clean if b"\0" not in clean else _HIDDEN_DOT.sub(b".", b"\r\n" + clean)[2:]


def has_bare_newline(raw: bytes) -> bool:
    """Whether a CR or LF stands alone (RFC 5321 §2.3.8)."""
    # To count the CRs and LFs takes four times as long: what stands once a line is found slowly, what never stands, at once.
    rest = raw.replace(b"\r\n", b"")
    return b"\n" in rest or b"\r" in rest


def normalise(raw: bytes) -> bytes:
    """`raw` with every line ended by CRLF: a bare LF, a bare CR, and CRs before an LF (one line end, not several)."""
    if not has_bare_newline(raw):
        return raw
    text = raw.replace(b"\r\n", b"\n")
    if b"\r\n" in text:
        text = _CRS_BEFORE_LF.sub(b"\n", text)
    return text.replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def unstuff(data: bytes) -> bytes:
    """`data` without the dots that a client doubles at the start of lines (RFC 5321 §4.5.2).

    A line that is nothing but a dot can only come from a normalised bare newline; it is text, and stays.
    """
    if data.startswith(b".") and not data.startswith(b".\r\n"):
        data = data[1:]
    return _unstuff_lines(data)


def _unstuff_lines(data: bytes) -> bytes:
    if b"\r\n." not in data:
        return data
    return _STUFFED.sub(b"\r\n", data) if b"\r\n.\r\n" in data else data.replace(b"\r\n.", b"\r\n")
