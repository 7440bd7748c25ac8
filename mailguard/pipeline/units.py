"""Ledger values built from what the pipeline knows: the message's row, its units, the block of headers. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mailguard.core.decision import Action, Reason
from mailguard.core.envelope import Envelope, Session
from mailguard.core.events import State
from mailguard.core.ids import ORIGINAL
from mailguard.core.verdict import Findings
from mailguard.message import headers
from mailguard.message.message import Message
from mailguard.pipeline.judge import Judgement
from mailguard.queue.group import RESCAN
from mailguard.store.ledger import NewMessage, NewUnit, QueueEntry

FIRST_STATE: Mapping[Action, State] = MappingProxyType(
    {
        Action.DELIVER: State.FORWARDING,
        Action.TAG: State.FORWARDING,
        Action.STRIP: State.FORWARDING,
        Action.QUARANTINE: State.QUARANTINED,
        Action.HOLD: State.HELD,
        Action.DISCARD: State.DISCARDED,
        Action.REJECT: State.REJECTED,
        Action.DEFER: State.DEFERRED,
    }
)
"""Where a unit begins, by what was decided for it."""


def new_message(
    session: Session, envelope: Envelope, message: Message, findings: Findings, *, received_at: int, blob: bool
) -> NewMessage:
    """The message's row."""
    return NewMessage(
        id=envelope.message_id,
        received_at=received_at,
        session=session,
        mail_from=envelope.mail_from,
        options=envelope.options,
        size=len(message.raw),
        sha256=hashlib.sha256(message.raw).hexdigest(),
        header_message_id=message.message_id,
        header_from=findings.from_address,
        subject=message.subject,
        findings=findings,
        blob=blob,
    )


def new_unit(
    judgement: Judgement,
    *,
    headers_block: bytes,
    received_at: int,
    retention: int,
    first_rescan: int,
    instance: str,
    probe_mark: str = "",
) -> NewUnit:
    """One recipient's unit as it begins. `probe_mark`: the id of the mark by which it is a mail of `mailguard probe`.

    In milliseconds: `retention` is how long it may wait in the queue; after `first_rescan` it is scanned again, if held,
    unless a rule for attachments says when.
    """
    decision = judgement.decision
    state = FIRST_STATE[decision.action]
    due_at = received_at + (decision.hold_for or first_rescan)
    expires_at = received_at + decision.hold_for + retention
    return NewUnit(
        number=judgement.recipient.number,
        recipient=judgement.recipient,
        state=state,
        reason=decision.reason,
        decision=decision,
        score=judgement.verdict.score,
        symbols=judgement.verdict.symbols,
        headers=headers_block.decode("utf-8", "surrogateescape"),
        holder=instance if state is State.FORWARDING else "",
        queue=QueueEntry(RESCAN, due_at, expires_at) if state is State.HELD else None,
        detail={"reply": str(decision.reply)} if not decision.action.accepts else {},
        probe=bool(probe_mark),
        probe_mark=probe_mark,
        found=judgement.verdict.results,
        edits=judgement.edits if decision.action is Action.STRIP else (),
    )


def original_unit(judgement: Judgement, *, headers_block: bytes, probe: bool = False) -> NewUnit:
    """The unit that keeps the original of a mail that is delivered stripped, for the same recipient, in quarantine.

    The body is one for all units of a message, so nothing is stored twice; it counts as no mail of its own.
    """
    decision = judgement.decision
    number = ORIGINAL + judgement.recipient.number
    kept = replace(
        decision,
        recipient=number,
        action=Action.QUARANTINE,
        reason=Reason.STRIPPED_ATTACHMENT,
        subject_tag="",
        explanation=f"the original of what was delivered stripped: {decision.explanation}",
    )
    return NewUnit(
        number=number,
        recipient=replace(judgement.recipient, number=number),
        state=State.QUARANTINED,
        reason=Reason.STRIPPED_ATTACHMENT,
        decision=kept,
        score=judgement.verdict.score,
        symbols=judgement.verdict.symbols,
        headers=headers_block.decode("utf-8", "surrogateescape"),
        detail={"stripped": [one.name for one in decision.strip]},
        probe=probe,
        original_of=judgement.recipient.number,
    )


def of_original(judgement: Judgement) -> Judgement:
    """The judgement as the header block of the original tells it."""
    decision = replace(judgement.decision, action=Action.QUARANTINE, reason=Reason.STRIPPED_ATTACHMENT, strip=())
    return judgement.settled(decision)


@dataclass(frozen=True, slots=True)
class HeaderBlocks:
    """What we put on top: Received, Authentication-Results, X-MailGuard-*; `hostname` and `authserv_id` are ours."""

    hostname: str
    authserv_id: str

    def block(
        self, session: Session, envelope: Envelope, findings: Findings, judgement: Judgement, *, received_at: int
    ) -> bytes:
        """The block for one recipient.

        Received names the recipient only when there is one: `for` must not show a blind copy to the others (RFC 5321 §7.2).
        """
        verdict, decision = judgement.verdict, judgement.decision
        alone = len(envelope.recipients) == 1
        block = headers.received(
            session,
            hostname=self.hostname,
            message_id=envelope.message_id,
            at_ms=received_at,
            recipient=judgement.recipient.address if alone else None,
            smtputf8=envelope.options.smtputf8,
        )
        block += headers.authentication_results(self.authserv_id, findings.auth)
        word = f"{decision.action.value}; reason={decision.reason.value}" if judgement.policy.headers else None
        return block + headers.mailguard_headers(
            envelope.message_id,
            verdict=word,
            score=verdict.score,
            symbols=verdict.symbols,
            stripped=[one.name for one in decision.strip],
        )
