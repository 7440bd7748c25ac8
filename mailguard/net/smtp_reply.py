"""Replies of other people's SMTP servers, from bytes, with caps on everything: lines, their length and their number."""

from __future__ import annotations

from mailguard.core.reply import Reply, parse_reply
from mailguard.core.values import value

LINE_LIMIT = 2048
"""Octets in one reply line. RFC 5321 §4.5.3.1.5 allows 512; servers with long policy texts exceed it."""
LINES_LIMIT = 128
"""Lines in one reply. EHLO's is the longest in practice, with about 30."""


class ReplyError(ValueError):
    """What came is not an SMTP reply, or exceeds a limit. The connection cannot be used any more.

    `before` are the replies that came whole in the same octets, before it.
    """

    before: tuple[ServerReply, ...] = ()


@value
class ServerReply:
    """One reply as it came: the code of its last line, and its lines without CRLF, code included."""

    code: int
    lines: tuple[str, ...]

    @property
    def reply(self) -> Reply:
        """The same as a Reply: enhanced code split off, lines joined, text made safe."""
        return parse_reply(list(self.lines))

    @property
    def keywords(self) -> tuple[str, ...]:
        """The lines of an EHLO reply after its first, without code: `SIZE 10240000`, `PIPELINING`."""
        return tuple(line[4:].strip() for line in self.lines[1:])


class ReplyParser:
    """Bytes in, replies out. After a ReplyError it must not be fed again."""

    __slots__ = ("_lines", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[str] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is half read."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> list[ServerReply]:
        """The replies that `data` completes. Raises ReplyError for what is not a reply, or over a limit.

        A bare LF ends a line too: hosts that send it mean it so, and nothing of a reply is ever passed on as it came.
        """
        replies: list[ServerReply] = []
        *complete, self._rest = (self._rest + data).split(b"\n")
        try:
            for raw in complete:
                reply = self._line(raw)
                if reply is not None:
                    replies.append(reply)
            if len(self._rest) > LINE_LIMIT:
                raise ReplyError(f"a reply line of more than {LINE_LIMIT} octets")
        except ReplyError as error:
            error.before = tuple(replies)
            raise
        return replies

    def _line(self, raw: bytes) -> ServerReply | None:
        if len(raw) > LINE_LIMIT:
            raise ReplyError(f"a reply line of more than {LINE_LIMIT} octets")
        line = raw.rstrip(b"\r").decode("utf-8", "replace")
        code, separator = line[:3], line[3:4]
        if not (
            len(code) == 3 and code.isascii() and code.isdigit() and code[0] in "2345" and separator in ("", " ", "-")
        ):
            raise ReplyError(f"not an SMTP reply: {line[:60]!r}")
        self._lines.append(line)
        if separator == "-":
            if len(self._lines) >= LINES_LIMIT:
                raise ReplyError(f"a reply of more than {LINES_LIMIT} lines")
            return None
        lines, self._lines = tuple(self._lines), []
        return ServerReply(int(code), lines)
