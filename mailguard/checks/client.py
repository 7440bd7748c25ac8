"""The client check: is the client named in the DNS as a mail server is (iprev, RFC 8601 §3), and does HELO make sense?

Facts about machines, each mild: honest servers are badly named too. Clients that are not public are not looked at.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType

from mailguard.checks.base import CheckContext
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, CheckStatus, Symbol
from mailguard.net.dns import DnsTemporaryError, Resolver, lookup_name
from mailguard.net.suffixes import organisation_of

SYMBOLS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "RDNS_CONFIRMED": (0.0, "the client's name in the DNS leads back to it"),
        "RDNS_NONE": (1.0, "the client has no name in the DNS"),
        "RDNS_UNCONFIRMED": (0.8, "the client's name in the DNS does not lead back to it"),
        "RDNS_DYNAMIC": (1.2, "the client is named like a line of a home or mobile network"),
        "RDNS_GENERIC": (0.6, "the client is named by its address alone"),
        "HELO_CONFIRMED": (0.0, "HELO names the client"),
        "HELO_OURS": (2.5, "HELO is our own name"),
        "HELO_BARE_ADDRESS": (1.5, "HELO is an address without the brackets that RFC 5321 asks for"),
        "HELO_LITERAL": (0.5, "HELO is the client's address, not a name"),
        "HELO_OTHER_ADDRESS": (1.5, "HELO is an address that is not the client's"),
        "HELO_BARE_WORD": (1.0, "HELO is a single word, no name in the DNS"),
        "HELO_UNRESOLVABLE": (0.7, "HELO is a name that is not in the DNS"),
        "HELO_ELSEWHERE": (
            0.2,
            "HELO is a name that leads to other addresses, of another organisation than the client's",
        ),
    }
)
"""Symbol → default points and what it says."""
NAME_LIMIT = 5
"""Names of the client that are followed; RFC 8601 §3 asks for a bound."""
PATIENCE = 5.0
"""Seconds for the client's names, and for HELO: whose name servers do not answer holds nobody up."""

_DYNAMIC = re.compile(
    r"(?:^|[.\-_\d])(?:x?[av]?dsl|dyn|dynamic|dynip|dhcp|dial(?:up|in)?|ppp(?:oe)?|pools?|cable|catv|broadband|"
    r"home|resid(?:ential)?|cpe|gprs|lte|mobile|wifi|wireless|nat)(?:[.\-_\d]|$)"
)
_BARE_ADDRESS = re.compile(r"^[0-9.]+$|^[0-9a-fA-F]*:[0-9a-fA-F:.]+$")


@dataclass(frozen=True, slots=True)
class ReverseName:
    """What came of iprev. `name` is the client's confirmed name, or one that it has; empty when it has none."""

    outcome: AuthOutcome
    name: str = ""


class ClientCheck:
    """Reports RDNS_* and HELO_* symbols, and iprev for Authentication-Results. A client that is not public: SKIPPED."""

    name = "client"
    needs: tuple[str, ...] = ()

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. A look-up that fails makes it a TEMPERROR; what is known all the same is reported."""
        client = context.session.address
        if not client.is_global:
            return CheckResult(self.name, CheckStatus.SKIPPED, detail="not public")
        reverse, helo = await asyncio.gather(
            reverse_name_of(context.resolver, client), _addresses_of(context.resolver, context.session.helo, client)
        )
        symbols = [*_reverse_symbols(reverse, client), *_helo_symbols(context, helo, reverse)]
        failed = [
            word
            for word, lost in (("reverse name", reverse.outcome is AuthOutcome.TEMPERROR), ("HELO", helo is None))
            if lost
        ]
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if failed else CheckStatus.OK,
            tuple(symbols),
            (AuthResult(AuthMethod.IPREV, reverse.outcome, reverse.name, "", (("policy.iprev", str(client)),)),),
            detail=f"no answer for now about its {' and '.join(failed)}" if failed else reverse.name,
        )


async def reverse_name_of(resolver: Resolver, client: IPv4Address | IPv6Address) -> ReverseName:
    """The client's name and whether it leads back to it (RFC 8601 §3, §2.7.3). Never raises."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _reverse_name(resolver, client)
    except TimeoutError:
        return ReverseName(AuthOutcome.TEMPERROR)


