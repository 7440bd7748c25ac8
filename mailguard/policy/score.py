"""From Findings to a tenant's Verdict: points, lists, forbidden attachments. Pure: the same in, the same out."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mailguard.core.envelope import Envelope, Session
from mailguard.core.tenant import ListKind, Tenant
from mailguard.core.verdict import (
    CheckResult,
    CheckStatus,
    Findings,
    Ground,
    ListMatch,
    ScoredSymbol,
    Verdict,
)
from mailguard.policy import lists
from mailguard.policy.file_rules import ruled_files, sender_of
from mailguard.policy.profile import Policy


def score(
    findings: Findings,
    *,
    tenant: Tenant,
    policy: Policy,
    envelope: Envelope,
    session: Session,
    now_ms: int,
    seen: tuple[CheckResult, ...] = (),
    waited_ms: int = 0,
) -> Verdict:
    """What `findings` mean for `tenant` under `policy`. `now_ms` decides which list entries have expired.

    `seen` are the results of the checks that look with the tenant's eyes. `waited_ms`: how long the mail has been here.
    """
    symbols, shares = _points((*findings.results, *seen), policy)
    ruling = lists.match(
        tenant=tenant.lists,
        profile=policy.lists,
        findings=findings,
        envelope=envelope,
        session=session,
        now_ms=now_ms,
    )
    ruled = ruled_files(findings, policy.files, sender_of(findings, envelope, session), waited=waited_ms)
    return Verdict(
        tenant=tenant.id,
        score=_sum([symbol.points for symbol in symbols]),
        symbols=symbols,
        malware=findings.malware,
        dmarc_failed=next(
            (result.dmarc_policy for result in findings.results if result.dmarc_policy is not None), None
        ),
        dmarc_override=next((result.dmarc_override for result in findings.results if result.dmarc_override), ""),
        failed_checks=(
            *findings.failed_checks,
            *(result.check for result in seen if result.status is CheckStatus.TEMPERROR),
        ),
        forbidden_attachments=tuple(file.name for file in ruled if file.ground is Ground.LIST),
        ruled_files=ruled,
        list_match=_LIST_MATCH[ruling.entry.kind] if ruling else ListMatch.NONE,
        list_entry=ruling.entry.pattern if ruling else "",
        author_vouched=ruling.author_vouched if ruling else False,
        shares=shares,
        results=seen,
    )


_LIST_MATCH = {ListKind.ALLOW: ListMatch.ALLOW, ListKind.DENY: ListMatch.DENY}


def _points(results: Iterable[CheckResult], policy: Policy) -> tuple[tuple[ScoredSymbol, ...], dict[str, float]]:
    """Each symbol once, with the points of this profile, and the sum of each check. The gravest of a name counts."""
    chosen: dict[str, ScoredSymbol] = {}
    for result in results:
        for symbol in result.symbols:
            name = symbol.name
            points = policy.points(name, symbol.score)
            earlier = chosen.get(name)
            if earlier is None or points > earlier.points:
                chosen[name] = ScoredSymbol(name, points, symbol.description, symbol.evidence, result.check)
    shares: dict[str, list[float]] = {}
    for scored in chosen.values():
        if scored.points:
            shares.setdefault(scored.check, []).append(scored.points)
    return tuple(chosen.values()), {check: _sum(points) for check, points in shares.items()}


def _sum(points: Iterable[float]) -> float:
    # Rounded: ten symbols of 0.1 must reach a threshold of 1.
    return round(math.fsum(points), 3)
