"""How fast mail may come: from one client, and for one tenant. Counted by a Limiter that all workers share.

Each limit is a bucket that holds as much as the limit says and fills up again over its minute or hour, so that a client
may send a burst, and then as fast as it fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Protocol

from mailguard.core.reply import Reply
from mailguard.smtp.limits import client_address, client_key

MINUTE = 60.0
HOUR = 3600.0

CLIENT_MESSAGES = Reply(450, "4.7.1", "Too many messages from your address; please come again later")
CLIENT_RECIPIENTS = Reply(450, "4.7.1", "Too many recipients from your address; please come again later")
TENANT_MESSAGES = Reply(451, "4.7.1", "Too many messages for this recipient's organisation; please come again later")


class Limiter(Protocol):
    """Counts what is used up under a key. Quick, and never raises: what cannot be counted is let pass."""

    def take(self, key: str, *, limit: int, seconds: float) -> bool:
        """Use up one of `limit` in `seconds` (a bucket that fills steadily); False when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSettings:
    """Limits; 0: none. A client is an IPv4 address or an IPv6 /64; those in `unlimited_networks` have no limit."""

    client_messages_per_minute: int = 0
    client_messages_per_hour: int = 0
    client_recipients_per_minute: int = 0
    client_recipients_per_hour: int = 0
    tenant_messages_per_minute: int = 0
    unlimited_networks: Sequence[str] = ()


class Rates:
    """Says whether a message or a recipient comes too fast."""

    def __init__(self, settings: RateSettings, limiter: Limiter) -> None:
        self._limiter = limiter
        self._unlimited = tuple(ip_network(network) for network in settings.unlimited_networks)
        self._messages = _limits(
            minute=settings.client_messages_per_minute, hour=settings.client_messages_per_hour, name="m"
        )
        self._recipients = _limits(
            minute=settings.client_recipients_per_minute, hour=settings.client_recipients_per_hour, name="r"
        )
        self._tenant = settings.tenant_messages_per_minute

    def message(self, client_ip: str) -> Reply | None:
        """One more MAIL of a client: why not."""
        return None if self._client_may(client_ip, self._messages) else CLIENT_MESSAGES

    def recipient(self, client_ip: str) -> Reply | None:
        """One more RCPT of a client, whatever comes of it: why not."""
        return None if self._client_may(client_ip, self._recipients) else CLIENT_RECIPIENTS

    def tenant_message(self, tenant: int) -> Reply | None:
        """One more message for a tenant: why not."""
        if not self._tenant or self._limiter.take(f"t:{tenant}", limit=self._tenant, seconds=MINUTE):
            return None
        return TENANT_MESSAGES

    def _client_may(self, client_ip: str, limits: Sequence[tuple[str, int, float]]) -> bool:
        if not limits:
            return True
        address = client_address(client_ip)
        if any(address in network for network in self._unlimited):
            return True
        key = client_key(address)
        return all(self._limiter.take(f"{name}:{key}", limit=limit, seconds=seconds) for name, limit, seconds in limits)


def _limits(*, minute: int, hour: int, name: str) -> tuple[tuple[str, int, float], ...]:
    both = ((f"{name}1", minute, MINUTE), (f"{name}60", hour, HOUR))
    return tuple(limit for limit in both if limit[1])
