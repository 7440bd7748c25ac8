"""What was decided to be delivered is offered to the next hop while the sender waits; what comes of it is recorded.

The second half of the story in `process`, and the second of the two reply tables (delivery.outcome.merge_outcomes).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from mailguard.core.clock import MINUTE, Clock
from mailguard.core.decision import Reason
from mailguard.core.edits import edited
from mailguard.core.envelope import Envelope
from mailguard.core.errors import MailError, MailGuardError, UnavailableError
from mailguard.core.events import EventKind, MailEvent, State
from mailguard.core.ids import ORIGINAL, received_ms, unit_id
from mailguard.core.reply import LOCAL_ERROR, Reply
from mailguard.core.tenant import Directory
from mailguard.core.verdict import Findings
from mailguard.delivery.forward import Forwarder, Job
from mailguard.delivery.outcome import FirstMove, Outcome, OutcomeKind, RecipientMove, Stage, merge_outcomes
from mailguard.delivery.route import Routes
from mailguard.message.stamps import outgoing
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import AttemptPurpose, AttemptResult, ErrorKind, Metrics
from mailguard.queue.group import FORWARD
from mailguard.queue.notices import Delivery, Notices
from mailguard.queue.reports import Subject
from mailguard.store.blobs import BlobStore
from mailguard.store.journal import Journal
from mailguard.store.ledger import Fences, Ledger, Move, NewUnit, QueueEntry

AWAITED = 11 * MINUTE
"""Milliseconds that a reply which did not come in time is still awaited under our lease: RFC 5321 §4.5.3.2.6 and a bit."""

PAST_RETURN = frozenset({OutcomeKind.DELIVERED, OutcomeKind.UNKNOWN})
"""After these a 451 would double the mail."""

KEEPS = frozenset({FirstMove.SPOOL, FirstMove.AWAIT, FirstMove.FAILED})
"""Moves after which the body is still needed."""

Awaits = Callable[[str, asyncio.Future[Outcome]], None]
"""Takes over a unit, spooled under this worker's lease, whose reply has not come yet."""
DueNow = Callable[[], None]
"""Tells the queue that something in it is due at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryOutSettings:
    """`attempt` is in seconds; `retention` (of tenants without one of their own) and `first_retry` in milliseconds.

    `instance` names this worker process.
    """

    authserv_id: str
    instance: str
    attempt: float
    retention: int
    first_retry: int


class CarryOut:
    """Forwards in session, then records, spools, awaits or gives up: one Reply for all recipients."""

    def __init__(
        self,
        settings: CarryOutSettings,
        *,
        forwarder: Forwarder,
        routes: Routes,
        directory: Callable[[], Directory],
        ledger: Ledger,
        journal: Journal,
        blobs: BlobStore,
        awaits: Awaits,
        due_now: DueNow,
        notices: Notices,
        log: MailLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._forwarder = forwarder
        self._routes = routes
        self._directory = directory
        self._ledger = ledger
        self._journal = journal
        self._blobs = blobs
        self._awaits = awaits
        self._due_now = due_now
        self._notices = notices
        self._log = log
        self._metrics = metrics
        self._clock = clock

    async def run(
        self,
        envelope: Envelope,
        content: bytes,
        findings: Findings,
        units: Sequence[NewUnit],
        *,
        intent: asyncio.Task[Fences],
        elsewhere: int,
        since: float,
    ) -> Reply:
        """Offer `units` to their next hops. `intent` is the commit that must stand before any content is sent.

        `since`: when the message's data ended (time.perf_counter). `elsewhere` counts the recipients that were accepted
        without a next hop. Raises when nothing was delivered and something went wrong on our side: then nothing is kept, and
        the sender is told 451.
        """
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes = await self._attempt(envelope, content, units, intent, since)
            await intent
            originals = {unit.number for unit in units if unit.edits}
            return await self._settle(envelope, content, findings, outcomes, elsewhere=elsewhere, originals=originals)
        except BaseException:
            await asyncio.wait([intent])
            recorded = not intent.cancelled() and intent.exception() is None
            await self._abandon(envelope, units, outcomes, recorded=recorded)
            raise

    async def _attempt(
        self, envelope: Envelope, content: bytes, units: Sequence[NewUnit], intent: asyncio.Task[Fences], since: float
    ) -> list[Outcome]:
        """An outcome per unit: those of one tenant, domain and header block travel together, and no others."""
        groups: dict[tuple[object, ...], list[NewUnit]] = {}
        for unit in units:
            key = (
                unit.recipient.tenant,
                unit.recipient.domain,
                unit.headers,
                unit.decision.subject_tag,
                tuple(unit.edits),
            )
            groups.setdefault(key, []).append(unit)
        if len(groups) == 1:  # as with most mail: a task of its own for it is not needed
            return await self._attempt_group(envelope, content, units, intent, since)
        attempts = [self._attempt_group(envelope, content, group, intent, since) for group in groups.values()]
        # All of them end before anything is settled: one that fails must not hide that another has delivered.
        results = await asyncio.gather(*attempts, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        outcomes = [outcome for result in results if not isinstance(result, BaseException) for outcome in result]
        if not failures:
            return outcomes
        if not any(outcome.kind in PAST_RETURN for outcome in outcomes):
            raise failures[0]
        for group, result in zip(groups.values(), results, strict=True):
            if isinstance(result, BaseException):
                self._metrics.failed(ErrorKind.PIPELINE)
                self._log.unforeseen("carry_out", message=envelope.message_id, error=result)
                outcomes += [_not_tried(unit, "a failure of ours") for unit in group]
        return outcomes

    async def _attempt_group(
        self, envelope: Envelope, content: bytes, units: Sequence[NewUnit], intent: asyncio.Task[Fences], since: float
    ) -> list[Outcome]:
        first = units[0]
        recipients = tuple(unit.recipient for unit in units)
        try:
            route = await self._routes.route(first.recipient.tenant, first.recipient.domain)
        except MailError as error:
            kind = OutcomeKind.TEMPORARY if error.reply.transient else OutcomeKind.PERMANENT
            return [Outcome(one.number, one.tenant, kind, Stage.ROUTE, error.reply, error.reason) for one in recipients]
        if route is None:
            return [_not_tried(unit, "the domain has no next hop any more") for unit in units]
        job = Job(
            tenant=first.recipient.tenant,
            next_hops=route.next_hops,
            mail_from=envelope.mail_from,
            recipients=recipients,
            content=outgoing(
                edited(content, first.edits),
                first.headers.encode("utf-8", "surrogateescape"),
                authserv_id=self._settings.authserv_id,
                subject_tag=first.decision.subject_tag,
            ),
            options=envelope.options,
            security=route.security,
            public_only=route.public_only,
        )

        async def recorded() -> None:
            await asyncio.shield(intent)

        outcomes = await self._forwarder.deliver(job, budget=self._settings.attempt, go_ahead=recorded)
        waited = time.perf_counter() - since
        return [replace(one, waited=waited) if one.kind is OutcomeKind.DELIVERED else one for one in outcomes]

    async def _settle(
        self,
        envelope: Envelope,
        content: bytes,
        findings: Findings,
        outcomes: Sequence[Outcome],
        *,
        elsewhere: int,
        originals: Collection[int],
    ) -> Reply:
        """Record what came of the attempt, the body first where it is still needed, and say what the sender hears.

        `originals`: numbers of the recipients of stripped mail.
        """
        soft_bounce = {tenant.id for tenant in self._directory().tenants.values() if tenant.soft_bounce}
        first = merge_outcomes(outcomes, soft_bounce=soft_bounce, elsewhere=elsewhere)
        # A body that cannot be kept means 451 even when another recipient has the mail already: that one may get it twice,
        # but nobody loses it.
        if any(move.move in KEEPS for move in first.moves):
            await asyncio.to_thread(self._blobs.put, envelope.message_id, [content])
        now = self._clock()
        moves = [self._move(envelope, move, now) for move in first.moves]
        attempts = [
            MailEvent(move.unit, now, EventKind.ATTEMPT, outcome.reason, detail=move.detail)
            for move, outcome in zip(moves, outcomes, strict=True)
        ]
        refused = [one.recipient for one in first.moves if one.move is FirstMove.PASS_THROUGH]
        let_go = [_let_go(envelope, number, Reason.NEXT_HOP_REFUSED) for number in refused if number in originals]
        await self._record([*moves, *let_go], attempts)
        for move, recorded in zip(first.moves, moves, strict=True):
            self._tell(move, recorded, len(content))
            if move.move is FirstMove.AWAIT:
                assert move.outcome.final is not None
                self._awaits(recorded.unit, move.outcome.final)
        if any(move.move is FirstMove.FAILED for move in first.moves):
            self._due_now()
        self._tell_sender(envelope, content, findings, outcomes)
        return first.reply

    def _tell_sender(self, envelope: Envelope, content: bytes, findings: Findings, outcomes: Sequence[Outcome]) -> None:
        """Tell the sender of success where it asked for that and the next hop will not (RFC 3461 §5.2.2)."""
        outcome_of = {outcome.recipient: outcome for outcome in outcomes}
        deliveries = [
            Delivery(unit_id(envelope.message_id, one.number), one.address, one.options, outcome_of[one.number])
            for one in envelope.recipients
            if one.options.notify and one.number in outcome_of
        ]
        if any(delivery.is_to_be_told for delivery in deliveries):
            about = Subject(envelope.message_id, envelope.mail_from, received_ms(envelope.message_id), envelope.options)
            self._notices.relayed(about, deliveries, original=content, auth=findings.auth)

    def _move(self, envelope: Envelope, move: RecipientMove, now: int) -> Move:
        unit, outcome = unit_id(envelope.message_id, move.recipient), move.outcome
        match move.move:
            case FirstMove.DELIVERED:
                return Move(unit, State.DELIVERED, Reason.NEXT_HOP_ACCEPTED, detail=outcome.facts())
            case FirstMove.PASS_THROUGH:
                return Move(unit, State.REJECTED, outcome.reason, detail=outcome.facts())
            case FirstMove.AWAIT:
                entry = self._entry(outcome, now, due_at=now + AWAITED, holder=self._settings.instance)
                return Move(unit, State.SPOOLED, outcome.reason, detail=outcome.facts(), queue=entry)
            case FirstMove.SPOOL:
                entry = self._entry(outcome, now, due_at=now + self._settings.first_retry)
                return Move(unit, State.SPOOLED, outcome.reason, detail=outcome.facts(), queue=entry)
            case FirstMove.FAILED:
                # Asked once more at once by the queue, which then applies the DSN rule: one place for all that gives up.
                entry = self._entry(outcome, now)
                return Move(unit, State.SPOOLED, outcome.reason, detail=outcome.facts(), queue=entry)

    def _entry(self, outcome: Outcome, now: int, *, due_at: int = 0, holder: str = "") -> QueueEntry:
        return QueueEntry(
            FORWARD,
            due_at=due_at or now,
            expires_at=now + self._directory().lifetime(outcome.tenant, self._settings.retention),
            holder=holder,
            lease_until=due_at if holder else 0,
            reply=outcome.text,
        )

    async def _record(self, moves: Sequence[Move], attempts: Sequence[MailEvent]) -> None:
        """Commit the outcomes, or keep them in the journal when the database is away.

        Raises UnavailableError when neither takes them and a mail would be lost by a 250.
        """
        try:
            await self._ledger.move(moves, events=attempts)
        except Exception as error:  # noqa: BLE001 - past the point of no return: even a bug must not turn into a duplicate
            self._metrics.failed(ErrorKind.DATABASE)
            self._log.journalled([move.unit for move in moves], error=f"{type(error).__name__}: {error}")
            try:
                await asyncio.to_thread(self._journal.append, moves)
            except UnavailableError:
                self._metrics.failed(ErrorKind.JOURNAL)
                if any(move.to_state is State.SPOOLED for move in moves):
                    raise
                self._journal.remember(moves)
            else:
                self._metrics.journal_writes.inc(len(moves))

    async def _abandon(
        self, envelope: Envelope, units: Sequence[NewUnit], outcomes: Sequence[Outcome], *, recorded: bool
    ) -> None:
        """The sender is told to come again: say so in the ledger, or at least in the journal; what was delivered, was.

        `recorded`: the intent was committed. If not, it most likely never will be, and the ledger need not be asked.
        """
        delivered = {outcome.recipient: outcome for outcome in outcomes if outcome.kind is OutcomeKind.DELIVERED}
        moves = [
            Move(unit, State.DELIVERED, Reason.NEXT_HOP_ACCEPTED, detail=outcome.facts())
            if (outcome := delivered.get(number))
            else Move(unit, State.DEFERRED, Reason.LOCAL_ERROR)
            for number, unit in ((unit.number, unit_id(envelope.message_id, unit.number)) for unit in units)
        ]
        moves += [
            _let_go(envelope, unit.number, Reason.LOCAL_ERROR)
            for unit in units
            if unit.edits and unit.number not in delivered
        ]
        try:
            if recorded:
                await self._ledger.move(moves)
                return
        except MailGuardError as error:
            self._log.journalled([move.unit for move in moves], error=str(error))
        try:
            await asyncio.to_thread(self._journal.append, moves)
        except UnavailableError:
            self._metrics.failed(ErrorKind.JOURNAL)
            if recorded:  # else there is nothing that waits for its end
                self._journal.remember(moves)

    def _tell(self, move: RecipientMove, recorded: Move, size: int) -> None:
        """Tell the log and the metrics."""
        outcome = move.outcome
        tenant = self._directory().tenants.get(outcome.tenant)
        name = tenant.name if tenant else ""
        self._metrics.moved(name, recorded.to_state, size)
        self._metrics.attempted(name, AttemptPurpose.CUT_THROUGH, AttemptResult(outcome.kind.value), outcome.elapsed)
        if outcome.kind is OutcomeKind.DELIVERED:
            self._log.delivered(
                recorded.unit,
                next_hop=outcome.next_hop,
                reply=outcome.reply,
                tls=outcome.tls,
                seconds=outcome.elapsed,
            )
            return
        self._log.attempt_failed(
            recorded.unit,
            next_hop=outcome.next_hop,
            stage=outcome.stage.value,
            reply=outcome.reply,
            error=outcome.detail,
        )
        if recorded.to_state is State.SPOOLED and recorded.queue is not None:
            self._log.spooled(recorded.unit, reason=recorded.reason, due_at=recorded.queue.due_at)
        else:
            self._log.rejected(recorded.unit, reason=recorded.reason, reply=outcome.reply or LOCAL_ERROR)
        if move.alert and outcome.reply is not None:
            self._metrics.next_hop_refusals.labels(name).inc()
            self._log.next_hop_refuses_us(
                recorded.unit,
                tenant=name,
                next_hop=outcome.next_hop,
                stage=outcome.stage.value,
                reply=outcome.reply,
            )
        if outcome.unprotected:
            self._metrics.next_hop_unprotected.labels(name).inc()
            self._log.next_hop_unprotected(
                recorded.unit,
                tenant=name,
                next_hop=outcome.next_hop,
                stage=outcome.stage.value,
                error=outcome.text,
            )


def _let_go(envelope: Envelope, number: int, reason: Reason) -> Move:
    """The sender hears that nothing is kept: then the original of what was to be delivered stripped is not either."""
    return Move(unit_id(envelope.message_id, ORIGINAL + number), State.DELETED, reason, expected=State.QUARANTINED)


def _not_tried(unit: NewUnit, why: str) -> Outcome:
    recipient = unit.recipient
    return Outcome(recipient.number, recipient.tenant, OutcomeKind.TEMPORARY, Stage.ROUTE, detail=why)
