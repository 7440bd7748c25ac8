"""The block lists of domains: those that the mail links to, and those that it says it is from, looked up in configured zones.

Each name is asked about once, as its organisational domain (Public Suffix List), whatever stands before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from itertools import chain, zip_longest

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
from mailguard.core.address import domain_of
from mailguard.core.verdict import AuthOutcome, CheckResult, CheckStatus, Symbol
from mailguard.net.dns import lookup_name
from mailguard.net.suffixes import organisation_of

EVIDENCE_LIMIT = 8
"""Listed names that a symbol shows."""


class Place(StrEnum):
    """Where in a mail a name stands."""

    FROM = "From"
    MAIL_FROM = "MAIL FROM"
    DKIM = "DKIM"
    REPLY_TO = "Reply-To"
    HELO = "HELO"
    LINK = "link"


@dataclass(slots=True)
class _Listed:
    """What becomes one symbol: a meaning of a list, and the names that have it."""

    score: float
    description: str
    evidence: list[str] = field(default_factory=list)


class UrlblCheck:
    """Reports the symbols of the zones of domains that list what the mail links to; with `_SENDER` behind its name, those
    that list whom it says it is from: From, MAIL FROM, Reply-To, HELO, and d= of signatures that verify. Zones of addresses
    that are asked about links too: with `_LINK`.

    No such zone: SKIPPED. `queries` bounds the look-ups of one mail: senders go first, then links in their order.
    """

    name = "urlbl"
    needs: tuple[str, ...] = ("dkim", "qr", "unpack")

    def __init__(self, zones: Sequence[Zone] = (), lookups: ListLookups | None = None, *, queries: int = 60) -> None:
        self._zones = tuple(zone for zone in zones if zone.kind is ListKind.DOMAIN or zone.numeric)
        self._lookups = lookups or ListLookups()
        self._queries = queries

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. A zone that cannot be asked makes it a TEMPERROR; what the others say is reported all the same."""
        if not self._zones:
            return CheckResult(self.name, CheckStatus.SKIPPED, detail="no zone to ask")
        names = names_of(
            context,
            results.get("dkim"),
            limit=self._queries,
            pictured=_hosts(results, "qr"),
            filed=_hosts(results, "unpack"),
        )
        questions = [(zone, name, place) for name, place in names.items() for zone in self._zones if _takes(zone, name)]
        asked = questions[: self._queries]
        answers = await asyncio.gather(
            *(self._lookups.look_up(context.resolver, zone, _label(name)) for zone, name, _ in asked),
            return_exceptions=True,
        )
        found: dict[str, _Listed] = {}
        failures: dict[str, str] = {}
        for (zone, name, place), answer in zip(asked, answers, strict=True):
            if isinstance(answer, ListUnavailableError):
                failures.setdefault(zone.title, str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                _note(found, zone, answer, name, place)
        symbols = [Symbol(name, one.score, one.description, tuple(one.evidence)) for name, one in found.items()]
        left = len(questions) - len(asked)
        return outcome(self.name, symbols, failures, note=f"{left} questions left out" if left else "")


def names_of(
    context: CheckContext,
    dkim: CheckResult | None,
    *,
    limit: int,
    pictured: Sequence[str] = (),
    filed: Sequence[str] = (),
) -> dict[str, Place]:
    """The names of a mail that may be asked about, each where it stands first: organisational domains, and addresses in links.

    Of its links no more are looked at than make `limit` names; `pictured` are hosts of links in its pictures, `filed` of those in
    its files, which are looked at in turn with its own: many of the ones do not hide the others.
    """
    message = context.message
    found: dict[str, Place] = {}
    for place, host in _senders(context, dkim):
        name = lookup_name(host)
        if name and not name.startswith("[") and (domain := organisation_of(name)):
            found.setdefault(domain, place)
    in_turn = chain.from_iterable(zip_longest(message.link_hosts, filed))
    for host in filter(None, (*pictured, *in_turn)):
        if len(found) >= limit:
            break
        if ":" in host or host.replace(".", "").isdigit():
            if ip_address(host).is_global:
                found.setdefault(host, Place.LINK)
        elif domain := organisation_of(host):
            found.setdefault(domain, Place.LINK)
    return found


def _hosts(results: Mapping[str, CheckResult], check: str) -> tuple[str, ...]:
    result = results.get(check)
    return result.link_hosts if result is not None else ()


def _senders(context: CheckContext, dkim: CheckResult | None) -> Iterator[tuple[Place, str]]:
    message = context.message
    yield from ((Place.FROM, domain_of(address)) for address in message.from_addresses)
    yield Place.MAIL_FROM, domain_of(context.envelope.mail_from)
    for auth in dkim.auth if dkim is not None else ():
        if auth.outcome is AuthOutcome.PASS:  # of the others anybody may be named
            yield Place.DKIM, auth.domain
    yield from ((Place.REPLY_TO, domain_of(box.address)) for box in message.mailboxes("reply-to"))
    if "." in context.session.helo and not context.session.helo.replace(".", "").isdigit():
        yield Place.HELO, context.session.helo


def _takes(zone: Zone, name: str) -> bool:
    """Whether the list is one that `name`, a domain or an address, may be in."""
    if _is_name(name):
        return zone.kind is ListKind.DOMAIN
    return zone.numeric and (zone.ipv6 or ":" not in name)


def _is_name(name: str) -> bool:
    return ":" not in name and not name.replace(".", "").isdigit()


def _label(name: str) -> str:
    return name if _is_name(name) else reversed_address(ip_address(name))


def _note(found: dict[str, _Listed], zone: Zone, answer: tuple[str, ...], name: str, place: Place) -> None:
    for meaning, code in meanings_of(zone, answer):
        if zone.kind is ListKind.IP:
            symbol, what = f"{meaning.symbol}_LINK", "a link leads to a listed address"
        elif place is Place.LINK:
            symbol, what = meaning.symbol, "a link leads to a listed domain"
        else:
            symbol, what = f"{meaning.symbol}_SENDER", "it is from a listed domain"
        description = f"{what} ({meaning.description or zone.title})"
        listed = found.setdefault(symbol, _Listed(meaning.score, description))
        if len(listed.evidence) < EVIDENCE_LIMIT:
            listed.evidence.append(f"{place} {name}: {zone.title}={code}")
