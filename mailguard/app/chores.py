"""What a worker does beside mail, at which intervals: lists, records and the database kept in order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mailguard.app.audit_head import AuditHeads
from mailguard.app.filter import Filter
from mailguard.app.forgetting import Forgetting
from mailguard.app.policy_record import PolicyRecord
from mailguard.app.sandbox import SANDBOXED
from mailguard.app.upkeep import Job
from mailguard.billing.closing import advance
from mailguard.billing.months import time_zone
from mailguard.config import Settings
from mailguard.core.clock import DAY, MINUTE, SECOND, system_clock
from mailguard.ops.aside import compute_aside
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.quarantine.expire import Expiry, Retention
from mailguard.queue.runner import QueueRunner
from mailguard.store.billing_months import commit_watermark
from mailguard.store.blobs import FileBlobStore
from mailguard.store.bodies import release_bodies
from mailguard.store.clock_step import draw_near_in
from mailguard.store.db import Database
from mailguard.store.directory import DirectoryCache
from mailguard.store.greylist import Greylist
from mailguard.store.history import History
from mailguard.store.journal import Journal, settle_left_behind
from mailguard.store.leases import Leases
from mailguard.store.ledger import Ledger
from mailguard.store.reconcile import reconcile
from mailguard.store.refusals import Refusals
from mailguard.store.reputation import Reputations
from mailguard.store.verifications import Verifications

WORKER_LEASE_MS = 30_000
"""How long a worker may be silent before it counts as dead, and what it was forwarding as interrupted."""
QUEUE_LEASE_MS = 15 * MINUTE
"""Longer than any lease of the queue."""
RECONCILE_LEASE = 60.0
"""Seconds in which workers that start together reconcile once."""
METER_PATIENCE = 1_000
"""Milliseconds for which the meter waits for transactions that write events; whoever comes after it waits as long."""
METERED_AT_ONCE = 500
"""Steps that the meter counts in one transaction, some 10 ms."""
METER_PAUSE = 0.1
"""Seconds between two of these: a backlog of millions must not slow mail down."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the jobs are done with. `instance` is the worker's name, `journals` the directory of all workers' journals."""

    instance: str
    db: Database
    blobs: FileBlobStore
    journals: Path
    journal: Journal
    ledger: Ledger
    leases: Leases
    directory: DirectoryCache
    queue: QueueRunner
    filter: Filter
    policy_record: PolicyRecord
    refusals: Refusals
    verifications: Verifications
    greylist: Greylist
    history: History
    reputations: Reputations
    log: MailLog
    metrics: Metrics


