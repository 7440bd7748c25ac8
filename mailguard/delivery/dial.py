"""How a next hop is reached: its addresses, what is asked of it (TLS, DANE), and who we say that we are (AUTH, certificate)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address

from mailguard.core.envelope import NextHop
from mailguard.core.transport import HopSecurity, TlsMode
from mailguard.net.dane import Tlsa
from mailguard.net.dns import DnsError, Resolver
from mailguard.net.listeners import is_own_listener
from mailguard.net.smtp_client import Credentials, Handshake, HopError, SmtpConnection, Stage, Target
from mailguard.net.tlsa import TlsaResolver
from mailguard.ops.metrics import Metrics

AVOIDED = 60.0
"""Seconds that an address of a next hop that did not answer comes after its others."""

Secret = Callable[[str], str]
"""What a reference (`secret:file:…`) stands for; raises ValueError with a text that tells no secret."""


class Dialler:
    """Makes connections to next hops, as safe as the route asks for or not at all."""

    def __init__(
        self,
        handshake: Handshake,
        resolver: Resolver,
        *,
        tls: TlsMode = TlsMode.OPPORTUNISTIC,
        certificate: str = "",
        tlsa: TlsaResolver | None = None,
        secret: Secret = str,
        listen: Sequence[tuple[str, int]] = (),
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tls` and `certificate` (the path of a PEM file) hold for routes that have none of their own.

        Without `tlsa` no DNS answer counts as secure, so DANE finds nothing. `listen` are our own listeners: a next hop
        that turns out to be one of them is not connected to.
        """
        self._handshake = handshake
        self._resolver = resolver
        self._tls = tls
        self._certificate = certificate
        self._tlsa = tlsa
        self._secret = secret
        self._listen = tuple(listen)
        self._metrics = metrics
        self._clock = clock
        self._avoid: dict[tuple[str, int], float] = {}

    async def dial(
        self, hop: NextHop, security: HopSecurity, *, public_only: bool = False, deadline: float
    ) -> SmtpConnection:
        """A new connection by the loop's time `deadline`; the addresses of the hop share the time. Raises HopError."""
        loop = asyncio.get_running_loop()
        addresses = await self._addresses(hop, public_only=public_only)
        terms = await self._terms(hop, security)
        failure = HopError(Stage.CONNECT, None, "no time left")
        for position, address in enumerate(addresses):
            now = loop.time()
            target = replace(terms, address=address, name="" if address == hop.host else hop.host)
            try:
                connection = await SmtpConnection.connect(
                    target, self._handshake, deadline=now + (deadline - now) / (len(addresses) - position)
                )
            except HopError as error:
                failure = error
                self._avoid[address, hop.port] = self._clock() + AVOIDED
                self._count("failed")
                continue
            self._avoid.pop((address, hop.port), None)
            self._count("new", connection.tls)
            return connection
        raise failure

    async def _terms(self, hop: NextHop, security: HopSecurity) -> Target:
        """What is asked of the hop, whichever of its addresses is tried."""
        mode, tlsa = security.mode(self._tls), None
        if hop.is_socket:
            mode = TlsMode.OFF  # nothing leaves this machine
        elif mode is TlsMode.DANE:
            mode = security.floor(mode)
            tlsa = await self._tlsa_of(hop)
            if tlsa is not None and tlsa.usable:
                mode = TlsMode.DANE
            elif tlsa is not None:  # encrypted at least (RFC 7672 §2.2)
                mode, tlsa = max(mode, TlsMode.REQUIRED, key=lambda one: one.strength), None
        return Target(
            "",
            hop.port,
            tls=mode,
            lmtp=hop.lmtp,
            certificate=security.certificate or self._certificate,
            credentials=self._credentials(security),
            tlsa=tlsa,
        )

    async def _tlsa_of(self, hop: NextHop) -> Tlsa | None:
        if self._tlsa is None:
            return None
        try:
            found = await self._tlsa.lookup(hop.host, hop.port)
        except DnsError as error:  # an attacker could be behind it: not delivered until there is an answer
            raise HopError(Stage.ROUTE, None, f"DANE: no answer for TLSA records of {hop}: {error}") from error
        return found if found.records else None

    def _credentials(self, security: HopSecurity) -> Credentials | None:
        if not security.username:
            return None
        try:
            return Credentials(security.username, self._secret(security.password))
        except ValueError as error:
            raise HopError(Stage.AUTH, None, f"the password for {security.username} {error}") from error

    async def _addresses(self, hop: NextHop, *, public_only: bool) -> list[str]:
        """The addresses to try, those that did not answer lately last. Raises HopError when there are none."""
        if hop.is_socket:
            return [hop.host]
        try:
            addresses: Sequence[str] = (str(ip_address(hop.host)),)
        except ValueError:
            try:
                addresses = await self._resolver.a_and_aaaa(hop.host)
            except DnsError as error:
                raise HopError(Stage.ROUTE, None, f"{hop.host}: {error}") from error
        if not addresses:
            raise HopError(Stage.ROUTE, None, f"{hop.host} has no address")
        usable = [one for one in addresses if not (public_only and not ip_address(one).is_global)]
        if not usable:
            raise HopError(Stage.ROUTE, None, f"{hop.host} has private addresses only")
        usable = [one for one in usable if not is_own_listener(one, hop.port, listen=self._listen)]
        if not usable:
            raise HopError(Stage.ROUTE, None, f"{hop} is our own listener: its mail would loop")
        now = self._clock()
        if len(self._avoid) > 1000:
            self._avoid = {address: until for address, until in self._avoid.items() if until > now}
        return sorted(usable, key=lambda one: self._avoid.get((one, hop.port), 0.0) > now)

    def _count(self, result: str, tls: str = "") -> None:
        if self._metrics:
            self._metrics.connected(result)
            if result == "new":
                self._metrics.next_hop_tls.labels(tls.partition(" ")[0] or "none").inc()
