"""A scriptable SMTP or LMTP server for tests: replies, delays, silence and hang-ups at any step; it keeps the exact bytes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from mailguard.core.envelope import NextHop
from tests.servers.ports import free_port


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
    """One transaction that came to its end. `wire` is the content as it came, dots stuffed unless it came in chunks.

    `user`: who authenticated; `certificate`: the subject of the client's certificate, when one was asked for and shown.
    `port`: the client's; `at`: when all of it had come, by time.monotonic().
    """

    mail: str
    rcpts: list[str]
    wire: bytes
    connection: int
    tls: bool
    chunked: bool = False
    user: str = ""
    certificate: str = ""
    port: int = 0
    at: float = 0.0

    @property
    def content(self) -> bytes:
        """The message, dots unstuffed."""
        if self.chunked:
            return self.wire
        lines = self.wire.split(b"\r\n")
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@dataclass(slots=True)
class SmtpSink:
    """Listens on loopback. `script` maps a step (banner, ehlo, helo, starttls, mail, rcpt, data, content, rset, quit) to
    what is done there instead of the usual; it may be changed at any time. `offers` are EHLO's keywords."""

    script: dict[str, Script] = field(default_factory=dict)
    offers: tuple[str, ...] = ("PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    certificate: tuple[Path, Path] | None = None
    client_ca: Path | None = None
    """Asks clients for a certificate that this one has signed, and hangs up on those without."""
    credentials: tuple[str, str] | None = None
    """With these AUTH succeeds; which mechanisms are offered is said by `offers`."""
    lmtp: bool = False
    """A reply for each recipient after the final dot (RFC 2033); the step `content` gets the line of RCPT."""
    path: Path | None = None
    """Listens on this socket instead of a port."""
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
        return NextHop(str(self.path), 0, lmtp=True) if self.path else NextHop(self.host, self.port, lmtp=self.lmtp)

    async def start(self) -> None:
        """Listen, on the same port as before after a `stop`."""
        if self.path:
            self._server = await asyncio.start_unix_server(self._serve, self.path, limit=1 << 20)
            return
        self.port = self.port or free_port()
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=1 << 20)

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
            with contextlib.suppress(AttributeError):  # asyncio's own, where TLS has ended already
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
        self.user = ""
        self.chunks = b""

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

    async def do_lhlo(self, line: str) -> None:
        if not self.sink.lmtp:
            await self.say("lhlo", line, "500 5.5.1 This is SMTP")
            return
        await self._hello(line)

    async def do_ehlo(self, line: str) -> None:
        if self.sink.lmtp:
            await self.say("ehlo", line, "500 5.5.1 This is LMTP")
            return
        await self._hello(line)

    async def _hello(self, line: str) -> None:
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
        if self.sink.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.sink.client_ca)
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

    async def do_auth(self, line: str) -> None:
        _, mechanism, *initial = line.split(" ")
        if mechanism == "PLAIN":
            if not initial:
                await self.say("challenge", line, "334 ")
                initial = [await self.line()]
            _, user, password = base64.b64decode(initial[0]).decode().split("\0")
        else:
            asked = []
            for prompt in (b"Username:", b"Password:"):
                await self.say("challenge", line, f"334 {base64.b64encode(prompt).decode()}")
                asked.append(base64.b64decode(await self.line()).decode())
            user, password = asked
        good = (user, password) == self.sink.credentials
        usual = "235 2.7.0 Welcome" if good else "535 5.7.8 Authentication credentials invalid"
        if await self.say("auth", line, usual) == "2":
            self.user = user

    async def do_rset(self, line: str) -> None:
        self.mail, self.rcpts, self.chunks = "", [], b""
        await self.say("rset", line, "250 2.0.0 Ok")

    async def do_quit(self, line: str) -> bool:
        await self.say("quit", line, "221 2.0.0 Bye")
        self.writer.close()
        return True

    async def do_data(self, line: str) -> None:
        usual = "354 Go ahead" if self.rcpts else "554 5.5.1 No valid recipients"
        if await self.say("data", line, usual) != "3":
            return
        await self._take(line, await self.content())

    async def do_bdat(self, line: str) -> None:
        size = int(line.split(" ")[1])
        while len(self.buffer) < size:
            if self.sink.read_pause:
                await asyncio.sleep(self.sink.read_pause)
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self.buffer += data
            if "midst" in self.sink.script and len(self.buffer) > 65536:
                await self.say("midst", "", "")
        self.chunks += self.buffer[:size]
        self.buffer = self.buffer[size:]
        if not self.rcpts:
            await self.say("early bdat", line, "503 5.5.1 No valid recipients")
        elif line.upper().endswith(" LAST"):
            wire, self.chunks = self.chunks, b""
            await self._take(line, wire, chunked=True)
        else:
            await self.say("chunk", line, "250 2.0.0 Ok")

    async def _take(self, line: str, wire: bytes, *, chunked: bool = False) -> None:
        tls = self.writer.get_extra_info("ssl_object")
        peer = tls.getpeercert() if tls and self.sink.client_ca else None
        subject = dict(pair[0] for pair in peer["subject"])["commonName"] if peer else ""
        peer_name = self.writer.get_extra_info("peername")
        received = Received(
            self.mail,
            self.rcpts,
            wire,
            self.number,
            self.tls,
            chunked,
            self.user,
            subject,
            port=0 if self.sink.path else peer_name[1],
            at=time.monotonic(),
        )
        self.mail, self.rcpts = "", []
        if received.rcpts:
            self.sink.messages.append(received)
        for rcpt in received.rcpts if self.sink.lmtp else [line]:
            await self.say("content", rcpt, "250 2.0.0 Taken")

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
