"""The bytes of one SMTP client connection: replies in, commands out, flow control, the change to TLS. It knows no commands."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from math import inf
from typing import cast

from mailguard.net.smtp_reply import ReplyError, ReplyParser, ServerReply

BACKLOG_LIMIT = 16
"""Replies that a server may give beyond those asked for before it counts as hostile."""


class WireError(Exception):
    """The connection cannot be used any more: lost, silent for too long, or the server does not speak SMTP."""


class WireTimeout(WireError):
    """The server was silent for too long."""


class Wire(asyncio.Protocol):
    """One connection. Replies are taken in order by `reply` and `replies`; `failure` says why it broke, if it did."""

    __slots__ = (
        "_awaited",
        "_drain",
        "_loop",
        "_parser",
        "_replies",
        "_transport",
        "_waiter",
        "failure",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._replies: deque[ServerReply] = deque()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drain: asyncio.Future[None] | None = None
        self._awaited = 0
        self.failure = ""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no instances of it

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.failure:
            return
        try:
            replies = self._parser.feed(data)
        except ReplyError as error:
            self._replies.extend(error.before)  # "250 taken" is taken, whatever nonsense comes behind it
            self._fail(str(error))
            self.abort()
            return
        if not replies:
            return
        self._replies.extend(replies)
        if len(self._replies) > self._awaited + BACKLOG_LIMIT:
            self._fail("more replies than commands")
            self.abort()
            return
        self._wake()

    def eof_received(self) -> bool:
        """See asyncio.Protocol. A half-closed connection is of no use: close it."""
        self._fail("connection closed by the server")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._fail(f"connection lost: {exc}" if exc else "connection lost")

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._drain is None:
            self._drain = self._loop.create_future()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)

    # for the conversation

    @property
    def in_step(self) -> bool:
        """Whether the connection lives and nothing was said that nobody asked for."""
        return not (self.failure or self._replies or not self._parser.idle) and not self.closing

    @property
    def closing(self) -> bool:
        """Whether the transport is closed or about to be."""
        return self._transport is None or self._transport.is_closing()

    @property
    def answered(self) -> bool:
        """Whether a reply is waiting to be taken."""
        return bool(self._replies)

    @property
    def peer(self) -> str:
        """The address of the server, textual; empty for a socket of this machine."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if isinstance(name, tuple) else ""

    def write(self, data: bytes) -> None:
        """Queue bytes. On a broken connection nothing happens: the next reply that is awaited says so."""
        if self._transport is not None and not self.failure:
            self._transport.write(data)

    async def drained(self, patience: float) -> None:
        """Let others run, and wait until the connection takes more bytes.

        Raises WireError, WireTimeout after `patience` seconds.
        """
        await asyncio.sleep(0)
        if self._drain is not None and not self.failure:
            await self._wait(self._drain, patience)
        if self.failure or self.closing:
            raise WireError(self.failure or "connection lost")

    async def reply(self, patience: float, deadline: float = inf) -> ServerReply:
        """The next reply. Raises WireError when none can come any more, WireTimeout as `received` does."""
        await self.received(1, patience, deadline)
        return self._replies.popleft()

    def take(self) -> ServerReply | None:
        """The next reply if it is there already, even when the connection broke after it."""
        return self._replies.popleft() if self._replies else None

    async def received(self, count: int, patience: float, deadline: float = inf) -> None:
        """Wait until `count` replies are there to be taken; the time starts anew with each reply (RFC 5321 §4.5.3.2).

        Raises WireError when they cannot come any more and WireTimeout after `patience` seconds of silence, or when the
        loop's time passes `deadline`; what did come stays.
        """
        while len(self._replies) < count:
            if self.failure:
                raise WireError(self.failure)
            self._awaited = count
            self._waiter = self._loop.create_future()
            try:
                await self._wait(self._waiter, min(patience, deadline - self._loop.time()))
            finally:
                self._waiter = None
                self._awaited = 0

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None, patience: float) -> str:
        """Change to TLS and name protocol and cipher. Raises WireError when it fails: the connection is then unusable."""
        if not self.in_step:
            # Plaintext behind the reply to STARTTLS is somebody else's injection (RFC 3207 §5).
            self._fail("plaintext after the reply to STARTTLS")
            self.abort()
            raise WireError(self.failure)
        assert self._transport is not None
        try:
            transport = await self._loop.start_tls(
                self._transport, self, context, server_hostname=server_name, ssl_handshake_timeout=max(patience, 0.001)
            )
        except (OSError, ssl.SSLError, EOFError) as error:  # a handshake's timeout is a ConnectionAbortedError
            self._fail(f"TLS: {error or type(error).__name__}")
            self.abort()
            raise WireError(self.failure) from error
        if transport is None:
            self._fail("TLS: connection lost")
            raise WireError(self.failure)
        self._transport = transport
        cipher = transport.get_extra_info("cipher")
        return f"{cipher[1]} {cipher[0]}" if cipher else "TLS"

    def certificates(self) -> list[bytes]:
        """The chain that the server showed, in DER, its own certificate first; verified or not. Empty without TLS."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport else None
        if tls is None:
            return []
        public = getattr(tls, "get_unverified_chain", None)  # from Python 3.13 on
        if public is not None:
            return list(public())
        return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in tls._sslobj.get_unverified_chain() or ()]

    def close(self, farewell: bytes = b"") -> None:
        """Close after what is queued, and `farewell`, has been sent."""
        if self._transport is not None and not self._transport.is_closing():
            if farewell and not self.failure:
                self._transport.write(farewell)
            self._transport.close()

    def abort(self) -> None:
        """Close at once: bytes not yet handed to the system are dropped."""
        self._fail("aborted")
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, future: asyncio.Future[None], patience: float) -> None:
        # asyncio.timeout() costs more: it works by cancelling the task
        handle = self._loop.call_later(max(patience, 0.0), _expire, future)
        try:
            await future
        finally:
            handle.cancel()

    def _fail(self, why: str) -> None:
        if not self.failure:
            self.failure = why
        self.resume_writing()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(WireTimeout("no reply in time"))
