"""From Findings to a tenant's Verdict: points, lists, forbidden attachments. Pure: the same in, the same out."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator

from mailguard.core.envelope import Envelope, Session
from mailguard.core.tenant import ListKind, Tenant
from mailguard.core.verdict import Attachment, CheckResult, CheckStatus, Findings, ListMatch, ScoredSymbol, Verdict
from mailguard.policy import lists
from mailguard.policy.profile import Policy

_INVISIBLE = re.compile(r"[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Controls and direction marks, with which `exe` is made to read otherwise."""


def score(
    findings: Findings,
    *,
    tenant: Tenant,
    policy: Policy,
    envelope: Envelope,
    session: Session,
    now_ms: int,
    seen: tuple[CheckResult, ...] = (),
) -> Verdict:
    """What `findings` mean for `tenant` under `policy`. `now_ms` decides which list entries have expired.

    `seen` are the results of the checks that look with the tenant's eyes.
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
    return Verdict(
        tenant=tenant.id,
        score=_sum(symbol.points for symbol in symbols),
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
        forbidden_attachments=tuple(
            attachment.name or attachment.true_type
            for attachment in findings.attachments
            if is_forbidden(attachment, policy)
        ),
        list_match=_LIST_MATCH[ruling.entry.kind] if ruling else ListMatch.NONE,
        list_entry=ruling.entry.pattern if ruling else "",
        author_vouched=ruling.author_vouched if ruling else False,
        shares=shares,
        results=seen,
    )


_LIST_MATCH = {ListKind.ALLOW: ListMatch.ALLOW, ListKind.DENY: ListMatch.DENY}


def is_forbidden(attachment: Attachment, policy: Policy) -> bool:
    """Whether the profile forbids this file, by the extension of its name or by what its content is."""
    types = {attachment.declared_type.lower(), attachment.true_type.lower()}
    return extension(attachment.name) in policy.forbidden_extensions or not types.isdisjoint(policy.forbidden_types)


def extension(name: str) -> str:
    """The last extension of a file name as the receiving system will see it, in lower case; empty when there is none.

    `dir/invoice.pdf.EXE. ` gives `exe`: a path counts by its last part, and Windows drops dots and spaces at the end.
    """
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name))
    last = re.split(r"[/\\]", plain)[-1].rstrip(". \t")
    _, dot, suffix = last.rpartition(".")
    # `x.exe::$DATA` names the same file as `x.exe` on NTFS.
    return suffix.partition(":")[0].rstrip(". ").lower() if dot else ""


def _points(results: Iterable[CheckResult], policy: Policy) -> tuple[tuple[ScoredSymbol, ...], dict[str, float]]:
    """Each symbol once, with the points of this profile, and the sum of each check. The gravest of a name counts."""
    chosen: dict[str, tuple[str, ScoredSymbol]] = {}
    for result in results:
        for symbol in result.symbols:
            points = policy.points(symbol.name, symbol.score)
            earlier = chosen.get(symbol.name)
            if earlier is None or points > earlier[1].points:
                scored = ScoredSymbol(symbol.name, points, symbol.description, symbol.evidence, result.check)
                chosen[symbol.name] = (result.check, scored)
    shares: dict[str, list[float]] = {}
    for check, scored in chosen.values():
        if scored.points:
            shares.setdefault(check, []).append(scored.points)
    return tuple(scored for _, scored in chosen.values()), {check: _sum(iter(p)) for check, p in shares.items()}


def _sum(points: Iterator[float]) -> float:
    # Rounded: ten symbols of 0.1 must reach a threshold of 1.
    return round(math.fsum(points), 3)
