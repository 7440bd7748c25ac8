"""Who writes, as one tenant sees it: known or a stranger, in a VIP's name, under a domain that passes for the tenant's own.

docs/checks/history.md tells the symbols. What is known of authors comes by a port; without it only VIPs and own names count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from mailguard.checks.base import CheckContext
from mailguard.checks.history_author import Author, author_of
from mailguard.checks.history_own import Fact, OwnNames, own_facts, own_names
from mailguard.checks.history_vips import Circumstances, vip_facts
from mailguard.checks.identity_auth import Known
from mailguard.core.clock import DAY, Clock, to_datetime
from mailguard.core.correspondent import AUTHENTICATED, UNPROVEN, Acquaintance, Correspondent
from mailguard.core.names import name_key
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import CheckResult, Findings, Symbol

OLD_DAYS = 4
"""Days with mail from which a correspondent is an old one,"""
OLD_AGE = 14 * DAY
"""when they lie so far apart (ms)"""
OLD_MAILS = 5
"""and so many mails came through."""
ALWAYS = 3
"""Mails with proof from which one without is odd, when hardly any came without before."""
NEW_DOMAIN = DAY
"""How long (ms) a domain counts as newly seen."""
WARM_UP = 7 * DAY
"""How long (ms) nothing is said of new domains, since all of them are."""
ASKS = re.compile(
    r"GIFT_?CARD|PAYMENT|BANK|INVOICE|WIRE|PAYROLL|SALARY|TRANSFER|MONEY|URGEN|AVAILAB|FAVOU?R|CRYPTO|BEC_|CEO_"
)
"""Names of symbols of rules by which a mail asks for money or haste."""
ASKS_LIMIT = 5

SYMBOLS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        AUTHENTICATED: (0.0, "the author's domain vouches for the mail"),
        UNPROVEN: (0.0, "nothing proves that the mail is of its author"),
        "KNOWN_CORRESPONDENT": (-0.5, "the author wrote to this tenant before, and is who it says"),
        "OLD_CORRESPONDENT": (-1.5, "the author has written to this tenant for long"),
        "WANTED_CORRESPONDENT": (-1.5, "mail of the author was released from quarantine before"),
        "KNOWN_DOMAIN": (-0.3, "others of the author's domain wrote to this tenant before"),
        "REPORTED_CORRESPONDENT": (2.0, "much of the author's mail to this tenant was reported as spam or worse"),
        "FIRST_CONTACT": (0.2, "the author never wrote to this tenant before"),
        "NEW_DOMAIN_TO_ALL": (1.0, "nobody was written to from the author's domain until today"),
        "KNOWN_NAME_NEW_ADDRESS": (1.5, "the name is that of a correspondent, the address is another"),
        "KNOWN_ADDRESS_UNAUTHENTICATED": (2.0, "the author always proved who it was, and now does not"),
        "KNOWN_DOMAIN_UNAUTHENTICATED": (1.0, "mail of the author's domain was always proven, and this is not"),
        "VIP_IMPERSONATION": (4.5, "the name is that of a VIP, the address is not theirs"),
        "VIP_NAME_SIMILAR": (2.5, "the name is nearly that of a VIP, the address is not theirs"),
        "VIP_FORGED": (4.5, "the address is a VIP's, and nothing proves that the mail is"),
        "VIP_AT_SERVICE": (0.5, "a service sends in a VIP's name"),
        "VIP_FROM_STRANGER": (1.0, "who bears a VIP's name never wrote to this tenant before"),
        "VIP_FROM_FREEMAIL": (1.0, "who bears a VIP's name writes from a freemail address"),
        "VIP_REPLY_ELSEWHERE": (1.0, "answers to who bears a VIP's name go to another address"),
        "VIP_ASKS": (2.0, "who bears a VIP's name asks for money or haste"),
        "OWN_DOMAIN_FORGED": (3.0, "From is of the tenant's own domain, which does not vouch for the mail"),
        "OWN_DOMAIN_LOOKALIKE": (4.0, "a domain passes for one of the tenant's own"),
        "OWN_DOMAIN_SIMILAR": (1.5, "the sender's domain has the name of one of the tenant's own in it"),
        "OWN_BRAND_FOREIGN": (1.5, "the name says it is the tenant's, the domain is foreign"),
        "STRANGER_ASKS_ELSEWHERE": (2.5, "a stranger asks for money or haste, and for answers at another address"),
    }
)
"""Each symbol's points by default, and what it means."""


class Correspondents(Protocol):
    """What tenants know of authors."""

    async def known(self, tenant: int, *, address: str, domain: str, name: str) -> Acquaintance:
        """With regard to one author of one tenant; `name` is a core.names.name_key. Raises UnavailableError."""
        ...


