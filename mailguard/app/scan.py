"""Scanning a message offline: the same judgement as at the door, without a reply, a next hop or a record."""

from __future__ import annotations

from dataclasses import dataclass

from mailguard.checks.recorded_auth import RecordedResults, Recordings
from mailguard.core.address import domain_of
from mailguard.core.decision import Decision
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import Findings, Verdict
from mailguard.message.parse import parse
from mailguard.pipeline.judge import Judge
from mailguard.policy.profile import Policy
from mailguard.smtp.data import normalise

NEEDS_DNS = frozenset({"client", "spf", "dkim", "dmarc", "arc", "dnsbl", "urlbl"})
"""Checks that ask the DNS."""
NEEDS_CLIENT = frozenset({"client", "spf", "dnsbl"})
"""Checks that ask about the client's address."""
RECORDED = ("spf", "dkim", "dmarc")
"""Checks for which recorded results can stand in."""
LOOPBACK = "127.0.0.1"
"""The client when none is known."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What would be found and decided for one message and one recipient."""

    findings: Findings
    verdict: Verdict
    policy: Policy
    decision: Decision


class Scanner:
    """Judges messages as if they came in for a recipient of `tenant`."""

    def __init__(self, judge: Judge, *, tenant: Tenant, recordings: Recordings | None = None) -> None:
        self._judge = judge
        self._tenant = tenant
        self._recordings = recordings or Recordings()

    async def scan(
        self,
        raw: bytes,
        *,
        client_ip: str,
        helo: str,
        mail_from: str,
        recipient: str,
        recorded: RecordedResults | None = None,
    ) -> ScanReport:
        """Judge `raw` (lines ended by CRLF) as sent by `client_ip`, which said EHLO `helo`. Never raises for its content.

        `recorded` is what another receiver found of SPF, DKIM and DMARC; it counts when the scanner was built for it.
        """
        session = Session("scan", client_ip, helo=helo, esmtp=True)
        to = Recipient(recipient, self._tenant.id, domain_of(recipient).lower())
        envelope = Envelope(new_message_id(), mail_from, recipients=(to,))
        message = parse(raw)
        with self._recordings.of(envelope.message_id, recorded):
            findings = await self._judge.find(session, envelope, message)
        (judgement,) = await self._judge.conclude(session, envelope, message, findings)
        return ScanReport(findings, judgement.verdict, judgement.policy, judgement.decision)


def as_sent(raw: bytes) -> bytes:
    """A file's content as SMTP would carry it: lines end in CRLF, and the `From ` line of a mailbox file is gone."""
    if raw.startswith(b"From "):
        raw = raw.partition(b"\n")[2]
    return normalise(raw)


def sender_of(raw: bytes) -> str:
    """The address of the From field, empty when there is none or more than one: the likeliest envelope sender."""
    header = raw.partition(b"\r\n\r\n")[0]
    addresses = parse(header + b"\r\n\r\n").from_addresses
    return addresses[0] if len(addresses) == 1 else ""
