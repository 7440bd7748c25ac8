"""Short makers of what policy tests need: findings, verdicts, recipients, tenants."""

from __future__ import annotations

from collections.abc import Sequence

from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.tenant import ListEntry, ListKind, Tenant
from mailguard.core.verdict import (
    Attachment,
    AuthMethod,
    AuthOutcome,
    AuthResult,
    CheckResult,
    CheckStatus,
    DmarcPolicy,
    Findings,
    Symbol,
    Verdict,
)
from mailguard.policy.decide import reply_for
from mailguard.policy.profile import Policy
from mailguard.policy.score import score

NOW = 1_800_000_000_000


def passed(method: AuthMethod, domain: str) -> AuthResult:
    return AuthResult(method, AuthOutcome.PASS, domain)


def failed(method: AuthMethod, domain: str) -> AuthResult:
    return AuthResult(method, AuthOutcome.FAIL, domain)


def findings(
    *,
    symbols: Sequence[Symbol] = (),
    auth: Sequence[AuthResult] = (),
    malware: Sequence[str] = (),
    dmarc: DmarcPolicy | None = None,
    failed_checks: Sequence[str] = (),
    attachments: Sequence[str] = (),
    author: str = "",
) -> Findings:
    results = [
        CheckResult("rules", symbols=tuple(symbols)),
        CheckResult("clamav", malware=tuple(malware)),
        CheckResult("dmarc", auth=tuple(auth), dmarc_policy=dmarc),
        *(CheckResult(name, CheckStatus.TEMPERROR) for name in failed_checks),
    ]
    files = tuple(
        Attachment(name, "application/octet-stream", "application/octet-stream", 1, "00") for name in attachments
    )
    return Findings(tuple(results), attachments=files, from_address=author)


def allow(pattern: str, *, expires_at: int = 0) -> ListEntry:
    return ListEntry(ListKind.ALLOW, pattern, expires_at=expires_at)


def deny(pattern: str, *, expires_at: int = 0) -> ListEntry:
    return ListEntry(ListKind.DENY, pattern, expires_at=expires_at)


def verdict_of(
    found: Findings,
    *,
    lists: Sequence[ListEntry] = (),
    policy: Policy | None = None,
    mail_from: str = "",
    client: str = "192.0.2.1",
) -> Verdict:
    return score(
        found,
        tenant=Tenant(2, "demo", lists=tuple(lists)),
        policy=policy or Policy(),
        envelope=Envelope("01", mail_from),
        session=Session("s", client),
        now_ms=NOW,
    )


def to(address: str = "user@client.test", *, number: int = 1) -> Recipient:
    return Recipient(address, 2, address.rpartition("@")[2], number=number)


def decided(action: Action, reason: Reason = Reason.SPAM_SCORE, *, number: int = 1) -> Decision:
    return Decision(number, action, reason, f"because of {reason}", "default", "0" * 64, reply_for(action, reason))
