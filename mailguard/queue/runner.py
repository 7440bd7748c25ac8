"""The queue at work in one worker: claims what is due, delivers it in lanes, keeps its leases, and stops without losing any."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from mailguard.core.clock import MINUTE, SECOND, Clock
from mailguard.core.envelope import NextHop
from mailguard.core.errors import ConflictError, UnavailableError
from mailguard.core.tenant import SYSTEM_TENANT, Directory
from mailguard.delivery.backoff import Backoff
from mailguard.delivery.forward import Forwarder
from mailguard.delivery.outcome import Outcome
from mailguard.delivery.route import OutboundRoutes, Routes
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.queue.attempt import Attempts, AttemptSettings, Rescan
from mailguard.queue.bounce import Bouncer
from mailguard.queue.group import Compose, Group, LaneKey, composer, grouped
from mailguard.queue.keeper import Keeper
from mailguard.queue.lanes import Lanes
from mailguard.queue.notices import Notices
from mailguard.queue.outcomes import Late, Outcomes
from mailguard.queue.reports import Reports
from mailguard.queue.services import Services
from mailguard.store.blobs import BlobStore
from mailguard.store.claims import Claim
from mailguard.store.db import Database
from mailguard.store.journal import Journal
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore

LEASE = 5 * MINUTE
"""Milliseconds of a lease: how long another worker waits before it takes over from a dead one."""
AWAITED_ELSEWHERE = 10 * MINUTE
"""Milliseconds before mail whose reply we could not wait for is tried again: RFC 5321 §4.5.3.2.6."""
CLAIMED_AT_LEAST = 10
"""Rows claimed at a time although fewer can start: claiming one by one costs a transaction each."""
UNKNOWN_ROUTE_WINDOW = 5
RESCAN_WINDOW = 2


class QueueRunner:
    """Runs the queue. `start` and `stop` it; `notify` it when something was enqueued that is due now."""

    def __init__(
        self,
        queue: QueueStore,
        ledger: Ledger,
        *,
        db: Database,
        blobs: BlobStore,
        forwarder: Forwarder,
        outbound: OutboundRoutes,
        directory: Callable[[], Directory],
        holder: str,
        authserv_id: str,
        hostname: str,
        from_domain: str,
        log: MailLog,
        metrics: Metrics,
        clock: Clock,
        journal: Journal | None = None,
        rescan: Rescan | None = None,
        compose: Compose | None = None,
        backoff: Backoff | None = None,
        settings: AttemptSettings | None = None,
        concurrency: int = 20,
        memory: int = 128 << 20,
        lease_ms: int = LEASE,
        poll: float = 2.0,
        drain: float = 30.0,
        grace: float = 10.0,
    ) -> None:
        """`holder` names this worker in claims. `concurrency`: groups under way at a time; `memory`: octets of messages
        under way. In seconds: `poll`, how often the queue is looked at when nobody notifies; `drain`, how long `stop`
        waits for what is under way; `grace`, how long after the database was away every worker leaves the queue alone,
        so that each can first bring in from its journal what it has delivered meanwhile. `compose` replaces the usual
        way of putting headers on top.
        """
        services = Services(
            db=db,
            queue=queue,
            ledger=ledger,
            journal=journal,
            blobs=blobs,
            forwarder=forwarder,
            routes=Routes(directory, outbound),
            directory=directory,
            log=log,
            metrics=metrics,
            clock=clock,
        )
        self._services = services
        self._holder = holder
        self._lease_ms = lease_ms
        self._poll = poll
        self._drain = drain
        self._grace = grace
        self._quiet_until = 0.0
        self._keeper = Keeper(queue, lease_ms=lease_ms, log=log, metrics=metrics)
        self._lanes = Lanes(concurrency=concurrency, memory=memory, window=self._window)
        reports = Reports(db=db, blobs=blobs, clock=clock, hostname=hostname, from_domain=from_domain)
        self.notices = Notices(reports, queue, blobs, log=log, metrics=metrics, clock=clock, on_enqueued=self.notify)
        self._outcomes = Outcomes(
            services, bouncer=Bouncer(services, reports), notices=self.notices, backoff=backoff or Backoff()
        )
        self._attempts = Attempts(
            services,
            settings or AttemptSettings(),
            outcomes=self._outcomes,
            compose=compose or composer(authserv_id),
            rescan=rescan,
        )
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop_tasks: list[asyncio.Task[None]] = []
        self._under_way: dict[asyncio.Task[None], Group] = {}
        self._awaiting: set[asyncio.Task[None]] = set()
        self._errands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin."""
        self._services.forwarder.on_recovery = self._hop_is_back
        self._loop_tasks = [
            asyncio.create_task(self._run(), name="queue"),
            asyncio.create_task(self._keeper.run(), name="queue:leases"),
        ]

    async def stop(self) -> None:
        """Claim no more, let what is under way end, and give the rest back for others to take."""
        self._stopping = True
        self._wake.set()
        if not self._loop_tasks:
            return
        await asyncio.wait(self._loop_tasks[:1])
        await self._give_back([claim for group in self._lanes.clear() for claim in group.claims])
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=self._drain)
        unfinished = list(self._under_way)
        for task in (*unfinished, *self._awaiting, *self._errands, *self._loop_tasks):
            task.cancel()
        await asyncio.gather(*unfinished, *self._awaiting, *self._errands, *self._loop_tasks, return_exceptions=True)
        await self.notices.settled()
        self._loop_tasks = []

    def notify(self) -> None:
        """Something due was enqueued: look at once."""
        self._wake.set()

    def awaits(self, unit: str, final: asyncio.Future[Outcome]) -> None:
        """Take over a unit that was enqueued under our name while the next hop's reply is still to come."""
        task = asyncio.create_task(self._await_enqueued(unit, final))
        self._awaiting.add(task)
        task.add_done_callback(self._awaiting.discard)

    # the loop

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                pause = await self._round()
            except UnavailableError as error:
                self._services.metrics.failed(ErrorKind.DATABASE)
                self._services.log.unforeseen("queue", error=error)
                self._quiet_until = time.monotonic() + self._grace
                pause = self._poll
            except Exception as error:  # noqa: BLE001 - a bug must not end the queue, or all waiting mail with it
                self._services.metrics.failed(ErrorKind.QUEUE)
                self._services.log.unforeseen("queue", error=error)
                pause = self._poll
            self._start_what_may()
            if pause > 0 and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)

    async def _round(self) -> float:
        """Claim what is due and there is room for; returns the seconds until it is worth looking again."""
        free = self._lanes.free
        if not free:
            return self._poll
        due_at = await self._services.queue.next_due()
        if time.monotonic() < self._quiet_until or (
            self._services.journal is not None and not self._services.journal.empty
        ):
            return self._poll  # what a journal says was delivered must not be claimed again
        now = self._services.clock()
        if due_at is None or due_at > now:
            return self._poll if due_at is None else min(self._poll, max(0.01, (due_at - now) / SECOND))
        taken_at = time.monotonic()
        claims = await self._services.queue.claim(
            self._holder,
            limit=max(free, CLAIMED_AT_LEAST),
            lease_ms=self._lease_ms,
            besides=self._lanes.full_domains(),
            without=self._keeper.units,
        )
        self._keeper.keep(claims, taken_at=taken_at)
        surplus = [group for group in grouped(claims) if not self._lanes.add(group)]
        await self._give_back([claim for group in surplus for claim in group.claims])
        return 0.0 if claims and not surplus else self._poll

    def _start_what_may(self) -> None:
        while not self._stopping and (group := self._lanes.start()) is not None:
            task = asyncio.create_task(self._carry_out(group), name=f"queue:{group.first.message}")
            self._under_way[task] = group
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._lanes.ended(self._under_way.pop(task))
        self._start_what_may()
        self._wake.set()

    # one group

    async def _carry_out(self, group: Group) -> None:
        late: Sequence[Late] = ()
        try:
            late = await self._attempts.run(group, go_ahead=lambda: self._keeper.ensure(group.claims))
        except asyncio.CancelledError:
            await self._give_back(group.claims)
            raise
        except ConflictError as error:
            # Somebody else has it, since our lease ran out or an admin moved it: nothing of ours to record.
            self._services.log.unforeseen("queue", message=group.first.message, error=error)
        except UnavailableError as error:
            await self._until_available(group, error)
        except Exception as error:  # noqa: BLE001 - whatever it is: the lease runs out and counts as a crash, then it is parked
            self._services.metrics.failed(ErrorKind.QUEUE)
            self._services.log.unforeseen("queue", message=group.first.message, error=error)
        finally:
            self._keeper.let_go(set(group.claims) - {one.claim for one in late})
        for one in late:
            self._await_later(one)

    async def _until_available(self, group: Group, error: UnavailableError) -> None:
        """The outcome could not be recorded, so it stays ours, not counted as a crash, until it can be given back."""
        self._services.metrics.failed(ErrorKind.DATABASE)
        self._services.log.unforeseen("queue", message=group.first.message, error=error)
        while not self._stopping:
            await asyncio.sleep(self._poll)
            with contextlib.suppress(UnavailableError):
                await self._services.queue.give_back(group.claims, due_at=self._services.clock() + MINUTE)
                return

    # replies that come late

    def _await_later(self, late: Late) -> None:
        task = asyncio.create_task(self._await_final(late.claim, late.final))
        self._awaiting.add(task)
        task.add_done_callback(self._awaiting.discard)

    async def _await_enqueued(self, unit: str, final: asyncio.Future[Outcome]) -> None:
        taken_at = time.monotonic()
        claims: Sequence[Claim] = ()
        while True:
            try:
                claims = await self._services.queue.held(self._holder, [unit])
                break
            except UnavailableError:
                await asyncio.sleep(self._poll)
        if claims:  # else the database has not got it (yet): by the journal, under nobody's lease
            self._keeper.keep(claims, taken_at=taken_at)
            await self._await_final(claims[0], final)

    async def _await_final(self, claim: Claim, final: asyncio.Future[Outcome]) -> None:
        group = Group((claim,))
        try:
            outcome = await final
            await self._outcomes.settle(group, [outcome])
        except asyncio.CancelledError:
            await self._give_back((claim,), due_at=self._services.clock() + AWAITED_ELSEWHERE)
            raise
        except ConflictError as error:
            self._services.log.unforeseen("queue", message=claim.message, error=error)
        except UnavailableError as error:
            await self._until_available(group, error)
        except Exception as error:  # noqa: BLE001 - as in _carry_out
            self._services.metrics.failed(ErrorKind.QUEUE)
            self._services.log.unforeseen("queue", message=claim.message, error=error)
        finally:
            self._keeper.let_go((claim,))
        self._wake.set()

    async def _give_back(self, claims: Sequence[Claim], *, due_at: int = 0) -> None:
        if not claims:
            return
        self._keeper.let_go(claims)
        try:
            await self._services.queue.give_back(claims, due_at=due_at)
        except UnavailableError as error:  # their leases run out by themselves
            self._services.metrics.failed(ErrorKind.DATABASE)
            self._services.log.unforeseen("queue", message=claims[0].message, error=error)

    # next hops

    def _window(self, lane: LaneKey) -> int:
        tenant, domain = lane
        if not tenant:
            return RESCAN_WINDOW
        route = self._services.routes.known(tenant, domain)
        if route is None:
            return UNKNOWN_ROUTE_WINDOW
        return self._services.forwarder.window(tenant, route.next_hops, route.security)

    def _hop_is_back(self, tenant: int, next_hop: NextHop) -> None:
        """What waited for a dead next hop need not wait any longer."""
        if self._stopping:
            return
        domains = set(self._services.routes.domains_of(tenant, next_hop))
        if tenant == SYSTEM_TENANT:  # mail of our own: whatever waited may go by the same smarthost or exchanger
            domains.update(self._outcomes.down_domains(tenant))
        for domain in domains:
            self._outcomes.is_back(tenant, domain)
            task = asyncio.create_task(self._hasten(domain))
            self._errands.add(task)
            task.add_done_callback(self._errands.discard)

    async def _hasten(self, domain: str) -> None:
        try:
            while await self._services.queue.hasten_domain(domain, limit=1_000) >= 1_000:
                pass
        except UnavailableError as error:  # they are due anyhow, some time later
            self._services.metrics.failed(ErrorKind.DATABASE)
            self._services.log.unforeseen("queue", error=error)
        self._wake.set()
