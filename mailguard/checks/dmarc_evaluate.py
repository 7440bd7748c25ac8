"""Evaluates DMARC for one Author Domain (RFC 9989 §5.3) from the identifiers that SPF and DKIM authenticated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailguard.checks.dmarc_policy import Discovered, applicable, organisational_domain, policy_for, tree_walk
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, DmarcPolicy
from mailguard.net.dns import DnsTemporaryError, Resolver


@dataclass(frozen=True, slots=True)
class DmarcResult:
    """The result for one Author Domain. `policy` is what its owner asks for when it failed, else None; `record_domain` is
    where the record was found; `aligned` is the identifier that passed."""

    outcome: AuthOutcome
    domain: str
    policy: DmarcPolicy | None = None
    record_domain: str = ""
    aligned: str = ""
    reason: str = ""


async def evaluate(resolver: Resolver, domain: str, identifiers: Sequence[AuthResult]) -> DmarcResult:
    """The result for the Author Domain (A-labels, lower case). `identifiers` are SPF's of MAIL FROM (HELO for the null
    sender) and all of DKIM's. Never raises.

    An identifier that failed temporarily matters only if it would be aligned: else whoever controls any name server that
    does not answer could switch off the policy of the domain in From.
    """
    try:
        walk = await tree_walk(resolver, domain)
    except DnsTemporaryError as error:
        return DmarcResult(AuthOutcome.TEMPERROR, domain, reason=f"no policy can be looked up for now: {error}")
    found = applicable(domain, walk)
    if found is None or not found.record.applies:
        return DmarcResult(AuthOutcome.NONE, domain)
    organisation = organisational_domain(domain, walk)
    unknown = ""
    for wanted in (AuthOutcome.PASS, AuthOutcome.TEMPERROR):
        for identifier in identifiers:
            if identifier.outcome is not wanted or not identifier.domain:
                continue
            aligned = await _is_aligned(resolver, found, organisation, identifier)
            if aligned is None:
                unknown = f"{identifier.domain} cannot be compared for now"
            elif aligned and wanted is AuthOutcome.PASS:
                return DmarcResult(
                    AuthOutcome.PASS,
                    domain,
                    record_domain=found.domain,
                    aligned=f"{identifier.method} {identifier.domain}",
                )
            elif aligned:
                unknown = f"{identifier.method} of {identifier.domain} has no result for now"
    if unknown:
        return DmarcResult(AuthOutcome.TEMPERROR, domain, record_domain=found.domain, reason=unknown)
    policy = await policy_for(resolver, found)
    return DmarcResult(
        AuthOutcome.FAIL, domain, policy, found.domain, reason=f"no aligned identifier; policy of {found.domain}"
    )


async def _is_aligned(resolver: Resolver, found: Discovered, organisation: str, identifier: AuthResult) -> bool | None:
    """Whether the identifier is aligned with the Author Domain (§4.4); None when that cannot be told for now."""
    if identifier.domain == found.author:
        return True
    if found.record.strict_dkim if identifier.method is AuthMethod.DKIM else found.record.strict_spf:
        return False
    if not _related(identifier.domain, organisation):
        return False  # the Organizational Domain of a name is the name or one above it
    try:
        walk = await tree_walk(resolver, identifier.domain)
    except DnsTemporaryError:
        return None
    return organisational_domain(identifier.domain, walk) == organisation


def _related(domain: str, organisation: str) -> bool:
    return domain == organisation or domain.endswith(f".{organisation}")
