"""Whole sessions with the door: what a client sends, in whatever pieces, against the framing that RFC 5321, 2920 and 3030 give."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailguard.smtp import replies
from mailguard.smtp.data import CHUNK, OVERRUN
from mailguard.smtp.door import SmtpSettings
from tests.fuzz.smtp_door import Conversation
from tests.fuzz.target import Input, Target

SIZE = 2000
PIECE, PAUSE, GONE, LITERAL = 0xFC, 0xFB, 0xFA, 0xF9
"""In an input: a piece of its own begins; time passes; the client is gone; the next octet is meant as it is."""

_REPLY = re.compile(rb"(?:([2-5][0-9]{2})-[\x20-\x7e]*\r\n)*([2-5][0-9]{2})(?: [\x20-\x7e]*)?\r\n")
_HIDDEN = re.compile(rb"\0+\.")
_BDAT = re.compile(rb"(?i)BDAT +([0-9]{1,20})(?: +(LAST))? *\r?\n")
_LAST_WORDS = {
    str(reply)
    for reply in (
        replies.BYE,
        replies.OUT_OF_SYNC,
        replies.BDAT_SYNTAX,
        replies.NO_CHUNKING,
        replies.NOT_SMTP,
        replies.MESSAGE_TOO_LARGE,
        replies.BARE_NEWLINE_COMMAND,
    )
}


def read_replies(said: bytes) -> list[bytes]:
    """What the door said, cut into replies; each in its form."""
    found = []
    at = 0
    while at < len(said):
        match = _REPLY.match(said, at)
        assert match, f"no reply: {said[at : at + 80]!r}"
        assert all(len(line) <= 512 for line in match[0].split(b"\n"))
        found.append(match[0])
        at = match.end()
    return found


def clean(data: bytes, *, dots: bool) -> bytes:
    """The reference for what becomes of content: line ends made CRLF, stuffed dots taken off, NULs that hide a dot too, and
    a line end at the end."""
    lines = [line.lstrip(b"\0") if _HIDDEN.match(line) else line for line in _lines(data, dots=dots)]
    text = b"\r\n".join(lines)
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n"


def _lines(data: bytes, *, dots: bool) -> list[bytes]:
    lines = re.sub(rb"\r*\n|\r", b"\r\n", data).split(b"\r\n")
    return [line[1:] if dots and line.startswith(b".") and line != b"." else line for line in lines]


def is_bare(data: bytes, *, dots: bool) -> bool:
    """Whether a CR or LF stands alone, or NULs hide a line's first dot."""
    return bool(re.search(rb"\r(?!\n)|(?<!\r)\n", data)) or any(map(_HIDDEN.match, _lines(data, dots=dots)))


