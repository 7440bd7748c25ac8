"""A tenant's own domains and brands, and what is made to be taken for them: in From, Reply-To, links and display names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from mailguard.checks.history_author import Author, domain_form
from mailguard.checks.identity_auth import Known
from mailguard.checks.identity_data import organisation
from mailguard.core.lookalike import Lookalike, near, skeleton
from mailguard.core.names import name_words
from mailguard.core.tenant import Tenant
from mailguard.message.message import Message

LINK_LIMIT = 50
"""Domains of links that are compared."""
EVIDENCE_LIMIT = 3
LABEL_LEAST = 4
"""Letters from which the same label below another suffix is no chance."""
BRAND_LEAST = 5
"""Letters from which the label of a domain counts as a name too."""
_CACHED = 1_024

Fact = tuple[str, tuple[str, ...]]
"""A symbol's name and its evidence."""


@dataclass(frozen=True, eq=False)
class OwnNames:
    """`organisations` are the registrable domains; `labels` their first labels; `brands` names as words, folded by looks."""

    organisations: frozenset[str]
    labels: tuple[tuple[str, str], ...]
    brands: tuple[tuple[str, tuple[str, ...]], ...]

    def owns(self, domain: str) -> bool:
        """Whether a domain in look-up form is the tenant's."""
        return organisation(domain) in self.organisations


def own_names(tenant: Tenant) -> OwnNames:
    """What is the tenant's own."""
    return _own_names(tenant.domains, tenant.brands)


@lru_cache(maxsize=_CACHED)
def _own_names(domains: tuple[str, ...], brands: tuple[str, ...]) -> OwnNames:
    names = [brand for brand in brands if "." not in brand or " " in brand]
    organisations = dict.fromkeys(organisation(domain) for domain in (*domains, *brands) if domain not in names)
    labels = tuple((name.partition(".")[0], name) for name in organisations)
    known = {name: name_words(name) for name in names}
    known |= {label: (skeleton(label),) for label, _ in labels if len(label) >= BRAND_LEAST}
    return OwnNames(frozenset(organisations), labels, tuple((name, words) for name, words in known.items() if words))


def own_facts(own: OwnNames, author: Author, message: Message, *, known: bool) -> Iterator[Fact]:
    """What is seen of the tenant's own names. `known`: the author wrote before and was wanted, and is who it says."""
    if own.owns(author.domain):
        if author.proof is Known.FAIL:
            yield "OWN_DOMAIN_FORGED", (author.address,)
        return
    strong: list[str] = []
    weak: list[str] = []
    if not known:
        _compare(own, "From", author.domain, strong, weak)
    for box in author.replies:
        _compare(own, "Reply-To", domain_form(box.address), strong, weak)
    hosts = [host for host in message.link_hosts[: 4 * LINK_LIMIT] if not own.owns(host)]
    for host in hosts[:LINK_LIMIT]:
        # That a link leads to the same name elsewhere, or to one with words added, is too common to count.
        _compare(own, "link", host, strong, [])
    if strong:
        yield "OWN_DOMAIN_LOOKALIKE", tuple(dict.fromkeys(strong))[:EVIDENCE_LIMIT]
    if weak:
        yield "OWN_DOMAIN_SIMILAR", tuple(dict.fromkeys(weak))[:EVIDENCE_LIMIT]
    if author.name and not known and not (author.proven and author.well_known):
        brand = _brand_in(own, author)
        if brand:
            yield "OWN_BRAND_FOREIGN", (author.name, f"{brand} is the recipient's own", author.address)


def _compare(own: OwnNames, where: str, host: str, strong: list[str], weak: list[str]) -> None:
    found = _imitation(own, host) if host else None
    if found is not None:
        how, of, is_strong = found
        (strong if is_strong else weak).append(f"{where}: {host} for {of} ({how})")


@lru_cache(maxsize=16 * _CACHED)
def _imitation(own: OwnNames, host: str) -> tuple[str, str, bool] | None:
    """How a host comes near an own domain, which one, and whether that is no chance; None: it does not."""
    name = organisation(host)
    if name in own.organisations or "." not in name:
        return None
    label, _, suffix = name.partition(".")
    similar: tuple[str, str, bool] | None = None
    for known, domain in own.labels:
        how = near(label, known)
        if how in (Lookalike.HOMOGLYPH, Lookalike.EDIT, Lookalike.HYPHEN):
            return how.value, domain, True
        if label == known and skeleton(suffix) == skeleton(domain.partition(".")[2]):
            return Lookalike.HOMOGLYPH.value, domain, True
        inner = host[: -len(name)]
        if f".{domain}." in f".{inner}" or domain.replace(".", "-") in f"{inner}{label}".split("."):
            return "within the host", domain, True
        if label == known and len(label) >= LABEL_LEAST:
            similar = "another ending", domain, False
        elif how is Lookalike.WORDS:
            similar = similar or (how.value, domain, False)
    return similar


def _brand_in(own: OwnNames, author: Author) -> str:
    """The first brand whose words all stand in the author's display name; empty: none.

    A word that is a brand only as an own domain's label is others' too: who has it in its domain bears its own name.
    """
    words = set(name_words(author.name))
    label = skeleton(author.organisation.partition(".")[0])
    labels = {name for name, _ in own.labels}
    for brand, of_brand in own.brands:
        if words.issuperset(of_brand) and not (brand in labels and skeleton(brand) in label):
            return brand
    return ""
