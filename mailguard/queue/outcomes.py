"""What came of an attempt, recorded under the claims' fences: delivered, given up, or to be tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailguard.core.clock import MINUTE, SECOND
from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError, NotFoundError, UnavailableError
from mailguard.core.events import EventKind, MailEvent, State
from mailguard.delivery.backoff import Backoff
from mailguard.delivery.outcome import Outcome, OutcomeKind
from mailguard.ops.metrics import AttemptPurpose, AttemptResult, ErrorKind
from mailguard.queue.bounce import Bouncer, Failure
from mailguard.queue.group import DSN, FORWARD, RELEASE, REPORT, Group, LaneKey
from mailguard.queue.notices import Delivery, Notices
from mailguard.queue.reports import Subject
from mailguard.queue.services import Services
from mailguard.store.claims import Claim
from mailguard.store.journal import Journal
from mailguard.store.ledger import Move

PROBE_MARGIN = 2 * MINUTE
"""Milliseconds after the next probe of a dead next hop at which its other mail is due, should the probe not have run."""
DOWN_LIMIT = 10_000
"""Domains with a dead next hop that are remembered; strangers can name any number of them (MX)."""
BUSY_WAIT = 5 * SECOND
"""Milliseconds after which mail for a next hop that was busy with others of ours is due again."""


@dataclass(frozen=True, slots=True)
class Late:
    """An outcome that is still to come, for a claim that must be kept until then."""

    claim: Claim
    final: asyncio.Future[Outcome]


class Outcomes:
    """Records outcomes. What was delivered counts as delivered, whatever fails on our side: by the journal, if need be."""

    def __init__(self, services: Services, *, bouncer: Bouncer, notices: Notices, backoff: Backoff) -> None:
        self._services = services
        self._notices = notices
        self._bouncer = bouncer
        self._backoff = backoff
        self._down_until: dict[LaneKey, int] = {}

    async def settle(self, group: Group, outcomes: Sequence[Outcome]) -> list[Late]:
        """Record an outcome per claim; those that are still to come are returned. Raises UnavailableError: nothing was recorded, or not all."""
        late, delivered, failures, waiting = [], [], [], []
        now = self._services.clock()
        soft = self._services.directory().tenants.get(group.first.tenant)
        for claim, outcome in zip(group.claims, outcomes, strict=True):
            self._count(claim, outcome)
            if outcome.final is not None:
                late.append(Late(claim, outcome.final))
            elif outcome.kind is OutcomeKind.DELIVERED:
                delivered.append((claim, outcome))
            elif outcome.kind is OutcomeKind.PERMANENT and not (soft and soft.soft_bounce and not outcome.local):
                failures.append(Failure(claim, outcome, outcome.reason))
            elif claim.expires_at <= now:
                failures.append(Failure(claim, outcome, Reason.QUEUE_EXPIRED))
            else:
                waiting.append((claim, outcome))
        if delivered:
            await self._record_delivered(delivered, now)
        if failures:
            await self._give_up(failures, now)
        if waiting:
            await self._wait(group, waiting, now)
        return late

    def down_domains(self, tenant: int) -> list[str]:
        """Domains of which a tenant's mail was postponed with its next hop's last failure."""
        return [domain for owner, domain in self._down_until if owner == tenant]

    def is_back(self, tenant: int, domain: str) -> None:
        """The next hop of a tenant's domain answers again."""
        self._down_until.pop((tenant, domain), None)

    async def _record_delivered(self, delivered: Sequence[tuple[Claim, Outcome]], now: int) -> None:
        """From here on it counts as delivered, whatever fails on our side: by the journal, if need be."""
        pairs = [
            (
                Move(
                    claim.unit,
                    State.RELEASED if claim.purpose == RELEASE else State.DELIVERED,
                    Reason.NEXT_HOP_ACCEPTED,
                    detail=_delivered(claim, outcome, now),
                    dequeue=True,
                    fence=claim.fence,
                ),
                _attempt(claim, outcome, now),
            )
            for claim, outcome in delivered
        ]
        try:
            await self._move_surely(pairs)
        except (ConflictError, NotFoundError):  # one of them: each for itself, then
            for pair in pairs:
                try:
                    await self._move_surely([pair])
                except (ConflictError, NotFoundError) as error:  # the lease ran out and somebody else has it
                    self._services.metrics.failed(ErrorKind.QUEUE)
                    self._services.log.unforeseen("queue", message=pair[0].unit, error=error)
        for claim, outcome in delivered:
            self._tell_delivered(claim, outcome, now)
        self._notices.relayed(
            Subject.of(delivered[0][0]),
            [
                Delivery(claim.unit, claim.recipient, claim.rcpt_options, outcome)
                for claim, outcome in delivered
                if claim.purpose == FORWARD  # of what an admin releases its sender hears nothing
            ],
        )

    async def _move_surely(self, pairs: Sequence[tuple[Move, MailEvent]]) -> None:
        """Into the ledger, or else the journal; when both are away, again and again until one is back."""
        moves = [move for move, _ in pairs]
        pause = 1.0
        while True:
            try:
                await self._services.ledger.move(moves, events=[event for _, event in pairs])
                return
            except UnavailableError as error:
                self._services.metrics.failed(ErrorKind.DATABASE)
                if self._services.journal is not None and await self._journalised(self._services.journal, moves, error):
                    return
            await asyncio.sleep(pause)
            pause = min(30.0, 2 * pause)

    async def _journalised(self, journal: Journal, moves: Sequence[Move], why: UnavailableError) -> bool:
        try:
            await asyncio.to_thread(journal.append, moves)
        except UnavailableError as error:
            self._services.metrics.failed(ErrorKind.JOURNAL)
            self._services.log.unforeseen("queue", message=moves[0].unit, error=error)
            return False
        self._services.log.journalled([move.unit for move in moves], error=str(why))
        self._services.metrics.journal_writes.inc(len(moves))
        return True

    async def _give_up(self, failures: Sequence[Failure], now: int) -> None:
        events = [
            _attempt(one.claim, one.outcome, now) for one in failures if one.outcome and not one.outcome.postponed
        ]
        purpose = failures[0].claim.purpose
        if purpose in (RELEASE, DSN, REPORT):
            # A failed release goes back to where an admin sees it. A DSN is the end: no bounce of a bounce; and nobody
            # but the provider is to hear that a report of ours did not arrive.
            state = State.QUARANTINED if purpose == RELEASE else State.UNDELIVERABLE
            moves = [
                Move(
                    one.claim.unit,
                    state,
                    one.reason,
                    detail=one.outcome.facts() if one.outcome else {},
                    dequeue=True,
                    fence=one.claim.fence,
                )
                for one in failures
            ]
            await self._services.ledger.move(moves, events=events)
            for one in failures:
                tell = (
                    self._services.log.quarantined if state is State.QUARANTINED else self._services.log.undeliverable
                )
                tell(one.claim.unit, reason=one.reason)
                self._services.metrics.moved(self._services.tenant_name(one.claim.tenant), state, one.claim.size)
            return
        try:
            original = await asyncio.to_thread(self._services.blobs.get, failures[0].claim.message)
        except NotFoundError:
            original = b""
        await self._bouncer.give_up(failures, original, events=events)

    async def _wait(self, group: Group, waiting: Sequence[tuple[Claim, Outcome]], now: int) -> None:
        """To be tried again: the attempt counted, or not when nobody was asked. A dead next hop's other mail waits too."""
        queue, lane = self._services.queue, group.lane
        if waiting[0][1].postponed:
            due_at = now + BUSY_WAIT
            if closed := self._is_closed(group):
                # Not as late as the rest of it: it is due early, so another worker may have found the hop back.
                until_probe = self._until_probe(group)
                due_at += until_probe
                self._note_down(lane, max(due_at, self._down_until.get(lane, 0)), now)
                # All of it at once, rather than claimed and given back row by row, which would keep the database busy. Not
                # beyond the next probe: new mail that finds the hop down must not put that off again and again.
                await queue.postpone_domain(lane[1], until=now + until_probe, tenant=lane[0])
            await asyncio.gather(
                *(queue.give_back((claim,), due_at=max(now, min(due_at, claim.expires_at))) for claim, _ in waiting)
            )
            if closed and lane not in self._down_until:  # it came back just now, while this was not waiting yet
                await queue.hasten_domain(lane[1])
            return
        attempts = 1 + max(claim.attempts for claim, _ in waiting)
        due_at = self._backoff.next_attempt(attempts, now=now)
        if all(outcome.hop_failed for _, outcome in waiting):
            self._note_down(lane, due_at + PROBE_MARGIN, now)
            await queue.postpone_domain(group.first.domain, until=due_at + PROBE_MARGIN)
        else:
            self._down_until.pop(lane, None)
        dues = [max(now, min(due_at, claim.expires_at)) for claim, _ in waiting]
        await asyncio.gather(
            *(
                queue.reschedule((claim,), due_at=due, reply=outcome.text, events=[_attempt(claim, outcome, now)])
                for (claim, outcome), due in zip(waiting, dues, strict=True)
            )
        )
        for (claim, outcome), due in zip(waiting, dues, strict=True):
            self._tell_failed(claim, outcome, due)

    def _note_down(self, lane: LaneKey, until: int, now: int) -> None:
        if len(self._down_until) >= DOWN_LIMIT:
            self._down_until = {key: at for key, at in self._down_until.items() if at > now}
        self._down_until[lane] = until

    def _until_probe(self, group: Group) -> int:
        route = self._services.routes.known(group.first.tenant, group.first.domain)
        if route is None:
            return 0
        seconds = self._services.forwarder.until_probe(group.first.tenant, route.next_hops, route.security)
        return round(seconds * SECOND)

    def _is_closed(self, group: Group) -> bool:
        route = self._services.routes.known(group.first.tenant, group.first.domain)
        return route is None or self._services.forwarder.is_closed(group.first.tenant, route.next_hops, route.security)

    # telling

    def _count(self, claim: Claim, outcome: Outcome) -> None:
        if outcome.postponed:
            return
        self._services.metrics.attempted(
            self._services.tenant_name(claim.tenant),
            AttemptPurpose(claim.purpose),
            AttemptResult(outcome.kind.value),
            outcome.elapsed,
        )

    def _tell_delivered(self, claim: Claim, outcome: Outcome, now: int) -> None:
        released = claim.purpose == RELEASE
        self._services.log.delivered(
            claim.unit,
            next_hop=outcome.next_hop,
            reply=outcome.reply,
            tls=outcome.tls,
            seconds=outcome.elapsed,
            attempts=claim.attempts + 1,
            released=released,
        )
        self._services.metrics.queue_wait.observe(max(0, now - claim.queued_at) / SECOND)
        state = State.RELEASED if released else State.DELIVERED
        self._services.metrics.moved(self._services.tenant_name(claim.tenant), state, claim.size)

    def _tell_failed(self, claim: Claim, outcome: Outcome, due_at: int) -> None:
        self._services.log.attempt_failed(
            claim.unit,
            next_hop=outcome.next_hop,
            stage=outcome.stage.value,
            reply=outcome.reply,
            error=outcome.detail,
            attempts=claim.attempts + 1,
            due_at=due_at,
        )
        if outcome.refuses_us and outcome.reply is not None:
            tenant = self._services.tenant_name(claim.tenant)
            self._services.metrics.next_hop_refusals.labels(tenant).inc()
            self._services.log.next_hop_refuses_us(
                claim.unit,
                tenant=tenant,
                next_hop=outcome.next_hop,
                stage=outcome.stage.value,
                reply=outcome.reply,
            )
        if outcome.unprotected:
            tenant = self._services.tenant_name(claim.tenant)
            self._services.metrics.next_hop_unprotected.labels(tenant).inc()
            self._services.log.next_hop_unprotected(
                claim.unit,
                tenant=tenant,
                next_hop=outcome.next_hop,
                stage=outcome.stage.value,
                error=outcome.text,
            )


def _delivered(claim: Claim, outcome: Outcome, now: int) -> Mapping[str, object]:
    """The facts, with how long we kept the mail, unless its next hop had put it off, or an admin had it released."""
    if claim.purpose != FORWARD or claim.attempts or claim.last_reply:
        return outcome.facts()
    return {**outcome.facts(), "latency_ms": max(0, now - claim.received_at)}


def _attempt(claim: Claim, outcome: Outcome, now: int) -> MailEvent:
    facts = dict(outcome.facts()) | {"attempt": claim.attempts + 1, "purpose": claim.purpose}
    return MailEvent(claim.unit, now, EventKind.ATTEMPT, outcome.reason, detail=facts)
