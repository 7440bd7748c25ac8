"""Asking DNS lists (RFC 5782): what a list is, what its answers mean, and a look-up that a dead list cannot make expensive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mailguard.core.verdict import CheckResult, CheckStatus, Symbol
from mailguard.net.dns import DnsTemporaryError, Resolver

FAILURES = 3
"""Look-ups of one list that fail in a row before it is left alone for a while."""
FIRST_PAUSE = 30.0
"""Seconds for which it is left alone then; doubles for as long as it stays away, to LONGEST_PAUSE."""
LONGEST_PAUSE = 600.0
"""Seconds at most; and how long a list is left alone that refuses to answer us: to go on asking would be abuse."""
SANE_FOR = 3600.0
"""Seconds for which a list is believed once it was seen not to list what no list may (RFC 5782 §5)."""

# What no list may have: 127.0.0.1, and the name INVALID. A list that was given up, and now answers to any question, has it.
_NEVER_LISTED = {"ip": "1.0.0.127", "domain": "invalid"}

# Answers by which a list refuses to serve (a public resolver, too many queries, a wrong key): never a listing.
_REFUSALS = ip_network("127.255.255.0/24")
_ANSWERS = ip_network("127.0.0.0/8")


class ListKind(StrEnum):
    """What a list holds."""

    IP = "ip"
    DOMAIN = "domain"


class LookupResult(StrEnum):
    """How one look-up in a list ended: a closed label of the metrics."""

    LISTED = "listed"
    CLEAR = "clear"
    FAILED = "failed"
    REFUSED = "refused"
    """The list does not answer us (its terms of use, or our resolver), or to anything: it is not to be believed."""
    SKIPPED = "skipped"
    """Not asked: it failed or refused not long ago."""


@dataclass(frozen=True, slots=True)
class ReturnCode:
    """One meaning of a list's answers: addresses such as `127.0.0.2` (`codes`), or any of some `bits` of the last octet.

    Neither: any answer.
    """

    symbol: str
    score: float
    codes: tuple[str, ...] = ()
    description: str = ""
    bits: int = 0

    def fits(self, answer: str) -> bool:
        """Whether this answer has this meaning."""
        if self.bits:
            return bool(ip_address(answer).packed[-1] & self.bits)
        return not self.codes or answer in self.codes


@dataclass(frozen=True, slots=True)
class Zone:
    """One list: its DNS name and what its answers mean. Negative scores make an allow list of it.

    Of codes the first meaning that fits counts; of bits each. `label` is what it is called where its name, which may hold a
    key, must not be seen. `refusals` are answers by which it refuses to serve, beside 127.255.255.0/24.
    """

    name: str
    meanings: tuple[ReturnCode, ...]
    ipv6: bool = True
    """Whether it lists IPv6 addresses (RFC 5782 §2.4)."""
    kind: ListKind = ListKind.IP
    numeric: bool = False
    """Whether it is asked about the addresses in links too, reversed."""
    refusals: tuple[str, ...] = ()
    label: str = ""

    @property
    def title(self) -> str:
        """What it is called in evidence, log and metrics."""
        return self.label or self.name


class ListUnavailableError(Exception):
    """A list gave no answer; the text says why."""


@dataclass(slots=True)
class _Health:
    failures: int = 0
    pause: float = FIRST_PAUSE
    until: float = 0.0
    sane_until: float = 0.0


class ListLookups:
    """Look-ups in lists, and how each list has been doing. One a worker, shared by all checks that ask lists.

    `timeout` is in seconds for one look-up. `on_result` hears how each ended, by the list's title; `on_refusal` of each list
    that refuses to answer, once a pause.
    """

    def __init__(
        self,
        *,
        timeout: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
        on_result: Callable[[str, LookupResult], None] = lambda title, result: None,
        on_refusal: Callable[[str, str], None] = lambda title, answer: None,
    ) -> None:
        self._timeout = timeout
        self._monotonic = monotonic
        self._on_result = on_result
        self._on_refusal = on_refusal
        self._health: dict[str, _Health] = {}

    async def look_up(self, resolver: Resolver, zone: Zone, name: str) -> tuple[str, ...]:
        """What `zone` answers about `name` (`1.2.0.192`, `example.com`); empty: not listed. Raises ListUnavailableError."""
        health = self._health.setdefault(zone.name, _Health())
        now = self._monotonic()
        if now < health.until:
            self._on_result(zone.title, LookupResult.SKIPPED)
            raise ListUnavailableError("not asked for a while, since it failed or refused")
        probing = health.until > 0
        if probing:
            health.until = now + health.pause  # one asks whether it is back; the others go on without it
        try:
            async with asyncio.timeout(self._timeout):
                answer = await resolver.a(f"{name}.{zone.name}")
        except TimeoutError:
            raise self._failed(zone, health, "timeout", probing=probing) from None
        except DnsTemporaryError as error:
            why = str(error) if not zone.label else "no answer"  # an error tells the zone's name, with its key
            raise self._failed(zone, health, why, probing=probing) from None
        if refusal := next((code for code in answer if _refuses(zone, code)), ""):
            raise self._refused(zone, health, refusal)
        listed = _listings(answer)
        if listed and not await self._is_sane(resolver, zone, health):
            raise self._refused(zone, health, "lists all the world")
        health.failures, health.pause, health.until = 0, FIRST_PAUSE, 0.0
        self._on_result(zone.title, LookupResult.LISTED if listed else LookupResult.CLEAR)
        return listed

    async def _is_sane(self, resolver: Resolver, zone: Zone, health: _Health) -> bool:
        """Whether a list that has what was asked about may be believed. Asked for listings alone, once in a while."""
        now = self._monotonic()
        if now < health.sane_until:
            return True
        try:
            async with asyncio.timeout(self._timeout):
                answer = await resolver.a(f"{_NEVER_LISTED[zone.kind]}.{zone.name}")
        except (TimeoutError, DnsTemporaryError):
            return True  # it answered just now, and this proves nothing
        if _listings(answer):
            return False
        health.sane_until = now + SANE_FOR
        return True

    def _failed(self, zone: Zone, health: _Health, why: str, *, probing: bool) -> ListUnavailableError:
        """Questions that were under way when the list was given up do not lengthen its pause."""
        self._on_result(zone.title, LookupResult.FAILED)
        if not health.until:
            health.failures += 1
        if probing or (not health.until and health.failures >= FAILURES):
            health.until = self._monotonic() + health.pause
            health.pause = min(2 * health.pause, LONGEST_PAUSE)
        return ListUnavailableError(why or "no answer")

    def _refused(self, zone: Zone, health: _Health, answer: str) -> ListUnavailableError:
        self._on_result(zone.title, LookupResult.REFUSED)
        if health.until <= self._monotonic() or health.pause < LONGEST_PAUSE:
            self._on_refusal(zone.title, answer)
        health.pause = LONGEST_PAUSE
        health.until = self._monotonic() + LONGEST_PAUSE
        return ListUnavailableError(f"refuses to answer us ({answer})")


def _listings(answer: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code for code in answer if ip_address(code) in _ANSWERS)


def _refuses(zone: Zone, answer: str) -> bool:
    return answer in zone.refusals or ip_address(answer) in _REFUSALS


def meanings_of(zone: Zone, answer: tuple[str, ...]) -> list[tuple[ReturnCode, str]]:
    """What an answer means, each meaning once, with the code that says so."""
    found: dict[str, tuple[ReturnCode, str]] = {}
    for code in answer:
        fitting = [meaning for meaning in zone.meanings if meaning.fits(code)]
        for meaning in fitting if any(one.bits for one in fitting) else fitting[:1]:
            found.setdefault(meaning.symbol, (meaning, code))
    return list(found.values())


def outcome(check: str, symbols: Sequence[Symbol], failures: Mapping[str, str], *, note: str = "") -> CheckResult:
    """A check's result. `failures` are the lists that could not be asked, and why: they make it a visible TEMPERROR."""
    told = tuple(f"{title}: {why}" for title, why in failures.items())
    if told:
        symbols = [*symbols, Symbol(f"{check.upper()}_TEMPERROR", 0.0, "a list could not be asked", told)]
    status = CheckStatus.TEMPERROR if told else CheckStatus.OK
    return CheckResult(check, status, tuple(symbols), detail="; ".join([*told, note] if note else told))


def reversed_address(address: IPv4Address | IPv6Address) -> str:
    """The labels that stand for an address in a list (RFC 5782 §2.1, §2.4): `192.0.2.1` is `1.2.0.192`."""
    return address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
