"""Allow and deny lists: what an entry may say, and which entry rules for a mail. Pure.

Of the entries that match, the tenant's own go before the profile's, an address before a domain before a range, a longer
domain or range before a shorter one; on a tie, deny.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import idna

from mailguard.core.address import domain_of, is_mailbox, local_part_of, normalise
from mailguard.core.envelope import Envelope, Session
from mailguard.core.tenant import ListEntry, ListKind
from mailguard.core.verdict import AuthMethod, AuthOutcome, Findings

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Pattern:
    """A list entry understood: exactly one of an address, a domain (its subdomains too) or a network."""

    address: str = ""
    domain: str = ""
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The entry that rules. `author_vouched`: it names the author in From, authenticated, or the client's address."""

    entry: ListEntry
    author_vouched: bool = False


def parse_pattern(text: str) -> Pattern:
    """What a list entry means: `a@b.example`, `b.example`, `192.0.2.0/24` or an address without mask.

    `@b.example`, `.b.example` and `*.b.example` mean the domain as well; a top-level domain is one too.
    Raises ValueError saying what is allowed.
    """
    text = text.strip()
    try:
        return Pattern(network=ip_network(text.strip("[]"), strict=False))
    except ValueError:
        pass
    local, at, domain = text.rpartition("@")
    if at and local:
        name = _look_up_form(domain)
        if is_mailbox(f"{local}@{name}"):
            return Pattern(address=f"{local.lower()}@{name}")
    else:
        name = _look_up_form(domain.removeprefix("*").removeprefix("."))
        if is_mailbox(f"x@{name}") and not name.replace(".", "").isdigit() and not name.startswith("["):
            return Pattern(domain=name)
    raise ValueError("must be an address (a@b.example), a domain (b.example) or a range (192.0.2.0/24)")


def match(
    *,
    tenant: tuple[ListEntry, ...],
    profile: tuple[ListEntry, ...],
    findings: Findings,
    envelope: Envelope,
    session: Session,
    now_ms: int,
) -> Match | None:
    """The entry that rules for this mail, or None when it is on no list.

    The sender is known by the From field, by MAIL FROM and by the client's address. A deny entry needs no more. An allow
    entry for an address or a domain works only when that identity is authenticated, since anyone can write a name.
    """
    if not tenant and not profile:
        return None
    author, sender = _look_up_address(findings.from_address), _look_up_address(envelope.mail_from)
    client = session.address
    author_proven = bool(author) and _author_authenticated(domain_of(author), findings)
    sender_proven = bool(sender) and _sender_authenticated(domain_of(sender), findings)
    for entries in filter(None, (tenant, profile)):
        index = _index(_Same(entries))
        candidates = [
            *((rank, entry, author_proven, author_proven) for rank, entry in index.of_address(author)),
            *((rank, entry, sender_proven, False) for rank, entry in index.of_address(sender)),
            *((rank, entry, True, True) for rank, entry in index.of_client(client)),
        ]
        live = [
            (rank, entry.kind is ListKind.DENY, entry, vouched)
            for rank, entry, proven, vouched in candidates
            if (proven or entry.kind is ListKind.DENY) and not 0 < entry.expires_at <= now_ms
        ]
        if live:
            _, denied, ruling, _ = max(live, key=lambda candidate: candidate[:2])
            return Match(ruling, author_vouched=not denied and any(v for _, deny, _, v in live if not deny))
    return None


def _author_authenticated(domain: str, findings: Findings) -> bool:
    """DMARC passed for the author's domain, or a DKIM signature or SPF is aligned with it.

    Without DMARC's tree walk only the strict form and signing by a parent are taken as aligned: a parent rules over its
    subdomains, while what stands under a domain may be anybody's.
    """
    return any(
        auth.outcome is AuthOutcome.PASS
        and (
            (auth.method is AuthMethod.DMARC and auth.domain.lower() == domain)
            or (auth.method in {AuthMethod.DKIM, AuthMethod.SPF} and _covers(auth.domain, domain))
        )
        for auth in findings.auth
    )


def _sender_authenticated(domain: str, findings: Findings) -> bool:
    """SPF passed for the domain of MAIL FROM, or a DKIM signature of it is valid."""
    return any(
        auth.outcome is AuthOutcome.PASS
        and auth.method in {AuthMethod.SPF, AuthMethod.DKIM}
        and _covers(auth.domain, domain)
        for auth in findings.auth
    )


def _covers(parent: str, domain: str) -> bool:
    parent = parent.rstrip(".").lower()
    return "." in parent and (domain == parent or domain.endswith(f".{parent}"))


def _look_up_form(domain: str) -> str:
    """Lower case, A-labels, no trailing dot; a domain that IDNA refuses stays as it is."""
    domain = domain.rstrip(".").lower()
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain


def _look_up_address(address: str) -> str:
    if "@" not in address or address.isascii():
        return normalise(address) if "@" in address else ""
    return f"{local_part_of(address).lower()}@{_look_up_form(domain_of(address))}"


Ranked = tuple[tuple[int, int], ListEntry]
"""How specific a match is (kind, then length), and the entry."""


@dataclass(slots=True)
class _Index:
    addresses: dict[str, list[ListEntry]] = field(default_factory=dict)
    domains: dict[str, list[ListEntry]] = field(default_factory=dict)
    networks: dict[tuple[int, int], dict[int, list[ListEntry]]] = field(default_factory=dict)
    """By IP version and prefix length, then by the bits of the prefix: a look-up a length, not one an entry."""

    def of_address(self, address: str) -> Iterator[Ranked]:
        if not address:
            return
        for entry in self.addresses.get(address, ()):
            yield (2, 0), entry
        domain = domain_of(address)
        while domain and self.domains:
            for entry in self.domains.get(domain, ()):
                yield (1, domain.count(".")), entry
            domain = domain.partition(".")[2]

    def of_client(self, client: IPv4Address | IPv6Address) -> Iterator[Ranked]:
        bits = int(client)
        for (version, length), prefixes in self.networks.items():
            if version == client.version:
                for entry in prefixes.get(bits >> (client.max_prefixlen - length), ()):
                    yield (0, length), entry


class _Same:
    """Compares by identity: entries come as one tuple for thousands of mails, and hashing them each time is slow."""

    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[ListEntry]) -> None:
        self.entries = entries

    def __hash__(self) -> int:
        return id(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.entries is self.entries


@lru_cache(maxsize=1024)
def _index(same: _Same) -> _Index:
    """The entries by what they match. One that cannot be understood matches nothing: it is refused where it is entered."""
    index = _Index()
    for entry in same.entries:
        try:
            pattern = parse_pattern(entry.pattern)
        except ValueError:
            continue
        if pattern.network is not None:
            network = pattern.network
            prefixes = index.networks.setdefault((network.version, network.prefixlen), {})
            prefix = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            prefixes.setdefault(prefix, []).append(entry)
        elif pattern.address:
            index.addresses.setdefault(pattern.address, []).append(entry)
        else:
            index.domains.setdefault(pattern.domain, []).append(entry)
    return index
