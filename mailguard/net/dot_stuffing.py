"""Transparency of message content (RFC 5321 §4.5.2): dots doubled at line starts, over any chunks, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

WINDOW = 256 * 1024
"""Octets stuffed and written at a time, so that a large message is never copied whole."""


def stuff(chunks: Iterable[bytes], *, window: int = WINDOW) -> Iterator[bytes]:
    """The content in pieces as they go on the wire, without the final `.` CRLF.

    The chunks may be cut anywhere, between CR and LF too. A CRLF is added when the content does not end in one: the
    final dot must stand on a line of its own.
    """
    line_start, after_cr = True, False
    for chunk in chunks:
        for offset in range(0, len(chunk), window):
            piece = chunk if len(chunk) <= window else chunk[offset : offset + window]
            stuffed = piece.replace(b"\r\n.", b"\r\n..")
            if line_start and piece.startswith(b"."):
                stuffed = b"." + stuffed
            elif after_cr and piece.startswith(b"\n."):
                stuffed = b"\n." + stuffed[1:]
            line_start = piece.endswith(b"\r\n") or (after_cr and piece == b"\n")
            after_cr = piece.endswith(b"\r")
            yield stuffed
    if not line_start:
        yield b"\r\n"


def stuff_small(chunks: Sequence[bytes]) -> bytes:
    """The content and its final `.` CRLF in one piece: the fast path for messages of ordinary size."""
    content = b"".join(chunks)
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if content.startswith(b"."):
        stuffed = b"." + stuffed
    if content and not content.endswith(b"\r\n"):
        return stuffed + b"\r\n.\r\n"
    return stuffed + b".\r\n"
