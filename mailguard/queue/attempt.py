"""One group of claims, carried out: routed, offered to its next hop, and what comes of it recorded under the claims' fences."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from mailguard.core.clock import MINUTE
from mailguard.core.decision import Reason
from mailguard.core.errors import MailError, NotFoundError, TemporaryError, UnavailableError
from mailguard.core.events import State
from mailguard.core.reply import LOCAL_ERROR
from mailguard.delivery.backoff import Backoff
from mailguard.delivery.forward import Job
from mailguard.delivery.outcome import Outcome, OutcomeKind, Stage
from mailguard.delivery.route import Route
from mailguard.net.smtp_client import GoAhead
from mailguard.ops.metrics import ErrorKind
from mailguard.queue.group import RESCAN, Compose, Group, number_of
from mailguard.queue.outcomes import Late, Outcomes
from mailguard.queue.services import Services
from mailguard.store.claims import Claim
from mailguard.store.ledger import Move

STORAGE_WAIT = MINUTE
"""Milliseconds after which mail whose body could not be read is due again."""

Rescan = Callable[[Sequence[Claim]], Awaitable[None]]
"""Judges held units of one message anew and moves them, under their fences. Raises TemporaryError: not possible yet; StillHeld:
for some of them."""


class StillHeld(TemporaryError):
    """The new decision about `claims` is to hold them: until `due_at` (ms UTC), or for as long as they wait for a scanner (0)."""

    def __init__(self, claims: Sequence[Claim], reason: str, *, due_at: int) -> None:
        super().__init__(LOCAL_ERROR, reason)
        self.claims = tuple(claims)
        self.due_at = due_at


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSettings:
    """`budget` of one attempt in seconds; after so many `crashes` on a unit it is parked.

    The budget leaves a slow server the 5 minutes for any one of its replies that RFC 5321 §4.5.3.2 asks for.
    """

    budget: float = 330.0
    crashes: int = 3
    rescan_backoff: Backoff = field(default_factory=lambda: Backoff(first=MINUTE, most=10 * MINUTE))


class Attempts:
    """Carries groups out: deliveries, and new scans of held mail by `rescan`."""

    def __init__(
        self,
        services: Services,
        settings: AttemptSettings,
        *,
        outcomes: Outcomes,
        compose: Compose,
        rescan: Rescan | None = None,
    ) -> None:
        self._services = services
        self._settings = settings
        self._outcomes = outcomes
        self._compose = compose
        self._rescan = rescan

    async def run(self, group: Group, *, go_ahead: GoAhead | None = None) -> list[Late]:
        """Attempt a group and record what came of it; returns the claims whose outcome is still to come.

        `go_ahead` is awaited before any content is sent. Raises UnavailableError when the database does not take it.
        """
        poisonous = [claim for claim in group.claims if claim.crashes >= self._settings.crashes]
        if poisonous:
            await self._park(poisonous)
        claims = tuple(claim for claim in group.claims if claim not in poisonous)
        if not claims:
            return []
        group = Group(claims)
        if group.first.purpose == RESCAN:
            await self._scan_again(group)
            return []
        try:
            outcomes = await self._deliver(group, go_ahead)
        except NotFoundError:
            await self._without_body(group)
            return []
        except UnavailableError as error:  # of the blob store; the database raises it when things are recorded
            self._services.metrics.failed(ErrorKind.STORAGE)
            self._services.log.unforeseen("queue", message=group.first.message, error=error)
            await self._services.queue.give_back(claims, due_at=self._services.clock() + STORAGE_WAIT)
            return []
        return await self._outcomes.settle(group, outcomes)

    # asking the next hop

    async def _deliver(self, group: Group, go_ahead: GoAhead | None) -> list[Outcome]:
        first = group.first
        try:
            route = await self._services.routes.route(first.tenant, first.domain)
        except MailError as error:
            kind = OutcomeKind.TEMPORARY if isinstance(error, TemporaryError) else OutcomeKind.PERMANENT
            return self._all(group, kind, reply_of=error)
        if route is None:
            return self._all(group, OutcomeKind.TEMPORARY, detail="the domain has no next hop any more")
        if self._services.forwarder.is_closed(first.tenant, route.next_hops, route.security):
            return self._all(group, OutcomeKind.TEMPORARY, detail="the next hop is down", postponed=True)
        original = await asyncio.to_thread(self._services.blobs.get, first.message)
        return await self._services.forwarder.deliver(
            self._job(group, route, original), budget=self._settings.budget, go_ahead=go_ahead
        )

    def _job(self, group: Group, route: Route, original: bytes) -> Job:
        first = group.first
        return Job(
            tenant=first.tenant,
            next_hops=route.next_hops,
            mail_from=first.mail_from,
            recipients=group.recipients,
            content=self._compose(first, original),
            options=first.mail_options,
            security=route.security,
            public_only=route.public_only,
        )

    def _all(
        self,
        group: Group,
        kind: OutcomeKind,
        *,
        reply_of: MailError | None = None,
        detail: str = "",
        postponed: bool = False,
    ) -> list[Outcome]:
        reply, detail = (reply_of.reply, reply_of.reason) if reply_of else (None, detail)
        return [
            Outcome(number_of(claim.unit), claim.tenant, kind, Stage.ROUTE, reply, detail, postponed=postponed)
            for claim in group.claims
        ]

    # what is not a delivery

    async def _park(self, claims: Sequence[Claim]) -> None:
        """Workers died on it, again and again: nobody touches it until somebody has looked."""
        held = [claim for claim in claims if claim.purpose == RESCAN]
        moves = [
            Move(
                claim.unit,
                # held mail cannot be parked: it has not been scanned, so quarantine is its safe place
                State.QUARANTINED if claim.purpose == RESCAN else State.PARKED,
                Reason.SCANNER_FAILED if claim.purpose == RESCAN else Reason.WORKER_DIED,
                detail={"crashes": claim.crashes},
                dequeue=True,
                fence=claim.fence,
            )
            for claim in claims
        ]
        await self._services.ledger.move(moves)
        for claim in claims:
            state = State.QUARANTINED if claim in held else State.PARKED
            self._services.log.parked(claim.unit, crashes=claim.crashes)
            self._services.metrics.moved(self._services.tenant_name(claim.tenant), state, claim.size)

    async def _without_body(self, group: Group) -> None:
        self._services.metrics.failed(ErrorKind.STORAGE)
        error = NotFoundError(f"the body of {group.first.message} is gone")
        self._services.log.unforeseen("queue", message=group.first.message, error=error)
        await self._park(group.claims)

    async def _scan_again(self, group: Group) -> None:
        now = self._services.clock()
        why, claims, due_at = "nothing scans held mail here", group.claims, 0
        if self._rescan is not None:
            try:
                await self._rescan(group.claims)
                return
            except StillHeld as error:
                why, claims, due_at = error.reason, error.claims, error.due_at
            except TemporaryError as error:
                why = error.reason
        expired = [claim for claim in claims if claim.expires_at <= now]
        if expired:
            moves = [
                Move(
                    claim.unit,
                    State.QUARANTINED,
                    Reason.SCANNER_FAILED,
                    detail={"error": why},
                    dequeue=True,
                    fence=claim.fence,
                )
                for claim in expired
            ]
            await self._services.ledger.move(moves)
            for claim in expired:
                self._services.log.quarantined(claim.unit, reason=Reason.SCANNER_FAILED)
        waiting = [claim for claim in claims if claim not in expired]
        if waiting:
            attempts = 1 + max(claim.attempts for claim in waiting)
            due_at = due_at or self._settings.rescan_backoff.next_attempt(attempts, now=now)
            await self._services.queue.reschedule(waiting, due_at=due_at, reply=why)
