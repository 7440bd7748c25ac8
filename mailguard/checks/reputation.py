"""How the senders of a mail stand with one tenant: the client's network, and the domains that are authenticated.

Outcomes speak, not opinions: what was delivered and not complained of, what was kept, released, reported. Facts are mild.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from types import MappingProxyType
from typing import Protocol

from mailguard.checks.base import CheckContext
from mailguard.checks.identity_data import organisation, senders
from mailguard.core.clock import DAY, Clock
from mailguard.core.standing import Sender, SenderKind, Standing
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import AuthMethod, AuthOutcome, CheckResult, Findings, Symbol
from mailguard.net.dns import lookup_name

SYMBOLS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "REPUTATION_GOOD": (-1.0, "mail of this authenticated domain was wanted by this client so far"),
        "REPUTATION_BAD": (1.5, "mail of this authenticated domain was mostly spam to this client so far"),
        "REPUTATION_NETWORK_GOOD": (-0.3, "mail from this network was wanted by this client so far"),
        "REPUTATION_NETWORK_BAD": (1.0, "mail from this network was mostly spam to this client so far"),
        "SENDER_SURGE": (0.5, "a sender suddenly sends a hundred times as much as it did"),
    }
)
"""Symbol → default points and what it says."""
DOMAIN_LIMIT = 3
"""Authenticated domains of one mail that count."""
GOOD_MAILS = 20
"""Mails, counted with their decay, of which a good name takes at least,"""
GOOD_AGE = 7 * DAY
"""first seen so long ago (ms): a name is not made in an afternoon."""
GOOD_SHARE = 0.98
BAD_MAILS = 5
BAD_SHARE = 0.6
NETWORK_MAILS = 20
"""Of networks, which many share, more is asked for either name."""
SURGE = 100.0
"""Times the usual number of mails by the hour,"""
SURGE_MAILS = 100
"""and at least so many of late,"""
SURGE_AGE = 3 * DAY
"""of a sender that is known for so long (ms)."""


class Standings(Protocol):
    """What became of the mail of senders."""

    async def standings(self, tenant: int, senders: Sequence[Sender]) -> Mapping[Sender, Standing]:
        """Of those that are known to a tenant. Raises UnavailableError."""
        ...


class ReputationCheck:
    """Reports REPUTATION_* and SENDER_SURGE: implements TenantCheck. Its detail names the senders, by which outcomes are counted."""

    name = "reputation"

    def __init__(self, standings: Standings, *, clock: Clock) -> None:
        self._standings = standings
        self._clock = clock

    async def run(self, tenant: Tenant, context: CheckContext, findings: Findings) -> CheckResult:
        """How the mail's senders stand with the tenant."""
        named = senders_of(context, findings)
        known = await self._standings.standings(tenant.id, named) if named else {}
        now = self._clock()
        symbols: dict[str, Symbol] = {}
        for sender in named:
            standing = known.get(sender)
            if standing is not None:
                for symbol in _facts(sender, standing.at(now), now):
                    symbols.setdefault(symbol.name, symbol)
        if "REPUTATION_BAD" in symbols:  # of several domains one is enough
            symbols.pop("REPUTATION_GOOD", None)
        return CheckResult(self.name, symbols=tuple(symbols.values()), detail="; ".join(map(str, named)))


def senders_of(context: CheckContext, findings: Findings) -> tuple[Sender, ...]:
    """Whom a mail is from: its domains that are authenticated, that of From first, and the network of a public client.

    Not domains that anybody may send from (freemail, mailing services): what their users do says nothing of another.
    """
    known = senders()
    domains: dict[str, None] = {}
    for method in (AuthMethod.DMARC, AuthMethod.DKIM, AuthMethod.SPF):
        for auth in findings.auth:
            if auth.method is not method or auth.outcome is not AuthOutcome.PASS:
                continue
            domain = organisation(lookup_name(auth.domain) or "")
            if "." in domain and domain not in known.freemail and not known.service_of(domain):
                domains[domain] = None
    found = [Sender(SenderKind.DOMAIN, domain) for domain in list(domains)[:DOMAIN_LIMIT]]
    client = context.session.address
    if client.is_global:
        network = ip_network((client, 24 if client.version == 4 else 48), strict=False)
        found.append(Sender(SenderKind.NETWORK, str(network)))
    return tuple(found)


def _facts(sender: Sender, standing: Standing, now: int) -> Iterator[Symbol]:
    infix, least = ("NETWORK_", NETWORK_MAILS) if sender.kind is SenderKind.NETWORK else ("", 0)
    mails, age = standing.mails, now - standing.first_at
    good = standing.good >= max(GOOD_MAILS, least) and age >= GOOD_AGE
    if good and standing.good >= GOOD_SHARE * mails and standing.reported < 0.5:
        yield _symbol(f"REPUTATION_{infix}GOOD", _told(sender, standing))
    elif standing.bad >= max(BAD_MAILS, least) and standing.bad >= BAD_SHARE * mails:
        yield _symbol(f"REPUTATION_{infix}BAD", _told(sender, standing))
    if standing.surge >= SURGE and standing.recent >= SURGE_MAILS and age >= SURGE_AGE:
        yield _symbol("SENDER_SURGE", f"{sender.name}: about {standing.surge:.0f} times its usual number of mails")


def _told(sender: Sender, standing: Standing) -> str:
    """The counts for people. They are decayed, so these are mails of late."""
    reported = f"{_count(standing.reported)} reported" if round(standing.reported) else "none reported"
    released = f", {_count(standing.released)} of them released" if round(standing.released) else ""
    return (
        f"of late {_count(standing.good)} of {_count(standing.mails)} mails from {sender.name} were delivered{released}, "
        f"{_count(standing.kept)} kept as spam and {reported}"
    )


def _count(number: float) -> str:
    return str(round(number))


def _symbol(name: str, evidence: str) -> Symbol:
    points, description = SYMBOLS[name]
    return Symbol(name, points, description, (evidence,))
