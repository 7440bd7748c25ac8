"""The load: SMTP clients that send a list of mails, side by side, and time the replies. RFC 2920 pipelining, STARTTLS."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import uvloop

GREETING, EHLO, SECURE, ENVELOPE, CONTENT, QUIT = range(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the mails are sent. `recipients` of each mail; `reject`: no mail is sent, each recipient is to be refused."""

    port: int
    connections: int = 10
    sender: str = "a@sender.test"
    recipients: Sequence[str] = ("u@client.test",)
    tls: bool = False
    reject: bool = False


@dataclass(slots=True)
class Sent:
    """What came of it. `waits`: seconds from the end of a mail to its reply, or from RCPT to its refusal."""

    accepted: int = 0
    refused: list[bytes] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0


class _Client(asyncio.Protocol):
    """One connection, one transaction after the other."""

    def __init__(self, plan: Plan, feed: Iterator[bytes], sent: Sent, done: asyncio.Future[None]) -> None:
        self._plan, self._feed, self._sent, self.done = plan, feed, sent, done
        rcpts = "".join(f"RCPT TO:<{address}>\r\n" for address in plan.recipients)
        last = "RSET" if plan.reject else "DATA"
        self._start = f"MAIL FROM:<{plan.sender}>\r\n{rcpts}{last}\r\n".encode()
        self._replies = len(plan.recipients) + 2
        self._buffer, self._step, self._awaited, self._since, self._mail = b"", GREETING, 1, 0.0, b""
        self._secured = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            if line[3:4] != b"-":
                self._heard(line)

    def _heard(self, line: bytes) -> None:
        positive = line[:1] in b"23"
        if self._plan.reject and self._step == ENVELOPE:
            if not positive:
                self._sent.accepted += 1
                self._sent.waits.append(time.perf_counter() - self._since)
        elif not positive:
            self._sent.refused.append(line.strip())
        self._awaited -= 1
        if self._awaited:
            return
        match self._step:
            case 0:
                self._say(b"EHLO mail.sender.test\r\n", EHLO)
            case 1 if self._plan.tls and not self._secured:
                self._say(b"STARTTLS\r\n", SECURE)
            case 2:
                self._switch = asyncio.ensure_future(self._start_tls())
            case 3 if not self._plan.reject:
                if positive:
                    self._since = time.perf_counter()
                    self._say(self._mail, CONTENT)
                else:
                    self._transport.close()
            case 5:
                self._transport.close()
            case _:
                if self._step == CONTENT:
                    self._sent.waits.append(time.perf_counter() - self._since)
                    self._sent.accepted += positive
                self._next()

    def _next(self) -> None:
        mail = next(self._feed, None)
        if mail is None:
            self._say(b"QUIT\r\n", QUIT)
            return
        self._mail, self._since = mail, time.perf_counter()
        self._say(self._start, ENVELOPE, awaited=self._replies)

    def _say(self, line: bytes, step: int, *, awaited: int = 1) -> None:
        self._step, self._awaited = step, awaited
        self._transport.write(line)

    async def _start_tls(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, self, context, server_hostname="relay.test")
        assert transport is not None
        self._transport = transport
        self._secured = True
        self._say(b"EHLO mail.sender.test\r\n", EHLO)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _send(plan: Plan, mails: Sequence[bytes]) -> Sent:
    loop, feed, sent = asyncio.get_running_loop(), iter(mails), Sent()
    began = time.perf_counter()
    clients = []
    for _ in range(min(plan.connections, len(mails))):
        done: asyncio.Future[None] = loop.create_future()
        with suppress(ConnectionError):
            await loop.create_connection(
                lambda done=done: _Client(plan, feed, sent, done),  # type: ignore[misc]
                "127.0.0.1",
                plan.port,
            )
            clients.append(done)
    await asyncio.gather(*clients)
    sent.seconds = time.perf_counter() - began
    return sent


def send(plan: Plan, mails: Sequence[bytes]) -> Sent:
    """Send the mails, each once: as DATA wants them, dot-stuffed and ended. Ends when the last reply is there."""
    return uvloop.run(_send(plan, mails))
