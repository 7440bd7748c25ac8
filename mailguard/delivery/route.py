"""Where a recipient's mail goes: a tenant's domain by the directory, our own outbound mail by smarthost or MX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from mailguard.core.envelope import NextHop
from mailguard.core.errors import PermanentError, TemporaryError
from mailguard.core.reply import Reply, sanitise
from mailguard.core.tenant import SYSTEM_TENANT, Directory, Domain
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity, TlsMode
from mailguard.net.dns import DnsError, Resolver
from mailguard.net.listeners import is_own_listener
from mailguard.net.mta_sts import MtaSts, StsMode

__all__ = ["OutboundRoutes", "Route", "Routes", "is_own_listener", "tenant_route"]

MX_LIMIT = 10
"""Mail exchangers tried of one domain; whoever publishes more does not mean mail."""


@dataclass(frozen=True, slots=True)
class Route:
    """The next hops of a domain, and what is asked of them.

    `public_only`: named by strangers (MX), so never an address of a private network.
    """

    domain: str
    next_hops: tuple[NextHop, ...]
    public_only: bool = False
    security: HopSecurity = AS_SET_FOR_ALL


def tenant_route(directory: Directory, domain: str) -> Route | None:
    """The route of a tenant's domain; None when it is no tenant's (any more), or has no next hop."""
    found = directory.domain(domain)
    return _route_of(found) if found is not None and found.next_hops else None


def _route_of(domain: Domain) -> Route:
    return Route(domain.name, domain.next_hops, security=domain.security)


class OutboundRoutes:
    """Routes of what we send ourselves (DSNs): all by `smarthost` when there is one, else by MX (RFC 5321 §5.1).

    `hostname` is ours: an MX of that name is us. `security` is for the smarthost alone; domains reached by MX are met as
    their policy in `sts` asks. `private` lets MX records lead into private networks (test set-ups).
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        hostname: str,
        smarthost: NextHop | None = None,
        security: HopSecurity = AS_SET_FOR_ALL,
        sts: MtaSts | None = None,
        port: int = 25,
        private: bool = False,
    ) -> None:
        self._resolver = resolver
        self._hostname = hostname.lower().rstrip(".")
        self._smarthost = smarthost
        self._security = security
        self._sts = sts
        self._port = port
        self._private = private

    async def route(self, domain: str) -> Route:
        """The route to any domain in the world. Raises TemporaryError and PermanentError with the reply of a DSN."""
        if self._smarthost is not None:
            return Route(domain, (self._smarthost,), security=self._security)
        if domain.startswith("["):
            return self._literal(domain)
        try:
            exchangers = await self._resolver.mx(domain)
            if not exchangers:
                return await self._implicit(domain)
        except DnsError as error:
            raise TemporaryError(
                Reply(451, "4.4.3", "The domain name could not be looked up"), f"{domain} MX: {error}"
            ) from error
        if all(not host for _, host in exchangers):
            raise PermanentError(Reply(556, "5.1.10", "The domain takes no mail"), f"{domain} has a null MX (RFC 7505)")
        ours = [preference for preference, host in exchangers if host.lower() == self._hostname]
        hops = [
            NextHop(host, self._port, preference)
            for preference, host in exchangers
            if host and (not ours or preference < min(ours))
        ]
        if not hops:
            raise PermanentError(
                Reply(554, "5.4.6", "The domain's mail comes to us"), f"{domain} has us as its best MX"
            )
        return await self._by_policy(Route(domain, tuple(hops[:MX_LIMIT]), public_only=not self._private))

    async def _implicit(self, domain: str) -> Route:
        """Without MX records the domain itself is the next hop, if it has an address (RFC 5321 §5.1)."""
        if not await self._resolver.a_and_aaaa(domain):
            raise PermanentError(
                Reply(550, "5.1.2", "The domain has neither mail exchanger nor address"),
                f"{sanitise(domain)} has no MX, A",
            )
        route = Route(domain, (NextHop(domain, self._port),), public_only=not self._private)
        return await self._by_policy(route)

    async def _by_policy(self, route: Route) -> Route:
        """The route with those next hops alone that the domain's MTA-STS policy names, verified (RFC 8461 §5)."""
        policy = await self._sts.policy(route.domain) if self._sts is not None else None
        if policy is None or policy.mode is not StsMode.ENFORCE:
            return route
        hops = tuple(hop for hop in route.next_hops if policy.allows(hop.host))
        if not hops:
            raise TemporaryError(
                Reply(451, "4.7.5", "The domain's MTA-STS policy names none of its mail exchangers"),
                f"MTA-STS: {route.domain} allows {', '.join(policy.mx[:5])}, not {route.next_hops[0].host}",
            )
        return replace(route, next_hops=hops, security=replace(route.security, at_least=TlsMode.VERIFIED))

    def _literal(self, domain: str) -> Route:
        text = domain.strip("[]")
        try:
            address = ip_address(text[5:] if text.lower().startswith("ipv6:") else text)
        except ValueError as error:
            raise PermanentError(Reply(550, "5.1.2", "Not an address literal"), f"{sanitise(domain)}") from error
        return Route(domain, (NextHop(str(address), self._port),), public_only=not self._private)


class Routes:
    """Routes of everything in the queue, by whose mail it is."""

    def __init__(self, directory: Callable[[], Directory], outbound: OutboundRoutes) -> None:
        self._directory = directory
        self._outbound = outbound

    async def route(self, tenant: int, domain: str) -> Route | None:
        """The route of a tenant's mail to a domain; None when the tenant has no such domain (any more).

        The provider's own mail goes to any domain, to a tenant's domain straight to its next hops: by its MX it would
        come back to us. Raises TemporaryError and PermanentError as OutboundRoutes does.
        """
        found = self._directory().domain(domain)
        if found is not None and found.next_hops and tenant in (found.tenant, SYSTEM_TENANT):
            return _route_of(found)
        return await self._outbound.route(domain) if tenant == SYSTEM_TENANT else None

    def known(self, tenant: int, domain: str) -> Route | None:
        """The route when it is known without asking anybody."""
        found = self._directory().domain(domain)
        if found is None or not found.next_hops or tenant not in (found.tenant, SYSTEM_TENANT):
            return None
        return _route_of(found)

    def domains_of(self, tenant: int, next_hop: NextHop) -> list[str]:
        """The domains of a tenant that a next hop serves."""
        return [
            domain.name
            for domain in self._directory().domains.values()
            if domain.tenant == tenant and next_hop in domain.next_hops
        ]