class HistoryCheck:
    """Looks at the author of a mail with one tenant's eyes: implements TenantCheck."""

    name = "history"

    def __init__(self, correspondents: Correspondents | None, *, clock: Clock) -> None:
        self._correspondents = correspondents
        self._clock = clock

    async def run(self, tenant: Tenant, context: CheckContext, findings: Findings) -> CheckResult:
        """What is to be said of the author; nothing when From names none or several."""
        author = author_of(context, findings)
        if author is None:
            return CheckResult(self.name, detail="From does not name one author")
        own = own_names(tenant)
        acquaintance: Acquaintance | None = None
        if self._correspondents is not None:
            acquaintance = await self._correspondents.known(
                tenant.id, address=author.address, domain=author.organisation, name=name_key(author.name)
            )
        facts = _facts(tenant, context, findings, own, author, acquaintance=acquaintance, now=self._clock())
        return CheckResult(self.name, symbols=tuple(_symbol(name, evidence) for name, evidence in facts))


def _symbol(name: str, evidence: tuple[str, ...]) -> Symbol:
    points, description = SYMBOLS[name]
    return Symbol(name, points, description, evidence)


def _facts(
    tenant: Tenant,
    context: CheckContext,
    findings: Findings,
    own: OwnNames,
    author: Author,
    *,
    acquaintance: Acquaintance | None,
    now: int,
) -> Iterator[Fact]:
    evidence = (author.address, author.organisation, *([author.name] if author.name else []))
    if author.proof is not Known.UNKNOWN:
        yield (AUTHENTICATED if author.proven else UNPROVEN), evidence
    ours = own.owns(author.domain)
    stranger = known = trusted = False
    if acquaintance is not None:
        one = acquaintance.author
        stranger = not ours and not (one and one.heard) and (author.shared or not _is_known(acquaintance.domain))
        known = author.proven and _is_known(one)
        trusted = known and one is not None and (one.released > 0 or _is_old(one, now))
        if not ours:
            yield from _standing(author, acquaintance, stranger=stranger, now=now)
    asks = tuple(dict.fromkeys(symbol.name for symbol in findings.symbols if ASKS.search(symbol.name)))[:ASKS_LIMIT]
    if tenant.vips and not trusted:
        yield from vip_facts(tenant.vips, own, author, Circumstances(stranger, asks))
    if own.organisations or own.brands:
        known_domain = (
            author.proven and acquaintance is not None and _is_known(acquaintance.domain) and not author.shared
        )
        yield from own_facts(own, author, context.message, known=known or known_domain)
    elsewhere = author.replies_elsewhere(own.organisations) if stranger and asks else ""
    if elsewhere:
        yield "STRANGER_ASKS_ELSEWHERE", (elsewhere, *asks)


def _standing(author: Author, acquaintance: Acquaintance, *, stranger: bool, now: int) -> Iterator[Fact]:
    """How the tenant stands with an author who is none of its own."""
    one, whole = acquaintance.author, None if author.shared else acquaintance.domain
    if author.proven:
        yield from _proven(author, one, whole, now)
    elif author.proof is Known.FAIL:
        if one is not None and _always_proven(one):
            yield "KNOWN_ADDRESS_UNAUTHENTICATED", (author.address, f"{one.heard} mails with proof before")
        elif whole is not None and _always_proven(whole):
            yield "KNOWN_DOMAIN_UNAUTHENTICATED", (author.organisation, f"{whole.heard} mails with proof before")
    if stranger:
        yield "FIRST_CONTACT", (author.address,)
    if not (author.proven and (_is_known(one) or _is_known(whole))):
        for other in acquaintance.namesakes:
            if other.known and other.heard > 1 and (author.freemail or other.domain != author.organisation):
                yield "KNOWN_NAME_NEW_ADDRESS", (author.name, f"known as {other.address}", author.address)
                break
    since = acquaintance.domain_since
    warm = 0 < acquaintance.remembered_since < now - WARM_UP
    if warm and not author.well_known and not author.freemail and (not since or now - since < NEW_DOMAIN):
        yield "NEW_DOMAIN_TO_ALL", (author.organisation,)


def _proven(author: Author, one: Correspondent | None, whole: Correspondent | None, now: int) -> Iterator[Fact]:
    """What speaks for an author who is who it says, or against it."""
    if one is not None and one.reported and one.complained:
        yield "REPORTED_CORRESPONDENT", (author.address, f"{one.reported} of {one.heard} mails reported")
    elif one is not None and one.known:
        yield "KNOWN_CORRESPONDENT", (author.address, _since(one))
        if _is_old(one, now):
            yield "OLD_CORRESPONDENT", (author.address, _since(one))
        if one.released:
            yield "WANTED_CORRESPONDENT", (author.address, f"{one.released} released")
    elif whole is not None and whole.known:
        yield "KNOWN_DOMAIN", (author.organisation, _since(whole))


def _is_known(one: Correspondent | None) -> bool:
    return one is not None and one.known


def _is_old(one: Correspondent, now: int) -> bool:
    return one.days >= OLD_DAYS and one.heard >= OLD_MAILS and now - one.first_at >= OLD_AGE and not one.reported


def _always_proven(one: Correspondent) -> bool:
    return one.heard >= ALWAYS and one.unproven * 20 <= one.heard


def _since(one: Correspondent) -> str:
    mails, days = f"{one.heard} mail{'' if one.heard == 1 else 's'}", f"{one.days} day{'' if one.days == 1 else 's'}"
    return f"{mails} on {days} since {to_datetime(one.first_at):%Y-%m-%d}"
