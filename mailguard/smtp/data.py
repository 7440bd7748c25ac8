"""A message's data between 354 and the final dot: reading it in large chunks, and making it clean CRLF text.

Only CRLF.CRLF ends it. Anything looser lets a sender hide a second transaction in a message ("SMTP smuggling").
"""

from __future__ import annotations

import re
from asyncio import LimitOverrunError, StreamReader
from dataclasses import dataclass

END = b"\r\n.\r\n"
CHUNK = 128 * 1024
"""Octets that are read at a time; the stream holds twice as much before it stops the client."""
OVERRUN = 2
"""How many times its limit a message may go on, to be refused rightly at its end, before the connection is cut."""

_CRS_BEFORE_LF = re.compile(rb"(?<!\r)\r++\n")  # tried once a run of CRs, not at each of them
_STUFFED = re.compile(rb"\r\n\.(?!\r\n)")


class OverrunError(Exception):
    """The message went on for more than OVERRUN times its limit."""


@dataclass(slots=True)
class Progress:
    """What a watcher may look at while a message comes in."""

    octets: int = 0


async def read_data(reader: StreamReader, *, limit: int, progress: Progress) -> bytes | None:
    """The data up to and without the final dot, dots still stuffed; None when it is clearly over `limit` octets.

    A message over the limit by no more than the dots that transparency adds comes through: measure what is unstuffed.

    Raises IncompleteReadError when the client goes away in its midst, OverrunError when it never seems to end.
    """
    # The CRLF that ended the DATA command begins the first line too: put back, it lets one search find every end,
    # the empty message's included. (StreamReader has no public way to unread.)
    reader._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]
    chunks: list[bytes] = []
    too_large = False
    stuffed = 0  # dots that transparency adds do not count (RFC 1870 §5)
    while True:
        try:
            chunk = await reader.readuntil(END)
            ended = True
        except LimitOverrunError as overrun:
            chunk = await reader.read(overrun.consumed)
            ended = False
        progress.octets += len(chunk)
        if progress.octets > limit + len(END):
            stuffed += _stuffed_in(chunk) if stuffed else sum(map(_stuffed_in, [*chunks, chunk]))
            too_large = too_large or progress.octets - stuffed > limit + len(END)
        if not too_large:
            chunks.append(chunk)
        else:
            chunks.clear()  # refused at its end: nothing of it is worth its memory
            if progress.octets > OVERRUN * limit and not ended:
                raise OverrunError
        if ended and too_large:
            return None
        if ended:
            chunks[0] = chunks[0][2:]  # trimmed before they are joined: a slice of the whole would be one more copy
            chunks[-1] = chunks[-1][:-3]
            return b"".join(chunks)


def _stuffed_in(chunk: bytes) -> int:
    """How many dots of a chunk may be transparency's, with one that it may share with the chunk before it."""
    return chunk.count(b"\r\n.") + 1


def has_bare_newline(raw: bytes) -> bool:
    """Whether a CR or LF stands alone (RFC 5321 §2.3.8)."""
    pairs = raw.count(b"\r\n")
    return raw.count(b"\n") != pairs or raw.count(b"\r") != pairs


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
    if b"\r\n." not in data:
        return data
    return _STUFFED.sub(b"\r\n", data) if b"\r\n.\r\n" in data else data.replace(b"\r\n.", b"\r\n")
