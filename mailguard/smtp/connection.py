"""One client's connection: from accept to close, lines in, replies out, times watched, TLS switched on. Knows no commands.

aiosmtpd's SMTP gives the stream under it. All that a client can see is replaced here and in protocol.py: its line-by-line
DATA, replies without enhanced codes, exceptions shown as `500`, a handler that dies with its client, one timeout for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio import AbstractEventLoop, BaseTransport, StreamReaderProtocol, TimerHandle, Transport
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from typing import TypeVar, cast

from aiosmtpd.smtp import SMTP

from mailguard.core.envelope import Session
from mailguard.core.errors import MailError, UnavailableError
from mailguard.core.ids import new_message_id
from mailguard.core.reply import LOCAL_ERROR, Reply
from mailguard.smtp import replies
from mailguard.smtp.data import CHUNK
from mailguard.smtp.limits import REPLIES, Refusal, SessionBudget, client_address
from mailguard.smtp.proxy import ProxyError, read_header
from mailguard.smtp.shared import Shared, render
from mailguard.smtp.watch import Watch

log = logging.getLogger(__name__)
T = TypeVar("T")

FLUSH_AT = 100
"""Replies that are gathered at most before they are sent, whatever else the client has pipelined."""


class Connection(SMTP):
    """The connection below the commands. A subclass gives `_command`."""

    line_length_limit = CHUNK  # the limit of the stream's buffer; lines are measured apart

    def __init__(self, shared: Shared, *, proxied: bool, loop: AbstractEventLoop) -> None:
        super().__init__(None, hostname=shared.settings.hostname, loop=loop)
        self.shared = shared
        self.settings = shared.settings
        self.client = Session(id="", client_ip="")
        """What the Door sees of this connection."""
        self.in_transaction = False
        self._proxied = proxied
        self._budget = SessionBudget(shared.settings)
        self._out: list[bytes] = []
        self._closing = False
        self._waiting = False  # for a command: nothing is lost if the connection ends now
        self._turned_away = False  # greeted with a 554: only QUIT is left (RFC 5321 §3.1)
        self._counted = self._counted_client = self._counted_session = False
        self._opened_at = loop.time()
        self._cutter: TimerHandle | None = None
        self._heard: asyncio.Event | None = None  # set by the first input, while the greeting is held back
        self._watch = Watch(loop)
        self._late_command = partial(self._end, replies.COMMAND_TIMEOUT)
        self._late_session = partial(self._end, replies.SESSION_TIMEOUT)

    # --- what the event loop calls

    def connection_made(self, transport: BaseTransport) -> None:
        """A client is there."""
        StreamReaderProtocol.connection_made(self, transport)
        self.transport = transport
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        """Input; after our last words it is read only so that the system does not reset the connection over them."""
        if not self._closing:
            super().data_received(data)
            if self._heard is not None:
                self._heard.set()

    def eof_received(self) -> bool:
        """The client sends no more, but may still read: what it sent is answered (unlike aiosmtpd, which cancels)."""
        StreamReaderProtocol.eof_received(self)
        return not self._closing and not self.client.tls

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone and reads no reply any more. A message that is being carried out goes on all the same."""
        StreamReaderProtocol.connection_lost(self, error)
        self._closing = True
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
        self._leave()

    # --- the life of the connection

    async def _handle_client(self) -> None:
        try:
            if await self._enter():
                while not self._closing:
                    line = await self._read_line()
                    if line is not None:
                        await self._command(line)
        except asyncio.IncompleteReadError:
            self.close()  # the client sends no more; what it sent in whole is answered
        except ConnectionError:
            self._abort()
        except Exception:  # the unforeseen: the client hears nothing of it, the log everything
            log.exception("session %s: unforeseen error", self.client.id)
            self.shared.observer.unforeseen()
            self.close(replies.BROKEN)

    async def _command(self, line: bytes) -> None:
        raise NotImplementedError

    async def _enter(self) -> bool:
        """Count the connection, learn whose it is, ask the Door, greet. False: turned away, and closed or closing."""
        refusal = Refusal.SHUTDOWN if self.shared.draining else self.shared.limits.enter()
        if refusal is not None:
            return self._turn_away(refusal)
        self._counted = True
        transport = cast(Transport, self.transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not own:
            self._abort()  # gone before it was looked at
            return False
        ip, port = str(client_address(peer[0])), int(peer[1])
        if self._proxied:
            if not any(client_address(ip) in ip_network(network) for network in self.settings.proxy_networks):
                return self._turn_away(Refusal.PROXY_UNTRUSTED)
            try:
                ip, port = await self._read_proxy(ip, port)
            except ProxyError as error:
                log.warning("PROXY header from %s refused: %s", ip, error)
                self.shared.observer.connection_refused(Refusal.PROXY_MALFORMED)
                self._abort()  # the specification wants no answer (§2)
                return False
        self.client = Session(
            id=new_message_id(self.shared.clock()),
            client_ip=ip,
            client_port=port,
            listener=f"[{own[0]}]:{own[1]}" if ":" in own[0] else f"{own[0]}:{own[1]}",
        )
        refusal = self.shared.limits.enter_client(ip)
        if refusal is not None:
            return self._turn_away(refusal)
        self._counted_client = True
        return await self._greet()

    async def _read_proxy(self, ip: str, port: int) -> tuple[str, int]:
        self._watch.expect(self.loop.time() + self.settings.proxy_timeout, partial(self._end, None))
        proxied = await read_header(self._reader)
        self._watch.rest()
        return (str(client_address(proxied.ip)), proxied.port) if proxied else (ip, port)

    async def _greet(self) -> bool:
        self.shared.connections.add(self)
        self._counted_session = True
        self.shared.observer.session_opened()
        reply = await self.ask(self.shared.door.connect(self.client))
        if self.settings.greeting_delay and not self.pipelined:
            await self._wait_for_early_talk()
        if (self.settings.strict_pipelining or self.settings.greeting_delay) and self.pipelined:
            return self._turn_away(Refusal.EARLY_TALKER)  # RFC 5321 §4.3.1: the client waits for the greeting
        if reply is None:
            self._out.append(self.shared.greeting)
            return True
        self.shared.observer.connection_refused(Refusal.DOOR)
        self._turned_away = True
        # RFC 5321 §4.3.2: a greeting is 220, 554 or 421
        self.say(replace(reply, code=421) if reply.transient else reply)
        return not self._closing

    async def _wait_for_early_talk(self) -> None:
        self._heard = asyncio.Event()
        self._waiting = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), self.settings.greeting_delay)
        self._waiting = False
        self._heard = None

    def _turn_away(self, refusal: Refusal) -> bool:
        self.shared.observer.connection_refused(refusal)
        self.close(REPLIES[refusal])
        return False

    def _leave(self) -> None:
        """Give back what was counted; once, whichever way the connection ends."""
        self._watch.stop()
        if self._cutter is not None:
            self._cutter.cancel()
        if self._counted:
            self._counted = False
            self.shared.limits.leave()
        if self._counted_client:
            self._counted_client = False
            self.shared.limits.leave_client(self.client.client_ip)
        if self._counted_session:
            self._counted_session = False
            self.shared.connection_gone(self)
            self.shared.observer.session_closed(self.loop.time() - self._opened_at)

    async def ask(self, question: Awaitable[T]) -> T | Reply:
        """The Door's answer; what it raises becomes a Reply, and the unforeseen one that says nothing but 451 4.3.0."""
        try:
            return await question
        except MailError as error:
            log.info("session %s: %s", self.client.id, error)
            return error.reply
        except UnavailableError as error:
            log.warning("session %s: unavailable: %s", self.client.id, error)
            return LOCAL_ERROR
        except Exception:
            log.exception("session %s: unforeseen error", self.client.id)
            self.shared.observer.unforeseen()
            return replies.UNFORESEEN

    # --- lines in, replies out

    @property
    def pipelined(self) -> bool:
        """Whether the client has sent more than what has been read."""
        return bool(self._reader._buffer)  # type: ignore[attr-defined]

    async def _read_line(self) -> bytes | None:
        """The next line with its end; None when it was too long (and answered), or none may come any more.

        Replies wait until the client has nothing more pipelined, so that one packet carries them (RFC 2920 §3.2).
        """
        now = self.loop.time()
        session_end = self._opened_at + self.settings.session_time
        if now >= session_end:
            self.close(replies.SESSION_TIMEOUT)
        elif self.shared.ending or (self.shared.draining and not self.in_transaction):
            self.close(replies.SHUTTING_DOWN)
        if self._closing:
            return None
        if now + self.settings.command_timeout < session_end:
            self._watch.expect(now + self.settings.command_timeout, self._late_command)
        else:
            self._watch.expect(session_end, self._late_session)
        self._waiting = True
        try:
            if len(self._out) >= FLUSH_AT or b"\n" not in self._reader._buffer:  # type: ignore[attr-defined]
                await self.flush()
            return await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as overrun:
            await self._skip_line(overrun)
            self.say(replies.LINE_TOO_LONG)
            return None
        finally:
            self._waiting = False
            self._watch.rest()

    async def _skip_line(self, overrun: asyncio.LimitOverrunError) -> None:
        while True:
            await self._reader.read(overrun.consumed)
            try:
                await self._reader.readuntil(b"\n")
                return
            except asyncio.LimitOverrunError as again:
                overrun = again

    def say(self, reply: Reply, *, counts: bool = True) -> None:
        """Answer a command: a 421 ends the connection, and so do too many errors that count."""
        if reply.code == 421:
            self.close(reply)
            return
        self._out.append(render(reply))
        if reply.code >= 500 and counts:
            end = self._budget.error()
            if end is not None:
                self.close(end)

    async def flush(self) -> None:
        """Send the gathered replies; waits while the client does not read."""
        if self._out:
            cast(Transport, self.transport).write(b"".join(self._out))
            self._out.clear()
        if self._paused:  # type: ignore[attr-defined]
            await self._drain_helper()  # type: ignore[attr-defined]

    def close(self, reply: Reply | None = None) -> None:
        """Say the last words and end the connection; a client that does not hear them is cut off after `close_grace`."""
        if self._closing:
            return
        self._closing = True
        self._watch.rest()
        transport = cast(Transport, self.transport)
        if reply is not None:
            self._out.append(render(reply))
        if self._out:
            transport.write(b"".join(self._out))
            self._out.clear()
        # A socket closed with input unread is reset, and the reply may be lost with it: end our side, then read on to
        # the client's end. After a last QUIT there is nothing to lose, and TLS has no half-close.
        done = reply is replies.BYE and not self.pipelined
        if done or self._reader.at_eof() or transport.is_closing() or not transport.can_write_eof():
            transport.close()
        else:
            try:
                transport.write_eof()
                transport.resume_reading()
            except OSError:  # reset by the client, which we are about to be told
                transport.abort()
        self._cutter = self.loop.call_later(self.settings.close_grace, transport.abort)

    def _abort(self) -> None:
        """Cut the connection without a word."""
        self._closing = True
        cast(Transport, self.transport).abort()

    def _end(self, reply: Reply | None) -> None:
        """End the connection from outside its own task; without a word when there is no `reply`."""
        log.info("session %s ends: %s", self.client.id, reply or "nothing came in time")
        if reply is None:
            self._abort()
        else:
            self.close(reply)
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def shut_down(self, *, now: bool = False) -> None:
        """End at once when no transaction is under way or `now`, else after it. Never while a message is carried out."""
        if self._waiting and (now or not self.in_transaction):
            self._end(replies.SHUTTING_DOWN)

    # --- TLS

    async def start_tls(self) -> None:
        """Switch to TLS. What came in plain text behind STARTTLS is thrown away unread (RFC 3207 §4.2)."""
        certificate, transport, reader = self.shared.certificate, cast(Transport, self.transport), self._reader
        assert certificate is not None
        reader._buffer.clear()  # type: ignore[attr-defined]
        reader._paused = False  # type: ignore[attr-defined]
        secure: Transport | None = None
        try:
            # The first thing it does, before anything can come in, is to put TLS between the socket and us.
            secure = await self.loop.start_tls(
                transport,
                self,
                certificate.context,
                server_side=True,
                ssl_handshake_timeout=self.settings.tls_handshake_timeout,
            )
        except OSError as error:  # ssl.SSLError, ConnectionError and TimeoutError are
            log.info("session %s: TLS handshake failed: %s", self.client.id, error)
        finally:
            if secure is None:
                self.shared.observer.tls_handshake("")  # when cancelled, too: uvloop may end the connection first
        if secure is None:
            self._abort()
            self._leave()  # connection_lost went to the TLS layer
            return
        self.transport = secure
        reader._transport = secure  # type: ignore[attr-defined]
        self._writer = asyncio.StreamWriter(secure, self, reader, self.loop)
        self._replace_writer(self._writer)  # type: ignore[attr-defined]
        cipher, version, _bits = secure.get_extra_info("cipher") or ("", "TLS", 0)
        tls_object = secure.get_extra_info("ssl_object")
        version = (tls_object.version() if tls_object else None) or version
        self.client = replace(self.client, tls=f"{version} {cipher}", helo="", esmtp=False)
        self.shared.observer.tls_handshake(version)
