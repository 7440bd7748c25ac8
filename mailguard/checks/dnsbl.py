"""DNS block lists (RFC 5782): the client's address looked up in configured zones, by which return code means which symbol. Off by
default: a list's terms of use, and its view of the world, are the provider's to choose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mailguard.checks.base import CheckContext
from mailguard.core.verdict import CheckResult, CheckStatus, Symbol
from mailguard.net.dns import DnsTemporaryError, Resolver

# Answers by which a list refuses to serve (a public resolver, too many queries): never a listing.
_REFUSALS = ip_network("127.255.255.0/24")
_ANSWERS = ip_network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class ReturnCode:
    """One meaning of a zone's answers: `codes` are addresses such as `127.0.0.2`; none: any answer."""

    symbol: str
    score: float
    codes: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Zone:
    """One list: its DNS name and what its answers mean, the first that fits. Negative scores make an allow list of it."""

    name: str
    meanings: tuple[ReturnCode, ...]
    ipv6: bool = True
    """Whether it lists IPv6 addresses (RFC 5782 §2.4)."""


class DnsblCheck:
    """Reports the symbols of the zones that list the client. `zones` empty: SKIPPED. `timeout` in seconds for a look-up."""

    name = "dnsbl"
    needs: tuple[str, ...] = ()

    def __init__(self, zones: Sequence[Zone] = (), *, timeout: float = 5.0) -> None:
        self._zones = tuple(zones)
        self._timeout = timeout

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. A zone that cannot be asked makes it a TEMPERROR; what the others say is reported all the same."""
        address = context.session.address
        zones = [zone for zone in self._zones if zone.ipv6 or address.version == 4]
        if not zones or not address.is_global:
            return CheckResult(self.name, CheckStatus.SKIPPED, detail="no zone to ask" if not zones else "not public")
        answers = await asyncio.gather(*(self._look_up(context.resolver, address, zone) for zone in zones))
        symbols: list[Symbol] = []
        failures: list[str] = []
        for zone, answer in zip(zones, answers, strict=True):
            if isinstance(answer, str):
                failures.append(f"{zone.name}: {answer}")
            else:
                symbols += _symbols(zone, answer)
        if failures:
            symbols.append(Symbol("DNSBL_TEMPERROR", 0.0, "a block list could not be asked", tuple(failures)))
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if failures else CheckStatus.OK,
            tuple(symbols),
            detail="; ".join(failures),
        )

    async def _look_up(
        self, resolver: Resolver, address: IPv4Address | IPv6Address, zone: Zone
    ) -> tuple[str, ...] | str:
        """The addresses that the zone answers with, or why it gave no answer."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await resolver.a(f"{reversed_address(address)}.{zone.name}")
        except TimeoutError:
            return "timeout"
        except DnsTemporaryError as error:
            return str(error) or "no answer"
        if any(ip_address(code) in _REFUSALS for code in answer):
            return "refuses to answer us"
        return tuple(code for code in answer if ip_address(code) in _ANSWERS)


def reversed_address(address: IPv4Address | IPv6Address) -> str:
    """The labels that stand for an address in a list (RFC 5782 §2.1, §2.4): `192.0.2.1` is `1.2.0.192`."""
    return address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")


def _symbols(zone: Zone, answer: tuple[str, ...]) -> list[Symbol]:
    found: dict[str, Symbol] = {}
    for code in answer:
        meaning = next((meaning for meaning in zone.meanings if not meaning.codes or code in meaning.codes), None)
        if meaning and meaning.symbol not in found:
            description = meaning.description or f"the client is listed in {zone.name}"
            found[meaning.symbol] = Symbol(meaning.symbol, meaning.score, description, (f"{zone.name}={code}",))
    return list(found.values())
