"""Mail as it was recorded, to be judged once more: how it came in, what was found, and what was decided for each recipient."""

from __future__ import annotations

from dataclasses import dataclass

from mailguard.core.decision import Action, Reason
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.verdict import CheckResult, Findings


@dataclass(frozen=True, slots=True)
class RecordedUnit:
    """One recipient: what was decided when it came in, or by the last new scan. `reason` is that of its first event."""

    id: str
    recipient: Recipient
    action: Action
    reason: Reason
    score: float
    policy: str
    policy_hash: str
    explanation: str
    found: tuple[CheckResult, ...] = ()
    """What the checks found that look with the tenant's eyes."""
    held_over: bool = False
    """Whether it was held and then decided anew: rules that hold mail have had their time."""


@dataclass(frozen=True, slots=True)
class RecordedMail:
    """A message with all its units, of whichever tenant. `received_at` in milliseconds UTC.

    `erased`: what is personal was taken out since, the addresses that lists are matched with among it.
    """

    envelope: Envelope
    session: Session
    received_at: int
    findings: Findings
    units: tuple[RecordedUnit, ...]
    erased: bool = False
