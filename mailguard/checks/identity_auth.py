"""Who authentically sent a mail, three-valued: what passed, what failed, and what could not be looked up, which is no failure.

Works alike with what our checks found, and with results that a receiver recorded, which name no domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mailguard.checks.base import CheckContext
from mailguard.checks.identity_data import organisation
from mailguard.core.address import domain_of
from mailguard.core.verdict import AuthOutcome, AuthResult, CheckResult, CheckStatus
from mailguard.net.dns import lookup_name

SIGNATURE_LIMIT = 8
"""Signatures of a mail whose d= is read."""

_D_TAG = re.compile(rb"(?:^|;)\s*d\s*=\s*([^;\s]{1,255})")
_UNDECIDED = frozenset({AuthOutcome.TEMPERROR})


class Known(StrEnum):
    """What is known of a question."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Authentication:
    """Who vouches for a mail. Domains are in look-up form.

    `author`: whether a signature or the envelope's sender is of the From domain's organisation. `signers` are domains
    whose signature verifies; `claimed` those of all signatures, whatever they are worth. `envelope` is the domain
    of MAIL FROM. `sealers` are the domains of an ARC chain that holds.
    """

    author: Known
    dkim: Known
    spf: Known
    author_signed: bool
    signers: tuple[str, ...]
    claimed: tuple[str, ...]
    envelope: str
    sealers: tuple[str, ...]

    @property
    def senders(self) -> tuple[str, ...]:
        """The domains that surely took part in sending it; those that say so when nothing is known."""
        vouched = self.signers if self.dkim is not Known.UNKNOWN else self.claimed
        bounces = (self.envelope,) if self.envelope and self.spf is not Known.FAIL else ()
        return (*vouched, *bounces)


def authentication(context: CheckContext, results: Mapping[str, CheckResult], author: str) -> Authentication:
    """What the results of spf, dkim, dmarc and arc say of a mail whose From domain is `author`."""
    claimed = claimed_domains(context)
    envelope = lookup_name(domain_of(context.envelope.mail_from)) or ""
    spf, _ = _outcome(results.get("spf"), "smtp.mailfrom" if envelope else "")
    dkim, passed = _outcome(results.get("dkim"), "")
    signers = tuple(dict.fromkeys(auth.domain for auth in passed if auth.domain))
    if dkim is Known.PASS and not signers:
        signers = claimed  # recorded results do not say whose signature it was
    own = organisation(author)
    author_signed = dkim is Known.PASS and bool(own) and any(organisation(domain) == own for domain in signers)
    bounced = spf is Known.PASS and bool(own) and organisation(envelope) == own
    dmarc, _ = _outcome(results.get("dmarc"), "")
    if not own:
        known = Known.FAIL if spf is not Known.UNKNOWN or dkim is not Known.UNKNOWN else Known.UNKNOWN
    elif author_signed or bounced or dmarc is Known.PASS or _rescued(results.get("dmarc")):
        known = Known.PASS
    elif _says(results.get("dmarc"), AuthOutcome.FAIL) or (spf is not Known.UNKNOWN and dkim is not Known.UNKNOWN):
        known = Known.FAIL
    else:
        known = Known.UNKNOWN
    _, sealed = _outcome(results.get("arc"), "")
    sealers = tuple(auth.domain for auth in sealed if auth.domain)
    return Authentication(known, dkim, spf, author_signed, signers, claimed, envelope, sealers)


def claimed_domains(context: CheckContext) -> tuple[str, ...]:
    """The d= of all signatures as A-labels, each once."""
    domains: dict[str, None] = {}
    for header in context.message.fields("dkim-signature")[:SIGNATURE_LIMIT]:
        match = _D_TAG.search(header.value)
        domain = lookup_name(match[1].decode("ascii", "replace")) if match else None
        if domain:
            domains[domain] = None
    return tuple(domains)


def _outcome(result: CheckResult | None, identity: str) -> tuple[Known, tuple[AuthResult, ...]]:
    """What a check makes known, and its results that pass. With `identity`, only results of that property count."""
    if result is None or result.status is CheckStatus.SKIPPED:
        return Known.UNKNOWN, ()
    auth: Iterable[AuthResult] = result.auth
    if identity:
        auth = [one for one in auth if not one.properties or any(name == identity for name, _ in one.properties)]
    else:
        auth = tuple(auth)
    passed = tuple(one for one in auth if one.outcome is AuthOutcome.PASS)
    if passed:
        return Known.PASS, passed
    if not auth or any(one.outcome in _UNDECIDED for one in auth):
        return Known.UNKNOWN, ()
    return Known.FAIL, ()


def _rescued(result: CheckResult | None) -> bool:
    """Whether a trusted sealer saw the mail authentic."""
    return result is not None and bool(result.dmarc_override)


def _says(result: CheckResult | None, outcome: AuthOutcome) -> bool:
    return result is not None and any(auth.outcome is outcome for auth in result.auth)
