"""Giving up: the sender is told when he may be told (the DSN rule), else the mail is kept and somebody of ours is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mailguard.core.address import domain_of
from mailguard.core.clock import DAY
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, Recipient, Session
from mailguard.core.errors import UnavailableError
from mailguard.core.events import MailEvent, State
from mailguard.core.ids import new_message_id
from mailguard.core.reply import OK
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.delivery.bounce_rule import may_bounce, wants_failure
from mailguard.delivery.outcome import Outcome
from mailguard.message.dsn import FailedRecipient, FailureReport, failure_dsn
from mailguard.net.dns import lookup_name
from mailguard.queue.group import DSN
from mailguard.queue.services import Services
from mailguard.store.ledger import Move, NewMessage, NewUnit, QueueEntry, begin_in, move_in, note_in
from mailguard.store.queue import Claim


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that is given up: the claim on it, the last outcome (None: it expired unattempted), and why."""

    claim: Claim
    outcome: Outcome | None
    reason: Reason


class Bouncer:
    """Gives units up, in one transaction with the DSN that tells of them."""

    def __init__(self, services: Services, *, hostname: str, from_domain: str, retention: int = 5 * DAY) -> None:
        """`retention` in milliseconds is how long a DSN may wait in the queue itself."""
        self._services = services
        self._hostname = hostname
        self._from_domain = from_domain
        self._retention = retention

    async def give_up(self, failures: Sequence[Failure], original: bytes, *, events: Sequence[MailEvent] = ()) -> None:
        """Give up units of one message under the claims on them: BOUNCED with a DSN in the queue, or UNDELIVERABLE.

        Raises ConflictError when a claim is no longer good, and UnavailableError: nothing was done then.
        """
        message = failures[0].claim
        findings = await self._services.queue.findings(message.message)
        told: list[Failure] = []
        if may_bounce(message.mail_from, findings.auth):
            told = [failure for failure in failures if wants_failure(failure.claim.rcpt_options)]
        kept = [failure for failure in failures if failure not in told]
        dsn = self._dsn(told, original) if told else None
        moves = [_move(one, State.BOUNCED, one.reason, dsn.id if dsn else "") for one in told]
        moves += [_move(one, State.UNDELIVERABLE, Reason.SENDER_UNAUTHENTICATED) for one in kept]

        def work(connection: Connection) -> None:
            note_in(connection, events)
            move_in(connection, moves)
            if dsn:
                begin_in(connection, dsn.message, [dsn.unit])

        if dsn:
            await asyncio.to_thread(self._services.blobs.put, dsn.id, [dsn.content])
        try:
            await self._services.db.write(work)
        except BaseException:
            if dsn:  # nothing refers to it; what is left behind all the same is swept up later
                with contextlib.suppress(UnavailableError):
                    await asyncio.to_thread(self._services.blobs.delete, dsn.id)
            raise
        self._tell(told, kept, dsn)

    def _dsn(self, told: Sequence[Failure], original: bytes) -> _Dsn:
        first, now = told[0].claim, self._services.clock()
        message_id = new_message_id(now)
        content = failure_dsn(
            FailureReport(
                message_id=message_id,
                hostname=self._hostname,
                from_domain=self._from_domain,
                to=first.mail_from,
                at=now,
                received_at=first.received_at,
                original=original,
                recipients=[_failed(failure, now) for failure in told],
                original_id=first.message,
                envid=first.mail_options.envid,
            )
        )
        message = NewMessage(
            id=message_id,
            received_at=now,
            session=Session(message_id, "127.0.0.1", helo=self._hostname),
            mail_from="",
            options=MailOptions(eight_bit=not content.isascii(), smtputf8=not first.mail_from.isascii()),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            header_message_id=f"<{message_id}@{self._hostname}>",
            header_from=f"mailer-daemon@{self._from_domain}",
            subject="Undelivered mail returned to sender",
            blob=True,
        )
        domain = domain_of(first.mail_from)
        unit = NewUnit(
            number=1,
            recipient=Recipient(first.mail_from, SYSTEM_TENANT, lookup_name(domain) or domain.lower()),
            state=State.SPOOLED,
            reason=Reason.DSN_SENT,
            decision=Decision(1, Action.DELIVER, Reason.DSN_SENT, f"tells of {first.message}", "", "", OK),
            queue=QueueEntry(DSN, due_at=now, expires_at=now + self._retention),
            detail={"about": first.message},
        )
        return _Dsn(message_id, content, message, unit)

    def _tell(self, told: Sequence[Failure], kept: Sequence[Failure], dsn: _Dsn | None) -> None:
        if dsn:
            self._services.metrics.dsns.labels("sent").inc()
        for failure in told:
            self._services.log.bounced(failure.claim.unit, reason=failure.reason, dsn=dsn.id if dsn else "")
            self._services.metrics.moved(
                self._services.tenant_name(failure.claim.tenant), State.BOUNCED, failure.claim.size
            )
        for failure in kept:
            self._services.metrics.dsns.labels("suppressed").inc()
            self._services.log.undeliverable(failure.claim.unit, reason=failure.reason)
            self._services.metrics.moved(
                self._services.tenant_name(failure.claim.tenant), State.UNDELIVERABLE, failure.claim.size
            )


@dataclass(frozen=True, slots=True)
class _Dsn:
    id: str
    content: bytes
    message: NewMessage
    unit: NewUnit


def _move(failure: Failure, state: State, reason: Reason, dsn: str = "") -> Move:
    facts: dict[str, object] = dict(failure.outcome.facts()) if failure.outcome else {}
    facts["failure"] = failure.reason.value
    if dsn:
        facts["dsn"] = dsn
    return Move(failure.claim.unit, state, reason, detail=facts, dequeue=True, fence=failure.claim.fence)


def _failed(failure: Failure, now: int) -> FailedRecipient:
    claim, outcome = failure.claim, failure.outcome
    explanation = ""
    if failure.reason is Reason.QUEUE_EXPIRED:
        days = max(1, round((now - claim.received_at) / DAY))
        explanation = f"No server took it in {days} day{'s' if days > 1 else ''}."
    elif failure.reason is Reason.UNSUPPORTED_BY_NEXT_HOP:
        explanation = "The recipient's mail server cannot take this message."
    return FailedRecipient(
        address=claim.recipient,
        reply=outcome.reply if outcome else None,
        explanation=explanation,
        next_hop=outcome.next_hop if outcome and not outcome.local else "",
        orcpt=claim.rcpt_options.orcpt,
        attempted_at=now if outcome and not outcome.postponed else 0,
    )
