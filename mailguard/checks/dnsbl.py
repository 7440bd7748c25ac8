"""The block lists of addresses: the client's looked up in configured zones, by which return code means which symbol.

Off by default: a list's terms of use, and its view of the world, are the provider's to choose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mailguard.checks.base import CheckContext
from mailguard.checks.lists import (
    ListKind,
    ListLookups,
    ListUnavailableError,
    Zone,
    meanings_of,
    outcome,
    reversed_address,
)
from mailguard.core.verdict import CheckResult, CheckStatus, Symbol


class DnsblCheck:
    """Reports the symbols of the zones of addresses that list the client. No such zone: SKIPPED."""

    name = "dnsbl"
    needs: tuple[str, ...] = ()

    def __init__(self, zones: Sequence[Zone] = (), lookups: ListLookups | None = None) -> None:
        self._zones = tuple(zone for zone in zones if zone.kind is ListKind.IP)
        self._lookups = lookups or ListLookups()

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. A zone that cannot be asked makes it a TEMPERROR; what the others say is reported all the same."""
        address = context.session.address
        zones = [zone for zone in self._zones if zone.ipv6 or address.version == 4]
        if not zones or not address.is_global:
            return CheckResult(self.name, CheckStatus.SKIPPED, detail="no zone to ask" if not zones else "not public")
        name = reversed_address(address)
        answers = await asyncio.gather(
            *(self._lookups.look_up(context.resolver, zone, name) for zone in zones), return_exceptions=True
        )
        symbols: list[Symbol] = []
        failures: dict[str, str] = {}
        for zone, answer in zip(zones, answers, strict=True):
            if isinstance(answer, ListUnavailableError):
                failures[zone.title] = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                symbols += _symbols(zone, answer)
        return outcome(self.name, symbols, failures)


def _symbols(zone: Zone, answer: tuple[str, ...]) -> list[Symbol]:
    return [
        Symbol(
            meaning.symbol,
            meaning.score,
            meaning.description or f"the client is listed in {zone.title}",
            (f"{zone.title}={code}",),
        )
        for meaning, code in meanings_of(zone, answer)
    ]