async def _reverse_name(resolver: Resolver, client: IPv4Address | IPv6Address) -> ReverseName:
    try:
        names = (await resolver.ptr(str(client)))[:NAME_LIMIT]
    except DnsTemporaryError:
        return ReverseName(AuthOutcome.TEMPERROR)
    if not names:
        return ReverseName(AuthOutcome.PERMERROR)
    look_up = resolver.aaaa if client.version == 6 else resolver.a
    lost = False
    for name in names:  # most clients have one
        try:
            answer = await look_up(name)
        except DnsTemporaryError:
            lost = True
            continue
        if any(ip_address(address) == client for address in answer):
            return ReverseName(AuthOutcome.PASS, name.lower())
    return ReverseName(AuthOutcome.TEMPERROR if lost else AuthOutcome.FAIL, names[0].lower())


async def _addresses_of(resolver: Resolver, helo: str, client: IPv4Address | IPv6Address) -> tuple[str, ...] | None:
    """The addresses that HELO leads to, of the client's family if there are such; none when it is no name; None when that
    cannot be told for now."""
    name = lookup_name(helo)
    if name is None or "." not in name or helo.startswith("[") or _BARE_ADDRESS.match(helo):
        return ()
    try:
        first, other = (resolver.aaaa, resolver.a) if client.version == 6 else (resolver.a, resolver.aaaa)
        async with asyncio.timeout(PATIENCE):
            return await first(name) or await other(name)
    except (DnsTemporaryError, TimeoutError):
        return None


def _reverse_symbols(reverse: ReverseName, client: IPv4Address | IPv6Address) -> list[Symbol]:
    if reverse.outcome is AuthOutcome.PERMERROR:
        return [_symbol("RDNS_NONE", str(client))]
    if reverse.outcome is AuthOutcome.TEMPERROR:
        return []
    passed = reverse.outcome is AuthOutcome.PASS
    symbols = [_symbol("RDNS_CONFIRMED" if passed else "RDNS_UNCONFIRMED", reverse.name)]
    if is_dynamic(reverse.name):
        symbols.append(_symbol("RDNS_DYNAMIC", reverse.name))
    elif names_address(reverse.name, client):
        symbols.append(_symbol("RDNS_GENERIC", reverse.name))
    return symbols


def is_dynamic(name: str) -> bool:
    """Whether a client's name, apart from its organisation's domain, has a word that access networks name their lines by."""
    own = name.removesuffix(organisation_of(name)).rstrip(".")
    return bool(own and _DYNAMIC.search(own))


def names_address(name: str, client: IPv4Address | IPv6Address) -> bool:
    """Whether a name is made of the client's IPv4 address: three of its octets in a row, either way round, or all in hex."""
    if client.version == 6:
        return False
    octets = str(client).split(".")
    numbers = [str(int(number)) for number in re.findall(r"\d{1,3}", name)]
    for order in (octets, octets[::-1]):
        for at in range(len(numbers) - 2):
            if numbers[at : at + 3] in (order[:3], order[1:]):
                return True
    return client.packed.hex() in name


def _helo_symbols(context: CheckContext, addresses: tuple[str, ...] | None, reverse: ReverseName) -> list[Symbol]:
    helo, client = context.session.helo, context.session.address
    said = helo.rstrip(".").lower()
    if not said:
        return []
    if said == context.hostname.lower():
        return [_symbol("HELO_OURS", helo)]
    literal = _literal(helo)
    if literal is not None:
        symbol = "HELO_LITERAL" if literal == client else "HELO_OTHER_ADDRESS"
        bare = [] if helo.startswith("[") else [_symbol("HELO_BARE_ADDRESS", helo)]
        return [*bare, *([_symbol(symbol, helo)] if not bare or symbol == "HELO_OTHER_ADDRESS" else [])]
    if "." not in said:
        return [_symbol("HELO_BARE_WORD", helo)]
    if addresses is None:
        return []
    if not addresses:
        return [_symbol("HELO_UNRESOLVABLE", helo)]
    if any(ip_address(address) == client for address in addresses):
        return [_symbol("HELO_CONFIRMED", helo)]
    related = reverse.outcome is AuthOutcome.PASS and organisation_of(reverse.name) == organisation_of(said)
    return [] if related else [_symbol("HELO_ELSEWHERE", helo, *addresses[:2])]


def _literal(helo: str) -> IPv4Address | IPv6Address | None:
    """The address that HELO is, with its brackets (RFC 5321 §4.1.3) or without; None when it is a name."""
    text = helo.removeprefix("[").removesuffix("]")
    if text.lower().startswith("ipv6:"):
        text = text[5:]
    try:
        return ip_address(text)
    except ValueError:
        return None


def _symbol(name: str, *evidence: str) -> Symbol:
    points, description = SYMBOLS[name]
    return Symbol(name, points, description, evidence)
