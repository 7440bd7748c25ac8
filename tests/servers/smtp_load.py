"""A fast SMTP client: many mails over a few connections, MAIL, RCPT and DATA pipelined (RFC 2920).

It keeps the exact bytes it is given, bare newlines included, and it can behave as a real sender does: a mail without a 2yz
or 5yz is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

_LINE_START_DOT = re.compile(rb"(^|[\r\n])\.")


def wire_form(content: bytes) -> bytes:
    """`content` as it goes behind DATA, with its final dot: dots doubled at the start of lines, whatever ends those."""
    stuffed = _LINE_START_DOT.sub(rb"\1..", content) if b"." in content else content
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to send; `id` is the caller's."""

    id: str
    content: bytes
    sender: str = "a@sender.test"
    recipients: tuple[str, ...] = ("u@client.test",)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of sending a mail once: the reply to its data, or the first refusal before; code 0: no reply came.

    `dot`: the final dot had been sent. Times in seconds; `at` by time.monotonic().
    """

    id: str
    code: int
    text: str
    dot: bool
    seconds: float
    at: float


@dataclass(slots=True)
class Load:
    """Sends mails. `answers` holds every attempt in the order in which it ended.

    `retry`: a mail that got no 2yz or 5yz is sent again, as a real sender would, until `stop` is called.
    """

    port: int
    connections: int = 8
    retry: bool = False
    host: str = "127.0.0.1"
    pause: float = 0.0
    """Seconds that each connection rests between two mails."""
    retry_pause: float = 0.05
    """Seconds that it rests after a mail that is to be sent again: the server may be starting."""
    per_connection: int = 500
    """Mails after which a connection is given up for a new one, as big senders do; the relay takes 1,000."""
    answers: list[Answer] = field(default_factory=list)
    on_answer: Callable[[Answer], None] = lambda answer: None
    _again: deque[Mail] = field(default_factory=deque)
    _stopping: bool = False

    @property
    def accepted(self) -> list[str]:
        """The ids of mails that got a 250, once for each time they did."""
        return [answer.id for answer in self.answers if answer.code == 250]

    def stop(self) -> None:
        """Begin no new mail; those to be sent again still are, until each has its 2yz or 5yz."""
        self._stopping = True

    async def run(self, mails: Iterable[Mail]) -> None:
        """Send all of `mails`, or as many as come before `stop`."""
        source = iter(mails)
        await asyncio.gather(*(self._worker(source) for _ in range(self.connections)))

    def _next(self, source: Iterator[Mail]) -> Mail | None:
        if self._again:
            return self._again.popleft()
        return None if self._stopping else next(source, None)

    async def _worker(self, source: Iterator[Mail]) -> None:
        connection = _Connection(self.host, self.port, mails=self.per_connection)
        while (mail := self._next(source)) is not None:
            answer = await connection.send(mail)
            self.answers.append(answer)
            self.on_answer(answer)
            if self.retry and not 200 <= answer.code < 300 and answer.code < 500:
                self._again.append(mail)
                await asyncio.sleep(self.retry_pause)
            elif self.pause:
                await asyncio.sleep(self.pause)
        await connection.quit()


class _Connection:
    """One connection at a time, opened when it is needed and again when it was lost."""

    def __init__(self, host: str, port: int, *, mails: int) -> None:
        self._host = host
        self._port = port
        self._mails = mails
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sent = 0

    async def send(self, mail: Mail) -> Answer:
        """Send a mail once."""
        began = time.monotonic()
        dot = False

        def answer(code: int, text: str) -> Answer:
            now = time.monotonic()
            return Answer(mail.id, code, text, dot, now - began, now)

        try:
            if self._sent >= self._mails:
                await self.quit()
            if self._writer is None:
                await self._open()
            assert self._writer is not None
            self._sent += 1
            body = " BODY=8BITMIME" if not mail.content.isascii() else ""
            rcpts = "".join(f"RCPT TO:<{recipient}>\r\n" for recipient in mail.recipients)
            self._writer.write(f"MAIL FROM:<{mail.sender}>{body}\r\n{rcpts}DATA\r\n".encode())
            refusal: tuple[int, str] | None = None
            for _ in range(len(mail.recipients) + 2):
                code, text = await self._reply()
                if code == 421:
                    self._drop()
                    return answer(code, text)
                if code >= 400:
                    refusal = refusal or (code, text)
            if code != 354:
                self._writer.write(b"RSET\r\n")
                await self._reply()
                return answer(*(refusal or (code, text)))
            self._writer.write(wire_form(mail.content))
            dot = True
            await self._writer.drain()
            return answer(*await self._reply())
        except (OSError, EOFError) as error:
            self._drop()
            return answer(0, f"{type(error).__name__}: {error}")

    async def quit(self) -> None:
        """End the connection politely."""
        if self._writer is not None:
            with contextlib.suppress(OSError, EOFError):
                self._writer.write(b"QUIT\r\n")
                await self._reply()
        self._drop()

    async def _open(self) -> None:
        self._sent = 0
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        await self._expect(220)
        self._writer.write(b"EHLO mail.sender.test\r\n")
        await self._expect(250)

    async def _expect(self, code: int) -> None:
        reply = await self._reply()
        if reply[0] != code:
            raise ConnectionError(f"{code} expected, {reply} came")

    async def _reply(self) -> tuple[int, str]:
        assert self._reader is not None
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            line = await self._reader.readuntil(b"\n")
            lines.append(line.decode("ascii", "replace").rstrip())
        return int(lines[-1][:3]), lines[-1][4:]

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
