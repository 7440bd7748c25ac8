"""The story of a message after its final dot: parse, check, decide, intend, carry out, record, reply.

Read `Pipeline._process` first; docs/flow.md tells it in words. What goes wrong before the point of no return ends in 451 and
nothing is kept; after it, in 250 and a record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mailguard.core.clock import Clock
from mailguard.core.decision import Action, Reason
from mailguard.core.envelope import Envelope, Session
from mailguard.core.errors import MailError, StorageError, UnavailableError
from mailguard.core.events import State
from mailguard.core.ids import unit_id
from mailguard.core.reply import LOCAL_ERROR, Reply
from mailguard.core.tenant import Directory
from mailguard.core.verdict import Findings
from mailguard.message.message import Message
from mailguard.message.stamps import RECEIVED_LIMIT, count_received, own_stamp
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.pipeline.carry_out import CarryOut
from mailguard.pipeline.feedback import Feedback
from mailguard.pipeline.judge import Judge, Judgement
from mailguard.pipeline.reading import read_message
from mailguard.pipeline.units import HeaderBlocks, new_message, new_unit, of_original, original_unit
from mailguard.policy.decide import settle
from mailguard.store.blobs import BlobStore
from mailguard.store.ledger import Ledger, NewUnit
from mailguard.watch.probe_mark import MarkReader

MAIL_LOOP = Reply(554, "5.4.6", "Mail loop: this message has been here before, or too often elsewhere")
"""RFC 5321 §6.3; the enhanced code is X.4.6 of RFC 3463, routing loop detected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """`instance` names this worker process in the ledger.

    In milliseconds: `retention` is how long mail may wait in the queue, of tenants without a time of their own; held mail is
    scanned again after `first_rescan`.
    """

    hostname: str
    authserv_id: str
    instance: str
    retention: int
    first_rescan: int


