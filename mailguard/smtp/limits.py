"""How much one client, one connection and all of them together may ask for. Counts in this process only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mailguard.core.reply import Reply
from mailguard.smtp import replies
from mailguard.smtp.door import SmtpSettings

Monotonic = Callable[[], float]
"""Seconds that only grow."""

CLIENTS_REMEMBERED = 50_000
"""Clients whose connection rate is remembered; beyond, those that have been quiet longest are forgotten."""


class Refusal(StrEnum):
    """Why a connection was turned away: a closed set, fit for a metric's label."""

    TOTAL = "total"
    CLIENT = "client"
    RATE = "rate"
    PROXY_UNTRUSTED = "proxy_untrusted"
    PROXY_MALFORMED = "proxy_malformed"
    DOOR = "door"
    EARLY_TALKER = "early_talker"
    SHUTDOWN = "shutdown"


REPLIES = {
    Refusal.TOTAL: replies.BUSY,
    Refusal.CLIENT: replies.CLIENT_BUSY,
    Refusal.RATE: replies.CLIENT_TOO_FAST,
    Refusal.PROXY_UNTRUSTED: replies.PROXY_ONLY,
    Refusal.EARLY_TALKER: replies.OUT_OF_SYNC,
    Refusal.SHUTDOWN: replies.SHUTTING_DOWN,
}


@dataclass(slots=True)
class _Client:
    open: int
    tokens: float
    at: float


class ConnectionLimits:
    """Counts connections, in all and per client: an IPv4 address, or an IPv6 /64 (one customer, commonly)."""

    def __init__(self, settings: SmtpSettings, *, monotonic: Monotonic = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._unlimited = tuple(ip_network(network) for network in settings.unlimited_networks)
        self._clients: dict[str, _Client] = {}
        self.open = 0
        """Connections that are let in and not gone."""

    def enter(self) -> Refusal | None:
        """Count one more connection, whoever it is from, or say why not. Each one counted must `leave`."""
        if self.open >= self._settings.max_connections:
            return Refusal.TOTAL
        self.open += 1
        return None

    def leave(self) -> None:
        """One connection less."""
        self.open -= 1

    def enter_client(self, ip: str) -> Refusal | None:
        """Count a connection for its client, or say why not. Each one counted must `leave_client`."""
        address = client_address(ip)
        if any(address in network for network in self._unlimited):
            return None
        now = self._monotonic()
        key = client_key(address)
        client = self._clients.pop(key, None)
        burst = self._settings.connections_per_minute
        if client is None:
            self._forget()
            client = _Client(0, burst, now)
        self._clients[key] = client  # at the end: the dictionary is in the order of the last connection
        client.tokens = min(burst, client.tokens + (now - client.at) * burst / 60)
        client.at = now
        if client.open >= self._settings.connections_per_client:
            return Refusal.CLIENT
        if client.tokens < 1:
            return Refusal.RATE
        client.tokens -= 1
        client.open += 1
        return None

    def leave_client(self, ip: str) -> None:
        """One connection of that client less."""
        client = self._clients.get(client_key(client_address(ip)))
        if client is not None and client.open:
            client.open -= 1

    def _forget(self) -> None:
        """Make room for one more: forget the client longest quiet, but none that is connected."""
        for _ in range(len(self._clients) - CLIENTS_REMEMBERED + 1):
            key = next(iter(self._clients))
            client = self._clients.pop(key)
            if client.open:
                self._clients[key] = client  # looked at again when all others have been


def client_address(ip: str) -> IPv4Address | IPv6Address:
    """The address, an IPv4-mapped one as IPv4, without an IPv6 zone."""
    address = ip_address(ip.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def client_key(address: IPv4Address | IPv6Address) -> str:
    """What is counted as one client."""
    if isinstance(address, IPv6Address):
        return f"{int(address) >> 64:x}/64"
    return str(address)


_JUNK = frozenset({b"NOOP", b"RSET", b"VRFY", b"EXPN", b"HELP", b"EHLO", b"HELO"})


@dataclass(slots=True)
class SessionBudget:
    """What one connection has used up. Each method returns the 421 that ends it, or None."""

    settings: SmtpSettings
    commands: int = 0
    junk: int = 0
    errors: int = 0
    messages: int = 0

    def command(self, verb: bytes) -> Reply | None:
        """One more command."""
        self.commands += 1
        if self.commands > self.settings.commands_per_session:
            return replies.TOO_MANY_COMMANDS
        if verb in _JUNK:
            self.junk += 1
            if self.junk > self.settings.junk_commands:
                return replies.TOO_MUCH_JUNK
        return None

    def error(self) -> Reply | None:
        """One more command answered 5yz."""
        self.errors += 1
        return replies.TOO_MANY_ERRORS if self.errors >= self.settings.errors_per_session else None

    def transaction(self) -> Reply | None:
        """One more MAIL."""
        self.messages += 1
        return replies.TOO_MANY_MESSAGES if self.messages > self.settings.messages_per_session else None

    def accepted(self) -> None:
        """A message was taken in: what came before is forgiven."""
        self.junk = self.errors = 0
