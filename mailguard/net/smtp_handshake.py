"""The beginning of an SMTP client's conversation: connect, banner, EHLO or HELO, STARTTLS."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from math import inf

from mailguard.net.smtp_reply import ServerReply
from mailguard.net.smtp_values import Capabilities, HopError, Stage, Timeouts, TlsMode
from mailguard.net.smtp_wire import Wire, WireError


def opportunistic_context() -> ssl.SSLContext:
    """TLS without verification (RFC 7435): keys and signatures too weak to verify still beat plaintext."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: an IP address and port; `name` is the host's name, for SNI, empty when only the address is known."""

    address: str
    port: int = 25
    name: str = ""
    tls: TlsMode = TlsMode.OPPORTUNISTIC


@dataclass(frozen=True, slots=True)
class Greeted:
    """A connection after EHLO. `tls` names protocol and cipher, empty in plaintext."""

    wire: Wire
    capabilities: Capabilities
    tls: str


class Handshake:
    """How we begin every conversation: as `helo`, with `timeouts` and the TLS `context`."""

    def __init__(self, *, helo: str, timeouts: Timeouts | None = None, context: ssl.SSLContext | None = None) -> None:
        self.helo = helo
        self.timeouts = timeouts or Timeouts()
        self._context = context or opportunistic_context()

    async def perform(self, target: Target, *, deadline: float = inf) -> Greeted:
        """Begin a conversation by the loop's time `deadline`. Raises HopError; the connection is then closed."""
        wire = await self._open(target, deadline)
        try:
            banner = await _ask(wire, b"", Stage.BANNER, self.timeouts.banner, deadline)
            if banner.code != 220:
                raise HopError(Stage.BANNER, banner.reply)
            capabilities = await self._hello(wire, deadline)
            tls = ""
            if target.tls is TlsMode.REQUIRED and not capabilities.starttls:
                raise HopError(Stage.STARTTLS, None, "TLS is required and not offered")
            if target.tls is not TlsMode.OFF and capabilities.starttls:
                tls = await self._start_tls(wire, target, deadline)
                if tls:
                    capabilities = await self._hello_again(wire, deadline)
        except BaseException:
            wire.abort()
            raise
        return Greeted(wire, capabilities, tls)

    async def _open(self, target: Target, deadline: float) -> Wire:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, min(self.timeouts.connect, deadline - loop.time()))):
                _, wire = await loop.create_connection(Wire, target.address, target.port)
        except TimeoutError as error:
            raise HopError(Stage.CONNECT, None, "no connection in time") from error
        except OSError as error:
            raise HopError(Stage.CONNECT, None, error.strerror or str(error)) from error
        return wire

    async def _hello(self, wire: Wire, deadline: float) -> Capabilities:
        reply = await _ask(wire, f"EHLO {self.helo}\r\n".encode(), Stage.EHLO, self.timeouts.ehlo, deadline)
        if reply.code == 250:
            return Capabilities.of(reply)
        if reply.code >= 500:  # RFC 5321 §3.2: an old server does not know EHLO
            reply = await _ask(wire, f"HELO {self.helo}\r\n".encode(), Stage.EHLO, self.timeouts.ehlo, deadline)
            if reply.code == 250:
                return Capabilities()
        raise HopError(Stage.EHLO, reply.reply)

    async def _hello_again(self, wire: Wire, deadline: float) -> Capabilities:
        """EHLO within TLS (RFC 3207 §4.2). In TLS 1.3 a server that turns the handshake down is noticed only now."""
        try:
            return await self._hello(wire, deadline)
        except HopError as error:
            if error.reply is None:
                raise HopError(Stage.STARTTLS, None, error.detail) from error
            raise

    async def _start_tls(self, wire: Wire, target: Target, deadline: float) -> str:
        """Protocol and cipher, or empty when the server declined and opportunistic TLS goes on without."""
        reply = await _ask(wire, b"STARTTLS\r\n", Stage.STARTTLS, self.timeouts.starttls, deadline)
        if reply.code != 220:
            if target.tls is TlsMode.OPPORTUNISTIC and reply.code != 421:
                return ""
            raise HopError(Stage.STARTTLS, reply.reply)
        remaining = min(self.timeouts.starttls, deadline - asyncio.get_running_loop().time())
        try:
            return await wire.start_tls(self._context, target.name or None, remaining)
        except WireError as error:
            raise HopError(Stage.STARTTLS, None, str(error)) from error


async def _ask(wire: Wire, command: bytes, stage: Stage, patience: float, deadline: float) -> ServerReply:
    wire.write(command)
    try:
        return await wire.reply(patience, deadline)
    except WireError as error:
        raise HopError(stage, None, str(error)) from error