class Pipeline:
    """Decides what happens to each message and makes it happen. One instance a worker."""

    def __init__(
        self,
        settings: PipelineSettings,
        *,
        judge: Judge,
        carry_out: CarryOut,
        ledger: Ledger,
        blobs: BlobStore,
        directory: Callable[[], Directory],
        log: MailLog,
        metrics: Metrics,
        clock: Clock,
        marks: MarkReader | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        """`marks` recognises mail of `mailguard probe`; without it none is. `feedback` takes what users report."""
        self._settings = settings
        self._headers = HeaderBlocks(settings.hostname, settings.authserv_id)
        self._judge = judge
        self._carry_out = carry_out
        self._ledger = ledger
        self._blobs = blobs
        self._directory = directory
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._marks = marks or MarkReader("")
        self._feedback = feedback

    async def process(self, session: Session, envelope: Envelope, content: bytes) -> Reply:
        """The one reply to the message's data. Never raises: the unforeseen is 451, and a traceback in the log."""
        started = time.perf_counter()
        try:
            reply = await self._process(session, envelope, content, started)
        except MailError as error:
            self._log.unforeseen("pipeline", message=envelope.message_id, error=error)
            reply = error.reply
        except UnavailableError as error:
            self._metrics.failed(ErrorKind.STORAGE if isinstance(error, StorageError) else ErrorKind.DATABASE)
            self._log.unforeseen("pipeline", message=envelope.message_id, error=error)
            reply = LOCAL_ERROR
        except Exception as error:  # noqa: BLE001 - one of the two places: whatever it is, the sender keeps the mail
            self._metrics.failed(ErrorKind.PIPELINE)
            self._log.unforeseen("pipeline", message=envelope.message_id, error=error)
            reply = LOCAL_ERROR
        seconds = time.perf_counter() - started
        self._log.replied(envelope.message_id, reply=reply, seconds=seconds)
        self._metrics.replied(reply.code, seconds)
        return reply

    async def _process(self, session: Session, envelope: Envelope, content: bytes, started: float) -> Reply:
        received_at = self._clock()
        stage = _Stages(self._metrics)
        message = await read_message(content)
        self._received(session, envelope, message)
        stage.ended("parse")
        meant = self._feedback.meant_by(envelope.recipients[0].address) if self._feedback else None
        if self._feedback is not None and meant is not None:
            return await self._feedback.take(session, envelope, message, meant)

        findings = await self._judge.find(session, envelope, message)
        self._found(findings)
        stage.ended("check")

        judgements, reply = await self._decide(session, envelope, message, findings)
        units = [
            self._unit(session, envelope, findings, judgement, received_at, content=content) for judgement in judgements
        ]
        originals = [
            self._original(session, envelope, findings, judgement, received_at=received_at, probe=unit.probe)
            for judgement, unit in zip(judgements, units, strict=True)
            if unit.edits
        ]
        stage.ended("decide")

        blob = bool(originals) or any(unit.state.keeps_body for unit in units)
        if blob:
            await asyncio.to_thread(self._blobs.put, envelope.message_id, [content])
        row = new_message(session, envelope, message, findings, received_at=received_at, blob=blob)
        # Committed while the next hop hears MAIL and RCPT, and awaited before it gets any content.
        intent = asyncio.create_task(self._ledger.begin(row, [*units, *originals]))
        forwarding = [unit for unit in units if unit.state is State.FORWARDING]
        if not forwarding:
            await intent
            self._began(envelope, judgements, units, len(content))
            stage.ended("intend")
            return reply

        first = await self._carry_out.run(
            envelope,
            content,
            findings,
            forwarding,
            intent=intent,
            elsewhere=len(units) - len(forwarding),
            since=started,
        )
        self._began(envelope, judgements, units, len(content))
        stage.ended("carry_out")
        # Of the two 250s the one that names our id: for the sender's log, and for whoever asks us about it.
        return reply if first.positive else first

    async def _decide(
        self, session: Session, envelope: Envelope, message: Message, findings: Findings
    ) -> tuple[list[Judgement], Reply]:
        """The judgements as they will be carried out, and the reply unless a next hop is asked first."""
        judgements = await self._judge.conclude(session, envelope, message, findings)
        hops = count_received(message.raw)
        standing_alone = [self._unless_looping(judgement, message, hops).routed() for judgement in judgements]
        settlement = settle([judgement.decision for judgement in standing_alone], message_id=envelope.message_id)
        settled = [
            judgement.settled(decision)
            for judgement, decision in zip(standing_alone, settlement.decisions, strict=True)
        ]
        return settled, settlement.reply

    def _unless_looping(self, judgement: Judgement, message: Message, hops: int) -> Judgement:
        """The judgement, or a refusal when the mail has been here before (RFC 5321 §6.3). `hops`: its Received fields."""
        if hops > RECEIVED_LIMIT:
            why = f"{hops} Received fields, {RECEIVED_LIMIT} at most"
        elif own_stamp(message.raw, self._settings.hostname, judgement.recipient.address):
            why = f"a Received field of {self._settings.hostname} names this recipient"
        else:
            return judgement
        refusal = replace(
            judgement.decision, action=Action.REJECT, reason=Reason.MAIL_LOOP, explanation=why, reply=MAIL_LOOP
        )
        return judgement.settled(refusal)

    def _unit(
        self,
        session: Session,
        envelope: Envelope,
        findings: Findings,
        judgement: Judgement,
        received_at: int,
        *,
        content: bytes,
    ) -> NewUnit:
        mark = self._marks.read(content, recipient=judgement.recipient.address, now=received_at)
        return new_unit(
            judgement,
            headers_block=self._headers.block(session, envelope, findings, judgement, received_at=received_at),
            received_at=received_at,
            retention=self._directory().lifetime(judgement.recipient.tenant, self._settings.retention),
            first_rescan=self._settings.first_rescan,
            instance=self._settings.instance,
            probe_mark=mark.id if mark else "",
        )

    def _original(
        self,
        session: Session,
        envelope: Envelope,
        findings: Findings,
        judgement: Judgement,
        *,
        received_at: int,
        probe: bool,
    ) -> NewUnit:
        """What keeps the original of a mail that is delivered stripped: durable before the sender hears 250."""
        block = self._headers.block(session, envelope, findings, of_original(judgement), received_at=received_at)
        return original_unit(judgement, headers_block=block, probe=probe)

    def _received(self, session: Session, envelope: Envelope, message: Message) -> None:
        self._metrics.messages_received.inc()
        self._metrics.message_size.observe(len(message.raw))
        self._log.received(
            envelope.message_id,
            session=session,
            mail_from=envelope.mail_from,
            recipients=len(envelope.recipients),
            size=len(message.raw),
            header_message_id=message.message_id,
        )

    def _found(self, findings: Findings) -> None:
        for auth in findings.auth:
            self._metrics.authenticated(auth.method, auth.outcome)
        if findings.malware:
            self._metrics.malware_found.inc()

    def _began(self, envelope: Envelope, judgements: Sequence[Judgement], units: Sequence[NewUnit], size: int) -> None:
        """Tell the log and the metrics what was decided and recorded."""
        tenants = self._directory().tenants
        for judgement, unit in zip(judgements, units, strict=True):
            name = unit_id(envelope.message_id, unit.number)
            tenant = tenants.get(judgement.recipient.tenant)
            tenant_name = tenant.name if tenant else ""
            self._log.decided(
                name,
                decision=judgement.decision,
                tenant=tenant_name,
                recipient=judgement.recipient.address,
                score=judgement.verdict.score,
                symbols=[symbol.name for symbol in judgement.verdict.symbols],
            )
            self._metrics.decided(judgement.decision.action, judgement.decision.reason.value)
            self._metrics.moved(tenant_name, unit.state, size)


class _Stages:
    """Times the stages of one message."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since = time.perf_counter()

    def ended(self, stage: str) -> None:
        """The stage that began when the one before ended."""
        now = time.perf_counter()
        self._metrics.staged(stage, now - self._since)
        self._since = now
