"""Held mail is judged again when it is due: the scanner may be back. What is clean goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from mailguard.core.clock import Clock
from mailguard.core.decision import Action
from mailguard.core.envelope import Envelope, Session
from mailguard.core.events import State
from mailguard.core.tenant import Directory
from mailguard.core.verdict import Findings
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.pipeline.judge import Judge, Judgement
from mailguard.pipeline.reading import read_message
from mailguard.pipeline.units import HeaderBlocks, of_original, original_unit
from mailguard.queue.attempt import StillHeld
from mailguard.queue.group import Group
from mailguard.store.blobs import BlobStore
from mailguard.store.claims import Claim
from mailguard.store.db import Database
from mailguard.store.ledger import Arrived, Move, QueueEntry, add_originals_in, move_in
from mailguard.store.rejudge import Rejudged, rejudge_in, session_in

NEXT_STATE = {
    Action.DELIVER: State.SPOOLED,
    Action.TAG: State.SPOOLED,
    Action.STRIP: State.SPOOLED,
    Action.QUARANTINE: State.QUARANTINED,
    # The sender heard 250 long ago: a rejection now would be backscatter.
    Action.REJECT: State.QUARANTINED,
    Action.DISCARD: State.DISCARDED,
}
"""Where a held unit goes by the new decision; hold and defer stay where they are."""


class Rescan:
    """Judges the held units of one message anew: implements queue.attempt.Rescan."""

    def __init__(
        self,
        *,
        judge: Judge,
        db: Database,
        blobs: BlobStore,
        directory: Callable[[], Directory],
        hostname: str,
        authserv_id: str,
        log: MailLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._judge = judge
        self._db = db
        self._blobs = blobs
        self._directory = directory
        self._headers = HeaderBlocks(hostname, authserv_id)
        self._log = log
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, claims: Sequence[Claim]) -> None:
        """Judge and move them, under their fences. Raises StillHeld for those that must be held on."""
        first = claims[0]
        message = await read_message(await asyncio.to_thread(self._blobs.get, first.message))
        session = await self._db.read(lambda connection: session_in(connection, first.message))
        envelope = Envelope(first.message, first.mail_from, first.mail_options, Group(tuple(claims)).recipients)
        findings = await self._judge.find(session, envelope, message)
        concluded = await self._judge.conclude(session, envelope, message, findings, received_at=first.received_at)
        pairs = list(zip(claims, [one.routed() for one in concluded], strict=True))
        ready = [pair for pair in pairs if pair[1].decision.action in NEXT_STATE]
        if ready:
            await self._decided(session, envelope, findings, ready)
        waiting = [pair for pair in pairs if pair not in ready]
        if waiting:
            first_decision = waiting[0][1].decision
            # By a rule until its time is over; else until a scanner is back.
            due_at = first.received_at + first_decision.hold_for if first_decision.hold_for else 0
            raise StillHeld([claim for claim, _ in waiting], first_decision.explanation, due_at=due_at)

    async def _decided(
        self,
        session: Session,
        envelope: Envelope,
        findings: Findings,
        pairs: Sequence[tuple[Claim, Judgement]],
    ) -> None:
        """Move what need not be held any longer, and put what was found and decided in place of what was before."""
        moves = [self._move(claim, judgement) for claim, judgement in pairs]
        rejudged = [
            Rejudged(
                claim.unit,
                judgement.decision,
                judgement.verdict.score,
                judgement.verdict.symbols,
                self._headers.block(session, envelope, findings, judgement, received_at=claim.received_at).decode(
                    "utf-8", "surrogateescape"
                ),
                judgement.verdict.results,
                judgement.edits,
            )
            for claim, judgement in pairs
        ]
        originals = [
            original_unit(
                judgement,
                headers_block=self._headers.block(
                    session, envelope, findings, of_original(judgement), received_at=claim.received_at
                ),
            )
            for claim, judgement in pairs
            if judgement.edits
        ]
        arrived = Arrived(envelope.message_id, pairs[0][0].received_at, pairs[0][0].size)

        def work(connection: Connection) -> None:
            move_in(connection, moves)
            if originals:
                add_originals_in(connection, arrived, originals)
            rejudge_in(connection, envelope.message_id, findings, rejudged)

        await self._db.write(work)
        for (claim, judgement), move in zip(pairs, moves, strict=True):
            self._tell(claim, judgement, move)

    def _move(self, claim: Claim, judgement: Judgement) -> Move:
        state = NEXT_STATE[judgement.decision.action]
        now = self._clock()
        entry = QueueEntry("forward", due_at=now, expires_at=max(now, claim.expires_at))
        return Move(
            claim.unit,
            state,
            judgement.decision.reason,
            detail={"rescanned": True, "explanation": judgement.decision.explanation},
            queue=entry if state is State.SPOOLED else None,
            dequeue=True,
            expected=State.HELD,
            fence=claim.fence,
        )

    def _tell(self, claim: Claim, judgement: Judgement, move: Move) -> None:
        tenant = self._directory().tenants.get(claim.tenant)
        name = tenant.name if tenant else ""
        self._log.decided(
            claim.unit,
            decision=judgement.decision,
            tenant=name,
            recipient=claim.recipient,
            score=judgement.verdict.score,
            symbols=[symbol.name for symbol in judgement.verdict.symbols],
        )
        self._metrics.decided(judgement.decision.action, judgement.decision.reason.value)
        self._metrics.moved(name, move.to_state, claim.size)
