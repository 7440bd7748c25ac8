"""From a message to a Decision per recipient: check once, then one Verdict per tenant, then decide. No side effect.

The door, the rescan of held mail and `mailguard scan` all judge here, so that they cannot come to differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mailguard.checks.base import CheckContext
from mailguard.checks.runner import Runner
from mailguard.core.clock import Clock
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.edits import Edit
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import ORIGINAL
from mailguard.core.tenant import Directory, Tenant
from mailguard.core.values import value
from mailguard.core.verdict import Findings, Verdict
from mailguard.message.message import Message
from mailguard.message.strip import CannotStripError, plan
from mailguard.net.dns import Resolver
from mailguard.policy.decide import decide
from mailguard.policy.files import PolicyFiles
from mailguard.policy.profile import Policy
from mailguard.policy.score import score


@value
class Judgement:
    """What was concluded for one recipient, and by which policy."""

    recipient: Recipient
    verdict: Verdict
    policy: Policy
    decision: Decision
    edits: tuple[Edit, ...] = ()
    """What stands in place of what is stripped."""

    def settled(self, decision: Decision) -> Judgement:
        """The same, with the decision as it stands beside those for the other recipients."""
        return self if decision is self.decision else replace(self, decision=decision)

    def routed(self) -> Judgement:
        """The same, or quarantine for the provider's own postmaster when nobody has said where that is."""
        decision = self.decision
        if self.recipient.domain or decision.action not in (Action.DELIVER, Action.TAG, Action.STRIP):
            return self
        why = f"{decision.explanation}; outbound.postmaster is not set"
        return self.settled(replace(decision, action=Action.QUARANTINE, reason=Reason.NO_ROUTE, explanation=why))


def stripped(judgement: Judgement, message: Message, message_id: str) -> Judgement:
    """The judgement with the edits that strip the mail, or quarantine when that cannot be done soundly."""
    decision = judgement.decision
    if decision.action is not Action.STRIP:
        return judgement
    try:
        if decision.recipient >= ORIGINAL:
            raise CannotStripError("the mail has too many recipients")
        edits = plan(message, decision.strip, message_id=message_id, ask=judgement.policy.ask)
    except CannotStripError as error:
        why = f"{decision.explanation}; not stripped: {error}"
        return judgement.settled(replace(decision, action=Action.QUARANTINE, explanation=why, strip=()))
    return replace(judgement, edits=edits)


class Judge:
    """Runs the checks and applies the policies."""

    def __init__(
        self,
        *,
        runner: Runner,
        policies: PolicyFiles,
        directory: Callable[[], Directory],
        resolver: Resolver,
        hostname: str,
        authserv_id: str,
        clock: Clock,
    ) -> None:
        self._runner = runner
        self._policies = policies
        self._directory = directory
        self._resolver = resolver
        self._hostname = hostname
        self._authserv_id = authserv_id
        self._clock = clock

    async def find(self, session: Session, envelope: Envelope, message: Message) -> Findings:
        """What the checks find, whoever the message is for."""
        return await self._runner.run(self._context(session, envelope, message))

    def _context(self, session: Session, envelope: Envelope, message: Message) -> CheckContext:
        return CheckContext(
            session=session,
            envelope=envelope,
            message=message,
            resolver=self._resolver,
            hostname=self._hostname,
            authserv_id=self._authserv_id,
        )

    async def conclude(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        findings: Findings,
        *,
        received_at: int | None = None,
    ) -> tuple[Judgement, ...]:
        """One Judgement per recipient, in the envelope's order, each standing alone: not yet settled with the others.

        `received_at` (ms UTC) is of mail that was held; None: it comes just now.
        """
        directory, now = self._directory(), self._clock()
        context = self._context(session, envelope, message)
        verdicts: dict[int, tuple[Policy, Verdict]] = {}
        judgements = []
        for recipient in envelope.recipients:
            if recipient.tenant not in verdicts:
                # A tenant that was removed while its mail came in is still judged, by the baseline.
                tenant = directory.tenants.get(recipient.tenant) or Tenant(recipient.tenant, "")
                policy = self._policies.get(tenant.profile)
                verdict = score(
                    findings,
                    tenant=tenant,
                    policy=policy,
                    envelope=envelope,
                    session=session,
                    now_ms=now,
                    seen=await self._runner.run_for(tenant, context, findings),
                    waited_ms=0 if received_at is None else max(0, now - received_at),
                )
                verdicts[recipient.tenant] = policy, verdict
            policy, verdict = verdicts[recipient.tenant]
            judgement = Judgement(recipient, verdict, policy, decide(verdict, policy, recipient))
            judgements.append(stripped(judgement, message, envelope.message_id))
        return tuple(judgements)
