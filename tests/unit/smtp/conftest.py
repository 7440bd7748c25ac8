"""A door that a test can hold open, servers on free ports, and a bare client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from mailguard.core.envelope import Envelope, Session
from mailguard.core.reply import Reply
from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.server import Listener, SmtpServer
from mailguard.smtp.tls import TlsCertificate, self_made
from tests.chat.fake_door import FakeDoor


@dataclass
class HeldDoor(FakeDoor):
    """A FakeDoor that waits where a test wants it to."""

    hold_connect: asyncio.Event | None = None
    hold_data: asyncio.Event | None = None
    in_data: asyncio.Event = field(default_factory=asyncio.Event)
    sessions: list[Session] = field(default_factory=list)
    connect_error: Exception | None = None

    async def connect(self, session: Session) -> Reply | None:
        self.sessions.append(session)
        if self.connect_error is not None:
            raise self.connect_error
        if self.hold_connect is not None:
            await self.hold_connect.wait()
        return await super().connect(session)

    async def data(self, session: Session, envelope: Envelope, content: bytes) -> Reply:
        self.in_data.set()
        if self.hold_data is not None:
            await self.hold_data.wait()
        return await super().data(session, envelope, content)


@dataclass
class Watcher:
    """An Observer that remembers."""

    opened: int = 0
    closed: int = 0
    refused: list[str] = field(default_factory=list)
    tls: list[str] = field(default_factory=list)
    errors: int = 0
    waiting: int = 0

    def session_opened(self) -> None:
        self.opened += 1

    def session_closed(self, seconds: float) -> None:
        assert seconds >= 0
        self.closed += 1

    def connection_refused(self, why: str) -> None:
        self.refused.append(why)

    def tls_handshake(self, version: str) -> None:
        self.tls.append(version)

    def large_waits(self, more: int) -> None:
        self.waiting += more

    def unforeseen(self) -> None:
        self.errors += 1


@dataclass
class Client:
    """A connection that speaks lines."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hear(self) -> str:
        """The next reply, its lines joined; empty at the end of the connection."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            line = (await asyncio.wait_for(self.reader.readline(), 5)).decode().rstrip("\r\n")
            if not line:
                break
            lines.append(line)
        return "\n".join(lines)

    async def say(self, *lines: str) -> str:
        """Send lines in one write, and hear as many replies; the last one is given."""
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        reply = ""
        for _ in lines:
            reply = await self.hear()
        return reply

    async def ready(self) -> None:
        """Up to 354."""
        assert (await self.hear())[:3] == "220"
        assert (await self.say("EHLO client.example"))[:3] == "250"
        assert (await self.say("MAIL FROM:<a@sender.test>", "RCPT TO:<u@client.test>", "DATA"))[:3] == "354"


async def eventually(condition: Callable[[], object], seconds: float = 5) -> None:
    """Wait until `condition` holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came to be"
        await asyncio.sleep(0.005)


Serve = Callable[..., Awaitable[SmtpServer]]
Connect = Callable[..., Awaitable[Client]]


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test of the door runs under the standard event loop and under uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def door() -> HeldDoor:
    return HeldDoor()


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def certificate(tmp_path: Path) -> TlsCertificate:
    return TlsCertificate(*self_made(tmp_path, hostname="mx.test"))


@pytest.fixture
async def serve(door: HeldDoor, watcher: Watcher) -> AsyncIterator[Serve]:
    """`await serve(name=value…)` is a started server with these settings."""
    servers: list[SmtpServer] = []

    async def start(
        *, listener: Listener | None = None, certificate: TlsCertificate | None = None, **settings: object
    ) -> SmtpServer:
        given = SmtpSettings(hostname="mx.test", **settings)  # type: ignore[arg-type]
        server = SmtpServer(
            door, given, [listener or Listener("127.0.0.1", 0)], certificate=certificate, observer=watcher
        )
        await server.start()
        servers.append(server)
        return server

    yield start
    if door.hold_data is not None:
        door.hold_data.set()
    for server in servers:
        await server.close()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(server)` is a client of it."""
    clients: list[Client] = []

    async def start(server: SmtpServer) -> Client:
        clients.append(Client(*await asyncio.open_connection(*server.addresses[0])))
        return clients[-1]

    yield start
    for client in clients:
        client.writer.close()
