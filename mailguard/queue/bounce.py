"""Giving up: the sender is told when he may be told (the DSN rule), else the mail is kept and somebody of ours is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mailguard.core.clock import DAY
from mailguard.core.decision import Reason
from mailguard.core.events import MailEvent, State
from mailguard.delivery.bounce_rule import may_bounce, wants_failure
from mailguard.delivery.outcome import Outcome
from mailguard.message.dsn import ReportedRecipient, Told
from mailguard.queue.reports import Reports, Subject
from mailguard.queue.services import Services
from mailguard.store.claims import Claim
from mailguard.store.ledger import Move, move_in, note_in


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that is given up: the claim on it, the last outcome (None: it expired unattempted), and why."""

    claim: Claim
    outcome: Outcome | None
    reason: Reason


class Bouncer:
    """Gives units up, in one transaction with the DSN that tells of them."""

    def __init__(self, services: Services, reports: Reports) -> None:
        self._services = services
        self._reports = reports

    async def give_up(self, failures: Sequence[Failure], original: bytes, *, events: Sequence[MailEvent] = ()) -> None:
        """Give up units of one message under the claims on them: BOUNCED with a DSN in the queue, or UNDELIVERABLE.

        Raises ConflictError when a claim is no longer good, and UnavailableError: nothing was done then.
        """
        message = failures[0].claim
        findings = await self._services.queue.findings(message.message)
        allowed = may_bounce(message.mail_from, findings.auth)
        told = [failure for failure in failures if allowed and wants_failure(failure.claim.rcpt_options)]
        kept = [failure for failure in failures if failure not in told]
        now = self._services.clock()
        recipients = [_failed(failure, now) for failure in told]
        dsn = self._reports.compose(Told.FAILED, Subject.of(message), recipients, original) if told else None
        # A sender that asked not to hear of failures is not told; the mail is kept all the same (RFC 3461 §4.1).
        reason = Reason.NOTICE_UNWANTED if allowed else Reason.SENDER_UNAUTHENTICATED
        moves = [_move(one, State.BOUNCED, one.reason, dsn.id if dsn else "") for one in told]
        moves += [_move(one, State.UNDELIVERABLE, reason) for one in kept]

        def work(connection: Connection) -> None:
            note_in(connection, events)
            move_in(connection, moves)

        await self._reports.commit(dsn, work)
        self._tell(told, kept, dsn.id if dsn else "")

    def _tell(self, told: Sequence[Failure], kept: Sequence[Failure], dsn: str) -> None:
        if dsn:
            self._services.metrics.dsns.labels("sent").inc()
        for failure in told:
            self._services.log.bounced(failure.claim.unit, reason=failure.reason, dsn=dsn)
            self._services.metrics.moved(
                self._services.tenant_name(failure.claim.tenant), State.BOUNCED, failure.claim.size
            )
        for failure in kept:
            self._services.metrics.dsns.labels("suppressed").inc()
            self._services.log.undeliverable(failure.claim.unit, reason=failure.reason)
            self._services.metrics.moved(
                self._services.tenant_name(failure.claim.tenant), State.UNDELIVERABLE, failure.claim.size
            )


def _move(failure: Failure, state: State, reason: Reason, dsn: str = "") -> Move:
    facts: dict[str, object] = dict(failure.outcome.facts()) if failure.outcome else {}
    facts["failure"] = failure.reason.value
    if dsn:
        facts["dsn"] = dsn
    return Move(failure.claim.unit, state, reason, detail=facts, dequeue=True, fence=failure.claim.fence)


def _failed(failure: Failure, now: int) -> ReportedRecipient:
    claim, outcome = failure.claim, failure.outcome
    explanation = ""
    if failure.reason is Reason.QUEUE_EXPIRED:
        days = max(1, round((now - claim.received_at) / DAY))
        explanation = f"No server took it in {days} day{'s' if days > 1 else ''}."
    elif failure.reason is Reason.UNSUPPORTED_BY_NEXT_HOP:
        explanation = "The recipient's mail server cannot take this message."
    return ReportedRecipient(
        address=claim.recipient,
        reply=outcome.reply if outcome else None,
        explanation=explanation,
        next_hop=outcome.next_hop if outcome and not outcome.local else "",
        orcpt=claim.rcpt_options.orcpt,
        attempted_at=now if outcome and not outcome.postponed else 0,
    )