class Chores:
    """The jobs of one worker's Upkeep, done with its services."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self._services = services
        self._settings = settings

    @property
    def jobs(self) -> list[Job]:
        """All of them."""
        expiry = Expiry(self._services.db, retention=self._retention)
        zone = time_zone(self._settings.billing.time_zone)
        forgetting = Forgetting(self._services.db, zone=zone, clock=system_clock)
        poll = self._settings.policies.poll_seconds
        delay = self._settings.queue.delay_notice_hours * 3600
        delay_notices = Job(
            "delay_notices",
            min(60.0, max(0.5, delay / 10)),
            partial(self._services.queue.notices.delayed, after=round(delay * SECOND)),
            single=True,
            error=ErrorKind.QUEUE,
        )
        sandboxed = not SANDBOXED.isdisjoint(self._settings.checks.enabled)
        return [
            *([delay_notices] if delay else []),
            *([Job("sandbox", 30.0, self._services.filter.sandbox.prepare)] if sandboxed else []),
            Job("directory", 1.0, self._refresh_directory, error=ErrorKind.DIRECTORY),
            Job("refusals", 1.0, self._services.refusals.flush, error=ErrorKind.DATABASE),
            Job("verifications", 1.0, self._services.verifications.flush, error=ErrorKind.DATABASE),
            Job("forget", 60.0, self._forget, single=True, error=ErrorKind.DATABASE),
            Job("beat", WORKER_LEASE_MS / 5000, self._beat, error=ErrorKind.DATABASE),
            Job("policies", poll, partial(compute_aside, self._services.filter.reload_if_changed)),
            Job("audit_head", 3600.0, AuditHeads(self._services.db).tell, single=True, error=ErrorKind.DATABASE),
            Job("forgetting", 3600.0, forgetting.run, single=True, error=ErrorKind.DATABASE),
            Job("policy_record", 5.0, self._services.policy_record.keep, error=ErrorKind.DATABASE),
            Job("journal", 5.0, partial(self._services.journal.replay, self._services.db), error=ErrorKind.JOURNAL),
            Job("left_behind", 10.0, self._settle_left_behind, single=True, error=ErrorKind.JOURNAL),
            Job("interrupted", 5.0, self._services.ledger.interrupt_dead, single=True),
            Job("expiry", 60.0, expiry.run, single=True),
            Job(
                "bodies",
                30.0,
                partial(release_bodies, self._services.db, self._services.blobs),
                single=True,
                error=ErrorKind.STORAGE,
            ),
            # A short lease: after each start of a relay it runs once, whoever did it the last time.
            Job(
                "reconcile",
                86_400.0,
                self._reconcile,
                single=True,
                error=ErrorKind.STORAGE,
                lease=RECONCILE_LEASE,
            ),
            # By each worker: a lease for it would itself outlast a clock that was set back.
            Job("clock", 60.0, self._draw_near, error=ErrorKind.DATABASE),
            Job(
                "temporary",
                3600.0,
                partial(asyncio.to_thread, self._services.blobs.clean_up),
                single=True,
                error=ErrorKind.STORAGE,
            ),
            Job("greylist", 60.0, self._services.greylist.forget, single=True, error=ErrorKind.DATABASE),
            Job("history", 5.0, self._services.history.record, single=True, error=ErrorKind.DATABASE),
            Job("history_end", 60.0, self._services.history.forget, single=True, error=ErrorKind.DATABASE),
            Job("reputation", 5.0, self._services.reputations.record, single=True, error=ErrorKind.DATABASE),
            Job("reputation_end", 3600.0, self._services.reputations.forget, single=True, error=ErrorKind.DATABASE),
            Job("meter", 60.0, self._meter, single=True, error=ErrorKind.DATABASE),
            Job("workers", 3600.0, partial(self._services.leases.forget_workers, older_ms=DAY), single=True),
        ]

    async def _reconcile(self) -> None:
        lifetime = round(self._settings.queue.retention_days * DAY)
        found = await reconcile(self._services.db, self._services.blobs, lifetime=lifetime)
        for what, count in found.counts.items():
            self._services.metrics.reconciled.labels(what).inc(count)
        self._services.log.reconciled(found.counts, units=[*found.requeued, *found.dequeued], missing=found.missing)
        if found.requeued:
            self._services.queue.notify()

    async def _meter(self) -> None:
        """Count the events that were committed since, so that usage and bill need not read them all at once."""
        zone = time_zone(self._settings.billing.time_zone)
        target = await self._services.db.write(partial(commit_watermark, patience=METER_PATIENCE))
        step = partial(advance, target=target, zone=zone, at_once=METERED_AT_ONCE)
        reached = 0
        while reached < target:
            reached = await self._services.db.write(step)
            await asyncio.sleep(METER_PAUSE)

    async def _draw_near(self) -> None:
        queue = self._settings.queue
        # Longer than any wait: the longest pause between attempts with its spread, and what else is added to it.
        longest = round(1.1 * max(queue.max_retry, 10 * queue.first_rescan) * SECOND) + QUEUE_LEASE_MS
        await self._services.db.write(
            lambda connection: draw_near_in(
                connection, longest_wait=longest, lease=QUEUE_LEASE_MS, worker_lease=2 * WORKER_LEASE_MS
            )
        )

    async def _refresh_directory(self) -> None:
        if await self._services.directory.refresh():
            self._services.db.forget_addresses()  # an erasure changes the directory too

    async def _forget(self) -> None:
        await self._services.verifications.forget_old(now=system_clock())

    async def _beat(self) -> None:
        await self._services.leases.beat(self._services.instance, lease_ms=WORKER_LEASE_MS)

    async def _settle_left_behind(self) -> None:
        await settle_left_behind(self._services.journals, self._services.db)

    def _retention(self, profile: str) -> Retention:
        policy = self._services.filter.policies.get(profile)
        return Retention(policy.quarantine_days, policy.malware_days)
