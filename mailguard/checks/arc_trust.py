"""Whom ARC is believed: what trusted sealers found before they passed the mail on, and whether that excuses a DMARC failure.

A mailing list changes what it passes on, so that DKIM fails, and sends it by itself, so that SPF does. Whoever received the
mail before saw it authentic, and said so under its seal (RFC 8617 §5.2, §7.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mailguard.checks.arc_chain import ArcResult
from mailguard.checks.arc_results import claims_of
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult
from mailguard.net.suffixes import aligned


def trusted_from(sealers: Sequence[str], trusted: Iterable[str]) -> int:
    """The lowest instance from which on all sealers are trusted, 0 when the last one is not.

    Not those below one who is not: he may have made up all that he found. A trusted domain stands for those below it too.
    """
    domains = tuple(trusted)
    lowest = 0
    for instance in range(len(sealers), 0, -1):
        sealer = sealers[instance - 1]
        if not any(sealer == domain or sealer.endswith(f".{domain}") for domain in domains):
            break
        lowest = instance
    return lowest


def vouched(result: ArcResult, trusted: Iterable[str]) -> tuple[AuthResult, ...]:
    """What the trusted sealers of a chain that passes found, the earliest first. `reason` says who and where: `i=1 hop.test`."""
    lowest = trusted_from(result.sealers, trusted) if result.outcome is AuthOutcome.PASS else 0
    if not lowest:
        return ()
    return tuple(
        replace(claim, reason=f"i={instance} {result.sealers[instance - 1]}")
        for instance in range(lowest, len(result.sealers) + 1)
        for claim in claims_of(result.results[instance - 1])
    )


def vouching_for(domain: str, claims: Sequence[AuthResult]) -> AuthResult | None:
    """The claim by which the Author Domain was authentic when a trusted sealer got the mail; None: nobody says so.

    `dmarc=pass` for this very domain. A sealer that knows nothing of its DMARC may say that an aligned domain passed SPF
    or DKIM; one that saw DMARC fail may not.
    """
    of_dmarc = [claim for claim in claims if claim.method is AuthMethod.DMARC and claim.domain == domain]
    if of_dmarc:
        return next((claim for claim in of_dmarc if claim.outcome is AuthOutcome.PASS), None)
    identifiers = (claim for claim in claims if claim.method in (AuthMethod.SPF, AuthMethod.DKIM))
    return next(
        (claim for claim in identifiers if claim.outcome is AuthOutcome.PASS and aligned(claim.domain, domain)), None
    )


def override_comment(sealers: Sequence[str], selectors: Sequence[str]) -> str:
    """How reports to domain owners name the reason: `arc=pass as[2].d=hop2.test as[2].s=s1 …` (RFC 8617 §7.2.2)."""
    seals = zip(range(len(sealers), 0, -1), reversed(sealers), reversed(selectors), strict=True)
    return " ".join(["arc=pass", *(f"as[{i}].d={sealer} as[{i}].s={selector}" for i, sealer, selector in seals)])
