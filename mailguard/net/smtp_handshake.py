"""The beginning of an SMTP or LMTP client's conversation: connect, banner, EHLO or HELO or LHLO, STARTTLS, AUTH."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from math import inf

from mailguard.core.transport import TlsMode
from mailguard.net.dane import DaneError, Tlsa
from mailguard.net.smtp_auth import Credentials, authenticate
from mailguard.net.smtp_reply import ServerReply
from mailguard.net.smtp_values import Capabilities, HopError, Stage, Timeouts
from mailguard.net.smtp_wire import Wire, WireError
from mailguard.net.tls_contexts import TlsContexts, TlsSetupError


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: an IP address and port, or the path of a socket; and what is asked of the server there.

    `name` is the host's, for SNI and to verify it; empty when only the address is known. `certificate` is the path of ours.
    `tlsa`: records of which a usable one must name the server's certificate; goes with TlsMode.DANE.
    """

    address: str
    port: int = 25
    name: str = ""
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    lmtp: bool = False
    certificate: str = ""
    credentials: Credentials | None = None
    tlsa: Tlsa | None = None

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket of this machine, where nobody listens in."""
        return self.address.startswith("/")

    @property
    def must_encrypt(self) -> bool:
        """Whether plaintext will not do."""
        return self.tls not in (TlsMode.OFF, TlsMode.OPPORTUNISTIC)


@dataclass(frozen=True, slots=True)
class Greeted:
    """A connection after EHLO. `tls` names protocol and cipher and what the certificate was verified by, empty in plaintext."""

    wire: Wire
    capabilities: Capabilities
    tls: str
    lmtp: bool = False


class Handshake:
    """How we begin every conversation: as `helo`, with `timeouts` and TLS `contexts`."""

    def __init__(self, *, helo: str, timeouts: Timeouts | None = None, contexts: TlsContexts | None = None) -> None:
        self.helo = helo
        self.timeouts = timeouts or Timeouts()
        self._contexts = contexts or TlsContexts()

    async def perform(self, target: Target, *, deadline: float = inf) -> Greeted:
        """Begin a conversation by the loop's time `deadline`. Raises HopError; the connection is then closed."""
        context = self._context(target)
        wire = await self._open(target, deadline)
        try:
            banner = await _ask(wire, b"", Stage.BANNER, self.timeouts.banner, deadline)
            if banner.code != 220:
                raise HopError(Stage.BANNER, banner.reply)
            capabilities = await self._hello(wire, target, deadline)
            tls = ""
            if target.must_encrypt and not capabilities.starttls:
                raise HopError(Stage.STARTTLS, None, f"TLS is required ({target.tls}) and not offered")
            if context is not None and capabilities.starttls:
                tls = await self._start_tls(wire, target, context, deadline)
                if tls:
                    capabilities = await self._hello_again(wire, target, deadline)
            await self._authenticate(wire, target, capabilities, tls, deadline)
        except BaseException:
            wire.abort()
            raise
        return Greeted(wire, capabilities, tls, target.lmtp)

    def _context(self, target: Target) -> ssl.SSLContext | None:
        if target.tls is TlsMode.OFF:
            return None
        try:
            return self._contexts.get(verified=target.tls is TlsMode.VERIFIED, certificate=target.certificate)
        except TlsSetupError as error:  # not STARTTLS's: plaintext is no way out
            raise HopError(Stage.AUTH, None, str(error)) from error

    async def _open(self, target: Target, deadline: float) -> Wire:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, min(self.timeouts.connect, deadline - loop.time()))):
                if target.is_socket:
                    _, wire = await loop.create_unix_connection(Wire, target.address)
                else:
                    _, wire = await loop.create_connection(Wire, target.address, target.port)
        except TimeoutError as error:
            raise HopError(Stage.CONNECT, None, "no connection in time") from error
        except OSError as error:
            raise HopError(Stage.CONNECT, None, error.strerror or str(error)) from error
        return wire

    async def _hello(self, wire: Wire, target: Target, deadline: float) -> Capabilities:
        verb = "LHLO" if target.lmtp else "EHLO"  # RFC 2033 §4.1
        reply = await _ask(wire, f"{verb} {self.helo}\r\n".encode(), Stage.EHLO, self.timeouts.ehlo, deadline)
        if reply.code == 250:
            return Capabilities.of(reply)
        if reply.code >= 500 and not target.lmtp:  # RFC 5321 §3.2: an old server does not know EHLO
            reply = await _ask(wire, f"HELO {self.helo}\r\n".encode(), Stage.EHLO, self.timeouts.ehlo, deadline)
            if reply.code == 250:
                return Capabilities()
        raise HopError(Stage.EHLO, reply.reply)

    async def _hello_again(self, wire: Wire, target: Target, deadline: float) -> Capabilities:
        """EHLO within TLS (RFC 3207 §4.2). In TLS 1.3 a server that turns the handshake down is noticed only now."""
        try:
            return await self._hello(wire, target, deadline)
        except HopError as error:
            if error.reply is None:
                raise HopError(Stage.STARTTLS, None, error.detail) from error
            raise

    async def _start_tls(self, wire: Wire, target: Target, context: ssl.SSLContext, deadline: float) -> str:
        """Protocol, cipher and how the server was verified; empty when it declined and opportunistic TLS goes on without."""
        reply = await _ask(wire, b"STARTTLS\r\n", Stage.STARTTLS, self.timeouts.starttls, deadline)
        if reply.code != 220:
            if target.tls is TlsMode.OPPORTUNISTIC and reply.code != 421:
                return ""
            raise HopError(Stage.STARTTLS, reply.reply)
        remaining = min(self.timeouts.starttls, deadline - asyncio.get_running_loop().time())
        name = target.name
        if target.tls is TlsMode.VERIFIED:
            name = name or target.address
        elif target.tlsa is not None:
            name = target.tlsa.names[0]
        try:
            tls = await wire.start_tls(context, name or None, remaining)
        except WireError as error:
            raise HopError(Stage.STARTTLS, None, str(error)) from error
        if target.tlsa is not None:
            try:
                target.tlsa.check(wire.certificates())
            except DaneError as error:
                raise HopError(Stage.STARTTLS, None, f"DANE: {error}") from error
        return f"{tls} {target.tls}" if target.tls in (TlsMode.VERIFIED, TlsMode.DANE) else tls

    async def _authenticate(self, wire: Wire, target: Target, offered: Capabilities, tls: str, deadline: float) -> None:
        if target.credentials is None:
            return
        if not tls and not target.is_socket:
            raise HopError(Stage.AUTH, None, "credentials are not sent without TLS")

        async def ask(line: bytes) -> ServerReply:
            return await _ask(wire, line + b"\r\n", Stage.AUTH, self.timeouts.auth, deadline)

        await authenticate(ask, target.credentials, offered)


async def _ask(wire: Wire, command: bytes, stage: Stage, patience: float, deadline: float) -> ServerReply:
    wire.write(command)
    try:
        return await wire.reply(patience, deadline)
    except WireError as error:
        raise HopError(stage, None, str(error)) from error
