"""What a worker does beside mail, at which intervals: lists, records and the database kept in order."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mailguard.app.audit_head import AuditHeads
from mailguard.app.forgetting import Forgetting
from mailguard.app.sandbox import SANDBOXED
from mailguard.app.upkeep import Job
from mailguard.billing.closing import advance
from mailguard.billing.months import time_zone
from mailguard.config import Settings
from mailguard.core.clock import DAY, MINUTE, SECOND, system_clock
from mailguard.ops.aside import compute_aside
from mailguard.ops.metrics import ErrorKind
from mailguard.quarantine.expire import Expiry, Retention
from mailguard.store.billing_months import commit_watermark
from mailguard.store.blobs import FileBlobStore
from mailguard.store.bodies import release_bodies
from mailguard.store.clock_step import draw_near_in
from mailguard.store.journal import settle_left_behind
from mailguard.store.reconcile import reconcile

if TYPE_CHECKING:
    from mailguard.app.relay import Relay

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


class Chores:
    """The jobs of one worker's Upkeep, done with its services. `journals` is the directory of all workers' journals."""

    def __init__(self, relay: Relay, settings: Settings, *, blobs: FileBlobStore, journals: Path) -> None:
        self._relay = relay
        self._settings = settings
        self._blobs = blobs
        self._journals = journals

    @property
    def jobs(self) -> list[Job]:
        """All of them."""
        expiry = Expiry(self._relay.db, retention=self._retention)
        zone = time_zone(self._settings.billing.time_zone)
        forgetting = Forgetting(self._relay.db, zone=zone, clock=system_clock)
        poll = self._settings.policies.poll_seconds
        delay = self._settings.queue.delay_notice_hours * 3600
        delay_notices = Job(
            "delay_notices",
            min(60.0, max(0.5, delay / 10)),
            partial(self._relay.queue.notices.delayed, after=round(delay * SECOND)),
            single=True,
            error=ErrorKind.QUEUE,
        )
        sandboxed = not SANDBOXED.isdisjoint(self._settings.checks.enabled)
        return [
            *([delay_notices] if delay else []),
            *([Job("sandbox", 30.0, self._relay.filter.sandbox.prepare)] if sandboxed else []),
            Job("directory", 1.0, self._refresh_directory, error=ErrorKind.DIRECTORY),
            Job("refusals", 1.0, self._relay.refusals.flush, error=ErrorKind.DATABASE),
            Job("verifications", 1.0, self._relay.verifications.flush, error=ErrorKind.DATABASE),
            Job("forget", 60.0, self._forget, single=True, error=ErrorKind.DATABASE),
            Job("beat", WORKER_LEASE_MS / 5000, self._beat, error=ErrorKind.DATABASE),
            Job("policies", poll, partial(compute_aside, self._relay.filter.reload_if_changed)),
            Job("audit_head", 3600.0, AuditHeads(self._relay.db).tell, single=True, error=ErrorKind.DATABASE),
            Job("forgetting", 3600.0, forgetting.run, single=True, error=ErrorKind.DATABASE),
            Job("policy_record", 5.0, self._relay.policy_record.keep, error=ErrorKind.DATABASE),
            Job("journal", 5.0, partial(self._relay.journal.replay, self._relay.db), error=ErrorKind.JOURNAL),
            Job("left_behind", 10.0, self._settle_left_behind, single=True, error=ErrorKind.JOURNAL),
            Job("interrupted", 5.0, self._relay.ledger.interrupt_dead, single=True),
            Job("expiry", 60.0, expiry.run, single=True),
            Job(
                "bodies",
                30.0,
                partial(release_bodies, self._relay.db, self._blobs),
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
                partial(asyncio.to_thread, self._blobs.clean_up),
                single=True,
                error=ErrorKind.STORAGE,
            ),
            Job("greylist", 60.0, self._relay.greylist.forget, single=True, error=ErrorKind.DATABASE),
            Job("history", 5.0, self._relay.history.record, single=True, error=ErrorKind.DATABASE),
            Job("history_end", 60.0, self._relay.history.forget, single=True, error=ErrorKind.DATABASE),
            Job("reputation", 5.0, self._relay.reputations.record, single=True, error=ErrorKind.DATABASE),
            Job("reputation_end", 3600.0, self._relay.reputations.forget, single=True, error=ErrorKind.DATABASE),
            Job("meter", 60.0, self._meter, single=True, error=ErrorKind.DATABASE),
            Job("workers", 3600.0, partial(self._relay.leases.forget_workers, older_ms=DAY), single=True),
        ]

    async def _reconcile(self) -> None:
        lifetime = round(self._settings.queue.retention_days * DAY)
        found = await reconcile(self._relay.db, self._blobs, lifetime=lifetime)
        for what, count in found.counts.items():
            self._relay.metrics.reconciled.labels(what).inc(count)
        self._relay.log.reconciled(found.counts, units=[*found.requeued, *found.dequeued], missing=found.missing)
        if found.requeued:
            self._relay.queue.notify()

    async def _meter(self) -> None:
        """Count the events that were committed since, so that usage and bill need not read them all at once."""
        zone = time_zone(self._settings.billing.time_zone)
        target = await self._relay.db.write(partial(commit_watermark, patience=METER_PATIENCE))
        step = partial(advance, target=target, zone=zone, at_once=METERED_AT_ONCE)
        reached = 0
        while reached < target:
            reached = await self._relay.db.write(step)
            await asyncio.sleep(METER_PAUSE)

    async def _draw_near(self) -> None:
        queue = self._settings.queue
        # Longer than any wait: the longest pause between attempts with its spread, and what else is added to it.
        longest = round(1.1 * max(queue.max_retry, 10 * queue.first_rescan) * SECOND) + QUEUE_LEASE_MS
        await self._relay.db.write(
            lambda connection: draw_near_in(
                connection, longest_wait=longest, lease=QUEUE_LEASE_MS, worker_lease=2 * WORKER_LEASE_MS
            )
        )

    async def _refresh_directory(self) -> None:
        if await self._relay.directory.refresh():
            self._relay.db.forget_addresses()  # an erasure changes the directory too

    async def _forget(self) -> None:
        await self._relay.verifications.forget_old(now=system_clock())

    async def _beat(self) -> None:
        await self._relay.leases.beat(self._relay.instance, lease_ms=WORKER_LEASE_MS)

    async def _settle_left_behind(self) -> None:
        await settle_left_behind(self._journals, self._relay.db)

    def _retention(self, profile: str) -> Retention:
        policy = self._relay.filter.policies.get(profile)
        return Retention(policy.quarantine_days, policy.malware_days)
