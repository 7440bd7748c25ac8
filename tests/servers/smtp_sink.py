"""A scriptable SMTP server for tests: replies, delays, silence and hang-ups at any step; it keeps the exact bytes it got."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from mailguard.core.envelope import NextHop


@dataclass(frozen=True, slots=True)
class Say:
    """What the server does at a step: wait `delay` seconds, send `reply` (None: silence for ever), then maybe hang up.

    `reply` may be raw bytes, sent as they are.
    """

    reply: str | bytes | None = ""
    delay: float = 0.0
    hang_up: bool = False


SILENCE = Say(None)
HANG_UP = Say("", hang_up=True)
Script = str | bytes | Say | Callable[[str], "str | bytes | Say"] | Sequence["str | Say"]
"""A step's behaviour: always the same, by the command's line, or one after the other (the last one stays)."""


@dataclass(slots=True)
class Received:
    """One transaction that came to its final dot. `content` is as it came on the wire, dots stuffed."""

    mail: str
    rcpts: list[str]
    wire: bytes
    connection: int
    tls: bool

    @property
    def content(self) -> bytes:
        """The message, dots unstuffed."""
        lines = self.wire.split(b"\r\n")
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@dataclass(slots=True)
class SmtpSink:
    """Listens on loopback. `script` maps a step (banner, ehlo, helo, starttls, mail, rcpt, data, content, rset, quit) to
    what is done there instead of the usual; it may be changed at any time. `offers` are EHLO's keywords."""

    script: dict[str, Script] = field(default_factory=dict)
    offers: tuple[str, ...] = ("PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    certificate: tuple[Path, Path] | None = None
    port: int = 0
    host: str = "127.0.0.1"
    read_pause: float = 0.0
    """Seconds between reads of 64 KB of content: a slow server."""
    messages: list[Received] = field(default_factory=list)
    commands: list[tuple[int, str]] = field(default_factory=list)
    """(connection, command line) of everything that came."""
    connections: int = 0
    open: int = 0
    most_open: int = 0
    flights: list[bytes] = field(default_factory=list)
    """What each read gave (of content: its beginning): shows what was pipelined."""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _steps: dict[str, int] = field(default_factory=dict)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> SmtpSink:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def hop(self) -> NextHop:
        """This server as a next hop."""
        return NextHop(self.host, self.port)

    async def start(self) -> None:
        """Listen, on the same port as before after a `stop`."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        await self.drop_connections()

    async def drop_connections(self) -> None:
        """Hang up on everybody, but go on listening."""
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await _Conversation(self, reader, writer, self.connections).run()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    def behaviour(self, step: str, line: str, usual: str) -> Say:
        """What to do at `step`."""
        script = self.script.get(step, usual)
        if callable(script) and not isinstance(script, Say):
            script = script(line)
        if isinstance(script, list | tuple):
            turn = self._steps.get(step, 0)
            self._steps[step] = turn + 1
            script = script[min(turn, len(script) - 1)]
        return script if isinstance(script, Say) else Say(script)  # type: ignore[arg-type]


class _HungUp(EOFError):
    pass


class _Conversation:
    def __init__(self, sink: SmtpSink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.sink = sink
        self.reader = reader
        self.writer = writer
        self.number = number
        self.buffer = b""
        self.tls = False
        self.mail = ""
        self.rcpts: list[str] = []

    async def run(self) -> None:
        await self.say("banner", "", "220 sink.test ESMTP")
        while True:
            line = await self.line()
            self.sink.commands.append((self.number, line))
            word = line.split(" ")[0].upper()
            handler = getattr(self, f"do_{word.lower()}", None)
            if handler is None:
                await self.say(word.lower(), line, "500 5.5.2 What?")
            elif await handler(line):
                return

    async def say(self, step: str, line: str, usual: str) -> str:
        """Do what the script says at a step; the first digit of the reply that went out."""
        say = self.sink.behaviour(step, line, usual)
        if say.delay:
            await asyncio.sleep(say.delay)
        if say.reply is None:
            await asyncio.Event().wait()
        data = say.reply if isinstance(say.reply, bytes) else f"{say.reply}\r\n".encode() if say.reply else b""
        self.writer.write(data)
        if say.hang_up:
            await self.writer.drain()
            self.writer.close()
            raise _HungUp
        return data[:1].decode("ascii", "replace")

    async def line(self) -> str:
        while b"\n" not in self.buffer:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self.sink.flights.append(data)
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("utf-8", "replace")

    async def do_ehlo(self, line: str) -> None:
        offers = self.sink.offers
        if self.sink.certificate and not self.tls:
            offers = (*offers, "STARTTLS")
        lines = ["sink.test", *offers]
        usual = "\r\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{text}" for i, text in enumerate(lines))
        await self.say("ehlo", line, usual)

    async def do_helo(self, line: str) -> None:
        await self.say("helo", line, "250 sink.test")

    async def do_starttls(self, line: str) -> None:
        if await self.say("starttls", line, "220 2.0.0 Go ahead") != "2" or self.sink.certificate is None:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sink.certificate)
        await self.writer.start_tls(context)
        self.tls = True
        self.buffer = b""

    async def do_mail(self, line: str) -> None:
        if self.mail:
            await self.say("nested mail", line, "503 5.5.1 Nested MAIL")
        elif await self.say("mail", line, "250 2.1.0 Ok") == "2":
            self.mail = line

    async def do_rcpt(self, line: str) -> None:
        if not self.mail:
            await self.say("early rcpt", line, "503 5.5.1 MAIL first")
        elif await self.say("rcpt", line, "250 2.1.5 Ok") == "2":
            self.rcpts.append(line)

    async def do_rset(self, line: str) -> None:
        self.mail, self.rcpts = "", []
        await self.say("rset", line, "250 2.0.0 Ok")

    async def do_quit(self, line: str) -> bool:
        await self.say("quit", line, "221 2.0.0 Bye")
        self.writer.close()
        return True

    async def do_data(self, line: str) -> None:
        usual = "354 Go ahead" if self.rcpts else "554 5.5.1 No valid recipients"
        if await self.say("data", line, usual) != "3":
            return
        wire = await self.content()
        received = Received(self.mail, self.rcpts, wire, self.number, self.tls)
        self.mail, self.rcpts = "", []
        if received.rcpts:
            self.sink.messages.append(received)
        await self.say("content", line, "250 2.0.0 Taken")

    async def content(self) -> bytes:
        collected = bytearray(b"\r\n" + self.buffer)
        self.buffer = b""
        scanned = 0
        while (end := collected.find(b"\r\n.\r\n", scanned)) < 0:
            scanned = max(0, len(collected) - 4)
            if self.sink.read_pause:
                await asyncio.sleep(self.sink.read_pause)
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            collected += data
            self.sink.flights.append(data[:100])
            if "midst" in self.sink.script and len(collected) > 65536:
                await self.say("midst", "", "")
        self.buffer = bytes(collected[end + 5 :])
        return bytes(collected[2 : end + 2])
