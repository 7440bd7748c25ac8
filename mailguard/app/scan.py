"""Scanning a message offline: the same judgement as at the door, without a reply, a next hop or a record."""

from __future__ import annotations

from dataclasses import dataclass

from mailguard.core.address import domain_of
from mailguard.core.decision import Decision
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import Findings, Verdict
from mailguard.message.parse import parse
from mailguard.pipeline.judge import Judge


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What would be found and decided for one message and one recipient."""

    findings: Findings
    verdict: Verdict
    decision: Decision


class Scanner:
    """Judges messages as if they came in for a recipient of `tenant`."""

    def __init__(self, judge: Judge, *, tenant: Tenant) -> None:
        self._judge = judge
        self._tenant = tenant

    async def scan(self, raw: bytes, *, client_ip: str, helo: str, mail_from: str, recipient: str) -> ScanReport:
        """Judge `raw` (lines ended by CRLF) as sent by `client_ip`, which said EHLO `helo`. Never raises for its content."""
        session = Session("scan", client_ip, helo=helo, esmtp=True)
        to = Recipient(recipient, self._tenant.id, domain_of(recipient).lower())
        envelope = Envelope(new_message_id(), mail_from, recipients=(to,))
        message = parse(raw)
        findings = await self._judge.find(session, envelope, message)
        (judgement,) = await self._judge.conclude(session, envelope, message, findings)
        return ScanReport(findings, judgement.verdict, judgement.decision)