@dataclass
class Reference:
    """Reads a session as the standards have it, and checks that the door read the same."""

    talk: Conversation
    strict_lines: bool
    """Whether bare newlines are refused."""
    buffer: bytes = b""
    heard: list[bytes] = field(default_factory=list)
    in_data: bool = False
    chunks: list[bytes] = field(default_factory=list)
    messages: int = 0
    last: bytes = b""

    def step(self, sent: bytes, said: bytes) -> None:
        """The client sent a piece, and heard this."""
        self.buffer += sent
        self.heard = read_replies(said)
        self.last = self.heard[-1] if self.heard else self.last
        while self._frame():
            pass
        if self.talk.ended and len(self.heard) == 1 and (self.heard[0].startswith(b"421 ") or self.in_data):
            self.heard.clear()
        assert not self.heard, f"replies that nobody asked for: {self.heard!r}"
        if self.talk.ended:
            self._check_end()

    def _check_end(self) -> None:
        if self.last and not self.talk.wire.lost:
            text = self.last.decode().strip()
            assert text.startswith("421 ") or text in _LAST_WORDS or text.startswith("5"), f"ended with {text!r}"

    def _frame(self) -> bool:
        """Take one command, chunk or message off the buffer; False when there is none."""
        if self.in_data:
            return self._data()
        end = self.buffer.find(b"\n") + 1
        if not end:
            return False
        line = self.buffer[:end]
        chunk = _BDAT.fullmatch(line)
        if chunk and not self.talk.ended and len(self.buffer) < end + int(chunk[1]):
            assert not self.heard, "a chunk answered before it came"
            return False
        if not self.heard:
            assert self.talk.ended, f"no reply to {line!r}"
            return False
        reply = self.heard.pop(0)
        self.buffer = self.buffer[end:]
        verb = line.strip().partition(b" ")[0].upper()
        self._command(verb, chunk, reply)
        return True

    def _command(self, verb: bytes, chunk: re.Match[bytes] | None, reply: bytes) -> None:
        code = reply[:3]
        if code == b"354":
            assert verb == b"DATA"
            self.in_data = True
        elif chunk is not None:
            self._chunk(int(chunk[1]), bool(chunk[2]), reply)
        elif verb == b"STARTTLS" and code == b"220":
            self.buffer = b""  # RFC 3207 §4.2: what came with it in plain text does not count
            self.chunks.clear()
        elif code == b"250" and verb in (b"EHLO", b"HELO", b"RSET"):
            self.chunks.clear()
        else:
            assert code in (b"220", b"221", b"250", b"252", b"214") or code >= b"400"

    def _chunk(self, count: int, last: bool, reply: bytes) -> None:
        ended = len(self.buffer) < count
        octets, self.buffer = self.buffer[:count], self.buffer[count:]
        if ended:
            assert self.talk.ended
            return
        if not reply.startswith(b"250"):
            self.chunks.clear()
            return
        self.chunks.append(octets)
        if last:
            self._message(b"".join(self.chunks), dots=False, reply=reply)
            self.chunks.clear()

    def _data(self) -> bool:
        stream = b"\r\n" + self.buffer
        end = stream.find(b"\r\n.\r\n")
        if end < 0:
            if len(self.buffer) > OVERRUN * SIZE + 2 * CHUNK:
                assert self.talk.ended, "goes on beyond the limit"
            return False
        if not self.heard:
            assert self.talk.ended, "a message without an answer"
            return False
        reply = self.heard.pop(0)
        self.in_data = False
        data, self.buffer = stream[2 : end + 2], stream[end + 5 :]
        if end + 3 > OVERRUN * SIZE and self.talk.ended:
            assert reply.startswith(b"552 ")
            return True
        expected = clean(data, dots=True)
        if self.strict_lines and is_bare(data, dots=True):
            assert not reply.startswith(b"2")
        elif len(expected) > SIZE:
            assert reply.startswith(b"552 "), reply
        else:
            assert not reply.startswith(b"552 "), reply
        if reply.startswith(b"250"):
            self._message(data, dots=True, reply=reply)
        return True

    def _message(self, data: bytes, *, dots: bool, reply: bytes) -> None:
        """A message that was taken: the Door must have it, octet for octet."""
        assert b"Taken as" in reply, f"no Door said {reply!r}"
        assert not (self.strict_lines and is_bare(data, dots=dots))
        assert self.messages < len(self.talk.door.messages), "taken, and nobody has it"
        _session, envelope, content = self.talk.door.messages[self.messages]
        self.messages += 1
        assert content == clean(data, dots=dots)
        assert envelope.message_id.encode() in reply
        assert 1 <= len(envelope.recipients) <= 3


def _operations(data: bytes) -> list[tuple[int, bytes]]:
    """(operation, octets): pieces to send, times to wait (their octet squared, in seconds), and the client's going."""
    found: list[tuple[int, bytes]] = []
    piece = bytearray()
    at = 0
    while at < len(data):
        octet = data[at]
        if octet in (PIECE, PAUSE, GONE):
            if piece:
                found.append((PIECE, bytes(piece)))
                piece.clear()
            if octet == PAUSE:
                at += 1
                found.append((PAUSE, data[at : at + 1]))
            elif octet == GONE:
                found.append((GONE, b""))
        else:
            at += octet == LITERAL
            piece += data[at : at + 1]
        at += 1
    return [*found, (PIECE, bytes(piece))] if piece else found


def settings(choices: int) -> SmtpSettings:
    """The door's settings for an input's first octet."""
    return SmtpSettings(
        hostname="mx.test",
        message_size=SIZE,
        strict_pipelining=bool(choices & 1),
        bare_newline="refuse" if choices & 2 else "normalise",
        chunking=not choices & 4,
        dsn=not choices & 8,
        memory_limit=100 if choices & 16 else 5000,
        recipients_per_message=3,
        errors_per_session=100 if choices & 32 else 5,
        junk_commands=1000 if choices & 32 else 20,
        memory_budget=500,
    )


