"""Tenants as the running relay sees them: an immutable Directory of tenants, domains, routes and list entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from mailguard.core.clock import DAY
from mailguard.core.envelope import NextHop
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity

SYSTEM_TENANT = 1
"""The provider itself, named `system`: bare `postmaster`, and what we send ourselves (DSNs). Made by the first migration."""


class ListKind(StrEnum):
    """The two lists of a tenant."""

    ALLOW = "allow"
    DENY = "deny"


class Verification(StrEnum):
    """How it is known, at RCPT, whether a recipient exists."""

    NONE = "none"
    """It is not asked: every address of the domain is taken."""
    LIST = "list"
    """By the tenant's list of recipients."""
    CALL_AHEAD = "call-ahead"
    """By asking the next hop, whose answers are kept."""
    LDAP = "ldap"
    """By asking the tenant's directory server, whose answers are kept."""


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One allow or deny entry: an address (`a@b.example`), a domain (`b.example`, its subdomains too) or a CIDR range.

    `expires_at` is in milliseconds UTC, 0 for never.
    """

    kind: ListKind
    pattern: str
    author: str = ""
    reason: str = ""
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class LdapLookup:
    """How a tenant's directory server is asked: whether `filter` (RFC 4515, with placeholders) finds anything below `base`.

    `url` is ldap:// or ldaps://; `starttls` makes the first of the two safe. `password` is a reference to a secret.
    `mailbox_attribute` names the mailbox that an address is billed as; empty: each is its own.
    """

    url: str
    base: str
    filter: str
    bind_dn: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = True
    mailbox_attribute: str = ""


@dataclass(frozen=True, slots=True)
class Vip:
    """Somebody in whose name others of the tenant are asked for money. Without `addresses`: any at its own domains is theirs."""

    name: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenant:
    """A client of the provider. `profile` names a file in `policies/`; `soft_bounce`: the next hop's 5xx counts as 4xx.

    `greylist`: senders that are new to it must come again.
    Each character of `separators` parts a mailbox from what the sender adds to it (`joe+news`); empty: none does.
    `queue_days`: how long its mail waits in the queue at most; None: as it is set for all. `keep_days`: after how long what is
    personal in its mail is erased; None: never by itself.
    """

    id: int
    name: str
    profile: str = "default"
    plan: str = ""
    soft_bounce: bool = False
    lists: tuple[ListEntry, ...] = ()
    verification: Verification = Verification.NONE
    separators: str = "+"
    ldap: LdapLookup | None = None
    greylist: bool = False
    queue_days: float | None = None
    keep_days: float | None = None
    domains: tuple[str, ...] = ()
    """Its recipient domains, in look-up form."""
    vips: tuple[Vip, ...] = ()
    brands: tuple[str, ...] = ()
    """Names, and domains in look-up form, that it owns beside `domains`."""
    spam_address: str = ""
    """To which its users forward what should have been kept from them; empty: nowhere. In normal form, as the next."""
    ham_address: str = ""
    """To which they forward what they want."""

    def lifetime(self, default: int) -> int:
        """How long its mail may wait in the queue, in milliseconds; `default` is what is set for all."""
        return default if self.queue_days is None else round(self.queue_days * DAY)


@dataclass(frozen=True, slots=True)
class Domain:
    """A recipient domain: who it belongs to and where its mail goes, the lowest priority first.

    `verification` is None when it is the tenant's. `alias_of` names the domain whose mailboxes an alias has too, next hops
    included; `rewrite`: its recipients are given to the next hop as addresses of that domain.
    """

    name: str
    tenant: int
    next_hops: tuple[NextHop, ...] = ()
    verification: Verification | None = None
    alias_of: str = ""
    rewrite: bool = False
    security: HopSecurity = AS_SET_FOR_ALL
    """What is asked of its next hops: TLS, and our credentials."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One consistent snapshot of all tenants and domains. `version` grows with every change in the database."""

    version: int = 0
    tenants: Mapping[int, Tenant] = field(default_factory=lambda: MappingProxyType({}))
    domains: Mapping[str, Domain] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, tenants: Iterable[Tenant], domains: Iterable[Domain], *, version: int = 0) -> Directory:
        """A snapshot from its parts."""
        return cls(
            version,
            MappingProxyType({tenant.id: tenant for tenant in tenants}),
            MappingProxyType({domain.name: domain for domain in domains}),
        )

    def lifetime(self, tenant: int, default: int) -> int:
        """How long a tenant's mail may wait in the queue, in milliseconds; `default` is what is set for all."""
        found = self.tenants.get(tenant)
        return found.lifetime(default) if found else default

    def domain(self, name: str) -> Domain | None:
        """The domain by its look-up form (lower case, A-labels, no trailing dot); None: not ours, never relay."""
        return self.domains.get(name)

    def mailboxes(self, domain: Domain) -> Domain:
        """The domain that a domain's mailboxes belong to: itself, or what it is an alias of."""
        return self.domains.get(domain.alias_of, domain) if domain.alias_of else domain

    def verification(self, domain: Domain) -> Verification:
        """How the recipients of a domain are verified: an alias as what it is an alias of, else as its tenant says."""
        own = self.mailboxes(domain).verification
        tenant = self.tenants.get(domain.tenant)
        return own if own is not None else tenant.verification if tenant else Verification.NONE
