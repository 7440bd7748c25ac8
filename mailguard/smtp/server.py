"""The door's listeners: opened together, sharing their ports with other workers, drained before they close."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from mailguard.core.clock import Clock, system_clock
from mailguard.smtp.door import Door, NullObserver, Observer, SmtpSettings
from mailguard.smtp.limits import ConnectionLimits
from mailguard.smtp.protocol import SmtpProtocol
from mailguard.smtp.shared import Shared
from mailguard.smtp.tls import TlsCertificate

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen on. `port` 0 takes a free one. `proxy`: every connection must begin with a PROXY header."""

    host: str
    port: int
    proxy: bool = False


class SmtpServer:
    """Takes connections and runs a SmtpProtocol on each. `start`, then `drain` or `close`."""

    def __init__(
        self,
        door: Door,
        settings: SmtpSettings,
        listeners: Sequence[Listener],
        *,
        certificate: TlsCertificate | None = None,
        observer: Observer | None = None,
        clock: Clock = system_clock,
    ) -> None:
        """`certificate` None: STARTTLS is not offered."""
        self._shared = Shared(
            door=door,
            settings=settings,
            limits=ConnectionLimits(settings),
            observer=observer or NullObserver(),
            clock=clock,
            certificate=certificate,
        )
        self._listeners = tuple(listeners)
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each listener, as they were opened."""
        return tuple(server.sockets[0].getsockname()[:2] for server in self._servers)

    @property
    def open_sessions(self) -> int:
        """Connections that were let in and are not gone."""
        return len(self._shared.connections)

    @property
    def transactions(self) -> int:
        """Messages being carried out, those included whose client has gone away."""
        return len(self._shared.transactions)

    async def start(self) -> None:
        """Open every listener, or none. Raises OSError (address in use, not permitted)."""
        logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's own, a line for each connection
        try:
            for listener in self._listeners:
                self._servers.append(await self._open(listener))
        except OSError:
            self._close_listeners()
            raise

    async def _open(self, listener: Listener) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _type, _protocol, _name, address = found[0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the other workers listen there too
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind(address)
            opened.setblocking(False)
            server = await loop.create_server(
                lambda: SmtpProtocol(self._shared, proxied=listener.proxy, loop=loop),
                sock=opened,
                backlog=self._shared.settings.backlog,
            )
        except OSError as error:
            opened.close()
            raise OSError(error.errno, f"cannot listen on {listener.host}:{listener.port}: {error.strerror}") from error
        log.info("listening on %s:%d%s", listener.host, listener.port, " (PROXY)" if listener.proxy else "")
        return server

    def reload_tls(self) -> None:
        """Load the certificate again for new handshakes. On ConfigError the one in use stays."""
        if self._shared.certificate is not None:
            self._shared.certificate.reload()

    async def drain(self, seconds: float) -> bool:
        """Take no more connections, tell idle clients 421, and let transactions end for up to `seconds`.

        True when all ended by themselves. After that time the remaining connections hear 421; messages still being carried
        out are not cancelled: see `transactions`.
        """
        self._shared.draining = True
        self._close_listeners()
        for connection in tuple(self._shared.connections):
            connection.shut_down()
        try:
            async with asyncio.timeout(seconds):
                while self._shared.connections or self._shared.transactions:
                    self._shared.changed.clear()
                    await self._shared.changed.wait()
        except TimeoutError:
            self._cut_off()
            return False
        return True

    async def close(self) -> None:
        """Close listeners and connections at once; messages being carried out are awaited."""
        self._shared.draining = True
        self._close_listeners()
        self._cut_off()
        if self._shared.transactions:
            await asyncio.wait(tuple(self._shared.transactions))

    def _cut_off(self) -> None:
        self._shared.ending = True
        for connection in tuple(self._shared.connections):
            connection.shut_down(now=True)

    def _close_listeners(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
