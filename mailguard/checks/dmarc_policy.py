"""DMARC policy records and their discovery by the DNS Tree Walk (RFC 9989 §4.7, §4.10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mailguard.checks.eager import outcomes
from mailguard.core.verdict import DmarcPolicy
from mailguard.net.dns import DnsTemporaryError, Resolver

WALK_LABELS = 8
"""Names with this many labels or more are cut to one less after their own look-up, so that a walk asks 8 times at most."""
RECORD_LIMIT = 8192
"""Octets of a record that are looked at."""
KEPT_RECORD = 1_024
"""Octets of a record that is kept parsed for other mails."""

_VERSION = re.compile(rb"^[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_WEAKER = {DmarcPolicy.REJECT: DmarcPolicy.QUARANTINE, DmarcPolicy.QUARANTINE: DmarcPolicy.NONE}


@dataclass(frozen=True, slots=True)
class Record:
    """A policy record. `p`, `sp`, `np` as written, None when absent; a missing p is none.

    `applies` is False when a policy in it is not valid and it asks for no reports: then DMARC does not apply (§4.10.1).
    """

    p: DmarcPolicy = DmarcPolicy.NONE
    sp: DmarcPolicy | None = None
    np: DmarcPolicy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False
    applies: bool = True


@dataclass(frozen=True, slots=True)
class Discovered:
    """The record that applies to an Author Domain, and where it was found."""

    author: str
    domain: str
    record: Record

    @property
    def inherited(self) -> bool:
        """Whether it is of a domain above."""
        return self.author != self.domain


Walk = Sequence[tuple[str, Record]]
"""The records that a tree walk met, from the longest name to the shortest."""


def parse_record(text: bytes) -> Record | None:
    """The record, or None when it is none: `v=DMARC1` must come first, and as that (§4.7). Never raises.

    Unknown tags, and values that are wrong, are ignored in favour of the defaults; a policy that is wrong makes p=none if
    there is somewhere to report to.
    """
    text = text.strip(b" \t")
    if not _VERSION.match(text) or len(text) > RECORD_LIMIT:
        return None
    tags: dict[str, str] = {}
    for spec in text.decode("ascii", "replace").split(";")[1:]:
        name, _, value = spec.partition("=")
        tags.setdefault(name.strip().lower(), value.strip())
    record = Record(
        strict_dkim=tags.get("adkim", "").lower() == "s",
        strict_spf=tags.get("aspf", "").lower() == "s",
        psd=psd if (psd := tags.get("psd", "u").lower()) in ("y", "n") else "u",
        testing=tags.get("t", "").lower() == "y",
    )
    try:
        p, sp, np = (DmarcPolicy(tags[name].lower()) if name in tags else None for name in ("p", "sp", "np"))
    except ValueError:
        return replace(record, applies=_has_report_address(tags.get("rua", "")))
    return replace(record, p=p or DmarcPolicy.NONE, sp=sp, np=np)


_kept_record = lru_cache(maxsize=1_024)(parse_record)


def _has_report_address(rua: str) -> bool:
    return any(re.match(r"^\s*[a-z][a-z0-9+.-]*:[^\s,]+", uri, re.IGNORECASE) for uri in rua.split(","))


def walk_names(domain: str) -> list[str]:
    """The names that a tree walk from `domain` looks at, in order: 8 at most (§4.10)."""
    labels = domain.split(".")
    start = 1 if len(labels) < WALK_LABELS else len(labels) - WALK_LABELS + 1
    return [domain, *(".".join(labels[i:]) for i in range(start, len(labels)))]


async def find_record(resolver: Resolver, domain: str) -> Record | None:
    """The one record of a domain itself; several count as none (§4.10 step 2). Raises DnsTemporaryError."""
    texts = await resolver.txt(f"_dmarc.{domain}")
    parsed = (_kept_record(text) if len(text) <= KEPT_RECORD else parse_record(text) for text in texts)
    records = [record for record in parsed if record is not None]
    return records[0] if len(records) == 1 else None


async def tree_walk(resolver: Resolver, domain: str) -> Walk:
    """The records on the way up from `domain`, its own first, until one says psd=y or psd=n. Raises DnsTemporaryError.

    All names are asked for at once: the shorter ones are mostly in the cache, and a failure above the end does not matter.
    """
    names = walk_names(domain)
    found = await outcomes(*(find_record(resolver, name) for name in names))
    walk = []
    for name, record in zip(names, found, strict=True):
        if isinstance(record, Exception):
            raise record
        if record is not None:
            walk.append((name, record))
            if record.psd != "u":
                break
    return walk


def organisational_domain(domain: str, walk: Walk) -> str:
    """The Organizational Domain of `domain` by the walk that started there (§4.10.2)."""
    for name, record in walk:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            return ".".join(domain.split(".")[-(name.count(".") + 2) :])
    return walk[-1][0] if walk else domain


def applicable(domain: str, walk: Walk) -> Discovered | None:
    """The record that applies to the Author Domain: its own, else its Organizational Domain's, else its public suffix's
    (§4.10.1). Records in between do not count."""
    records = dict(walk)
    suffix = next((name for name, record in walk if record.psd == "y"), "")
    for name in (domain, organisational_domain(domain, walk), suffix):
        if name in records:
            return Discovered(domain, name, records[name])
    return None


async def policy_for(resolver: Resolver, found: Discovered) -> DmarcPolicy:
    """What the domain owner asks for on failure: p=, or sp= and np= of a domain above, one step weaker under test (t=y)."""
    record = found.record
    policy = record.p
    if found.inherited:
        policy = record.sp or record.p
        if record.np is not None and record.np is not policy and not await exists(resolver, found.author):
            policy = record.np
    return _WEAKER.get(policy, policy) if record.testing else policy


async def exists(resolver: Resolver, domain: str) -> bool:
    """Whether the domain has A, AAAA or MX records (§3.2.13); for as long as that cannot be told, it does."""
    answers = await outcomes(*(resolver.query(domain, rdtype) for rdtype in ("A", "AAAA", "MX")))
    for answer in answers:
        if isinstance(answer, DnsTemporaryError):
            return True
        if isinstance(answer, Exception):
            raise answer
        if answer.records:
            return True
    return False