def run(data: bytes) -> None:
    """Hold a session, and read it beside the door."""
    source = Input(data)
    choices = source.octet()
    talk = Conversation(settings(choices), tls=not choices & 64, handshake=not choices & 128)
    reference = Reference(talk, strict_lines=bool(choices & 2))
    assert bytes(talk.said).startswith(b"220 mx.test ")
    for operation, octets in _operations(source.long_rest()):
        if operation == GONE:
            talk.hang_up()
            break
        if operation == PAUSE:
            reference.step(b"", talk.wait(octets[0] ** 2 if octets else 0))
        else:
            reference.step(octets, talk.say(octets))
    else:
        reference.step(b"", talk.end())
    assert reference.messages == len(talk.door.messages), "a message that nobody sent"


_HELLO = b"EHLO x.test\r\n\xfc"
_TO = b"MAIL FROM:<a@sender.test>\r\n\xfcRCPT TO:<u@client.test>\r\n\xfc"
TARGET = Target(
    "smtp_session",
    run,
    (
        b"\x20" + _HELLO + _TO + b"DATA\r\n\xfcSubject: x\r\n\r\n..dot\r\n.\r\n\xfcQUIT\r\n",
        b"\x20" + _HELLO + _TO.replace(b"\xfc", b"") + b"DATA\r\n\xfca\r\xfc\n.\r\xfc\n\xfcNOOP\r\nRSET\r\nQUIT\r\n",
        b"\x20" + _HELLO + _TO + b"BDAT 5\r\nabc\r\nBDAT 0 LAST\r\n\xfcQUIT\r\n",
        b"\x20" + _HELLO + _TO + b"BDAT 30 LAST\r\nQUIT\r\nMAIL FROM:<x@y>\r\n.\r\nDATA",
        b"\x20" + _HELLO + b"STARTTLS\r\nMAIL FROM:<inject@sender.test>\r\n\xfcEHLO y.test\r\n\xfc" + _TO + b"DATA\r\n",
        b"\x22" + _HELLO + _TO + b"DATA\r\n\xfcx\n.\nMAIL FROM:<smuggled@sender.test>\r\n.\r\n\xfcQUIT\r\n",
        b"\x30" + _HELLO + _TO + b"DATA\r\n\xfc\xfdline of text\r\n\xfe\x0c\r\n.\r\n",
        b"\x20" + _HELLO + _TO + b"DATA\r\n\xfc\xfd01234567\r\n\xfe\x20\r\n.\r\n\xfcQUIT\r\n",
        b"\x00" + _HELLO + _TO + b"DATA\r\n\xfb\x10x\r\n\xfb\x20",
        b"\x20EHLO x\r\n\xfcMAIL FROM:<> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb\r\n"
        b"RCPT TO:<u@client.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;u@x\r\nRCPT TO:<nobody@client.test>\r\n"
        b"RCPT TO:<bug@client.test>\r\nRCPT TO:<later@client.test>\r\nRCPT TO:<postmaster>\r\nRCPT TO:<u@x.test>\r\n"
        b"DATA\r\n\xfcX-Bug: yes\r\n.\r\n\xfc",
        b"\x20"
        + _HELLO
        + _TO
        + b"RCPT TO:<u@client.test>\r\nRCPT TO:<v@client.test>\r\nDATA\r\n\xfcx\r\n\0.\r\n.\r\n\xfc",
        b"\x00GET / HTTP/1.0\r\n\r\n",
        b"\x00" + b"FOO\r\n" * 8 + b"QUIT\r\n",
        b"\x20" + _HELLO + _TO + b"DATA\r\n\xfchalf\xfa",
        b"\x60" + _HELLO + _TO + b"BDAT 9999999\r\n",
        b"\x40" + _HELLO + b"NOOP\n\xfcVRFY a\r\nHELP\r\nAUTH PLAIN x\r\n",
    ),
    tokens=(
        b"EHLO x\r\n",
        b"HELO x\r\n",
        b"MAIL FROM:<a@sender.test>",
        b"MAIL FROM:<>",
        b"RCPT TO:<u@client.test>",
        b"RCPT TO:<postmaster>",
        b"DATA\r\n",
        b"BDAT 5\r\n",
        b"BDAT 0 LAST\r\n",
        b" LAST",
        b"RSET\r\n",
        b"STARTTLS\r\n",
        b"QUIT\r\n",
        b"NOOP\r\n",
        b"\r\n.\r\n",
        b"\n.\n",
        b"\r.\r",
        b"\xfc",
        b"\xfd",
        b"\xfe\x29",
        b" SIZE=10",
        b" SMTPUTF8",
        b"X-Spam: yes\r\n",
        b"X-Away: yes\r\n",
    ),
)
