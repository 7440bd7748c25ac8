"""One worker's services: built, started, stopped and reloaded together."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from functools import partial
from pathlib import Path

from prometheus_client import REGISTRY

from mailguard.app.chores import WORKER_LEASE_MS, Chores, Services
from mailguard.app.filter import FilterFiles, build_filter
from mailguard.app.learning import feedback_of
from mailguard.app.policy_record import PolicyRecord
from mailguard.app.tenant_checks import tenant_checks
from mailguard.app.upkeep import Upkeep
from mailguard.app.wiring import (
    call_ahead_settings,
    certificate_files,
    forwarder_of,
    greylist_settings,
    ldap_lookups,
    listeners,
    outbound_routes,
    rate_settings,
    smtp_settings,
)
from mailguard.billing.plan_files import PlanFiles
from mailguard.config import Settings
from mailguard.core.clock import DAY, SECOND, system_clock
from mailguard.core.envelope import MailOptions
from mailguard.core.errors import ConfigError, UnavailableError
from mailguard.core.reply import Reply
from mailguard.core.tenant import Directory, Domain
from mailguard.delivery.backoff import Backoff
from mailguard.delivery.call_ahead import CallAhead
from mailguard.delivery.route import Routes
from mailguard.delivery.verify import Verifier
from mailguard.net.tls_contexts import TlsContexts
from mailguard.ops.aside import compute_aside
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.pipeline.carry_out import CarryOut, CarryOutSettings
from mailguard.pipeline.process import Pipeline, PipelineSettings
from mailguard.pipeline.rescan import Rescan
from mailguard.queue.attempt import AttemptSettings
from mailguard.queue.runner import QueueRunner
from mailguard.smtp.handler import MetricsObserver, RelayDoor
from mailguard.smtp.rates import Rates
from mailguard.smtp.server import SmtpServer
from mailguard.smtp.tls import TlsCertificate
from mailguard.store.blobs import FileBlobStore
from mailguard.store.buckets import SharedBuckets
from mailguard.store.db import Database
from mailguard.store.directory import DirectoryCache
from mailguard.store.greylist import Greylist
from mailguard.store.history import History
from mailguard.store.journal import Journal, settle_left_behind
from mailguard.store.leases import Leases
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore
from mailguard.store.refusals import Refusals
from mailguard.store.reputation import Reputations
from mailguard.store.verifications import Verifications
from mailguard.watch.probe_mark import MarkReader


class Relay:
    """One worker's services, in the order in which they start; they stop in the opposite one."""

    def __init__(self, settings: Settings, *, instance: str, files: FilterFiles, tls: TlsContexts) -> None:
        """Builds everything; opens the database and the journal. Raises ConfigError and UnavailableError."""
        self._settings = settings
        self.instance = instance
        clock = system_clock
        self.metrics = Metrics(REGISTRY)
        self.log = MailLog()
        self.db = Database.open(
            settings.database.url,
            on_commit=self.metrics.event_commit_duration.observe,
            busy_timeout=settings.database.lock_timeout,
        )
        self.leases = Leases(self.db)
        self.directory = DirectoryCache(self.db)
        self._journals = settings.storage.path / "journal"
        self.journal = Journal(self._journals / f"{instance}.jsonl")
        blobs = FileBlobStore(settings.storage.path)
        ledger = Ledger(self.db)
        history = History(self.db, days=settings.history.days)
        reputations = Reputations(self.db)
        self.filter = build_filter(
            settings,
            directory=self._current,
            files=files,
            metrics=self.metrics,
            log=self.log,
            clock=clock,
            tenant_checks=tenant_checks(settings, self.db, clock=clock, history=history, reputations=reputations),
        )
        self.forwarder = forwarder_of(settings, self.filter.resolver, self.metrics, tls)
        outbound = outbound_routes(settings, self.filter.resolver, tls)
        first_rescan = round(settings.queue.first_rescan * SECOND)
        self.queue = QueueRunner(
            QueueStore(self.db),
            ledger,
            db=self.db,
            blobs=blobs,
            forwarder=self.forwarder,
            outbound=outbound,
            directory=self._current,
            rescan=Rescan(
                judge=self.filter.judge,
                db=self.db,
                blobs=blobs,
                directory=self._current,
                hostname=settings.server.hostname,
                authserv_id=settings.server.authserv_id,
                log=self.log,
                metrics=self.metrics,
                clock=clock,
            ),
            holder=instance,
            authserv_id=settings.server.authserv_id,
            hostname=settings.server.hostname,
            from_domain=settings.outbound.from_domain,
            backoff=Backoff(round(settings.queue.first_retry * SECOND), round(settings.queue.max_retry * SECOND)),
            settings=AttemptSettings(rescan_backoff=Backoff(first_rescan, 10 * first_rescan)),
            concurrency=settings.queue.concurrency,
            journal=self.journal,
            log=self.log,
            metrics=self.metrics,
            clock=clock,
        )
        retention = round(settings.queue.retention_days * DAY)
        carry_out = CarryOut(
            CarryOutSettings(
                authserv_id=settings.server.authserv_id,
                instance=instance,
                attempt=settings.outbound.attempt_timeout,
                retention=retention,
                first_retry=round(settings.queue.first_retry * SECOND),
            ),
            forwarder=self.forwarder,
            routes=Routes(self._current, outbound),
            directory=self._current,
            ledger=ledger,
            journal=self.journal,
            blobs=blobs,
            awaits=self.queue.awaits,
            due_now=self.queue.notify,
            notices=self.queue.notices,
            log=self.log,
            metrics=self.metrics,
            clock=clock,
        )
        feedback = feedback_of(
            settings,
            judge=self.filter.judge,
            db=self.db,
            directory=self._current,
            log=self.log,
            metrics=self.metrics,
        )
        pipeline = Pipeline(
            PipelineSettings(
                hostname=settings.server.hostname,
                authserv_id=settings.server.authserv_id,
                instance=instance,
                retention=retention,
                first_rescan=first_rescan,
            ),
            judge=self.filter.judge,
            carry_out=carry_out,
            ledger=ledger,
            blobs=blobs,
            directory=self._current,
            log=self.log,
            metrics=self.metrics,
            clock=clock,
            marks=MarkReader(settings.probe.key),
            feedback=feedback,
        )
        self.refusals = Refusals(self.db, clock)
        self.verifications = Verifications(self.db)
        self.ldap = ldap_lookups(settings)
        self.call_ahead = CallAhead(
            partial(self.forwarder.ask, budget=settings.verification.timeout),
            self.verifications,
            settings=call_ahead_settings(settings),
            log=self.log,
            metrics=self.metrics,
            clock=clock,
        )
        self.buckets = SharedBuckets(
            settings.storage.path / "limits", on_error=lambda error: self.metrics.failed(ErrorKind.STORAGE)
        )
        greylist = Greylist(self.db, greylist_settings(settings))
        door = RelayDoor(
            pipeline=pipeline,
            directory=self._current,
            unsupported=self._unsupported,
            verify=Verifier(
                directory=self._current,
                db=self.db,
                call_ahead=self.call_ahead,
                ldap=self.ldap,
                metrics=self.metrics,
                memory=settings.verification.cache_size,
            ).verify,
            rates=Rates(rate_settings(settings), self.buckets),
            greylist=greylist,
            has_room=_HasRoom(settings.storage.path, settings.storage.min_free_bytes),
            postmaster=settings.outbound.postmaster,
            refusals=self.refusals,
            log=self.log,
            metrics=self.metrics,
            feedback=feedback.meant_by,
        )
        self.server = SmtpServer(
            door,
            smtp_settings(settings),
            listeners(settings),
            certificate=TlsCertificate(*certificate_files(settings)),
            observer=MetricsObserver(self.metrics),
            clock=clock,
        )
        policy_record = PolicyRecord(self.db, self.filter, PlanFiles(settings.policies.path / "plans"), node=instance)
        self._reloads: set[asyncio.Task[None]] = set()
        services = Services(
            instance=instance,
            db=self.db,
            blobs=blobs,
            journals=self._journals,
            journal=self.journal,
            ledger=ledger,
            leases=self.leases,
            directory=self.directory,
            queue=self.queue,
            filter=self.filter,
            policy_record=policy_record,
            refusals=self.refusals,
            verifications=self.verifications,
            greylist=greylist,
            history=history,
            reputations=reputations,
            log=self.log,
            metrics=self.metrics,
        )
        self.upkeep = Upkeep(Chores(services, settings).jobs, leases=self.leases, holder=instance, metrics=self.metrics)

    def _current(self) -> Directory:
        return self.directory.current

    def _unsupported(self, domain: Domain, options: MailOptions) -> Reply | None:
        # Not eight_bit: many clients declare 8BITMIME for every message; what the content needs is seen after the data.
        return self.forwarder.refusal(domain.next_hops, size=options.size, smtputf8=options.smtputf8)

    async def start(self) -> None:
        """Ready when it returns. Raises UnavailableError, and OSError when a listener cannot be opened."""
        await self.leases.beat(self.instance, lease_ms=WORKER_LEASE_MS)
        await self.directory.refresh()
        await self.journal.replay(self.db)
        await settle_left_behind(self._journals, self.db)
        self.upkeep.start()
        await self.queue.start()
        await self.server.start()

    async def stop(self) -> None:
        """Take no more mail, let what is under way end, then close everything. Nothing that was accepted is lost."""
        if not await self.server.drain(self._settings.server.drain_seconds):
            await self.server.close()
        await self.queue.stop()
        await self.upkeep.stop()
        self.forwarder.close()
        await self.call_ahead.close()
        self.ldap.close()
        flushes = (self.refusals.flush(), self.verifications.flush())
        for last in (*flushes, self.journal.replay(self.db), self.leases.leave(self.instance)):
            # A database that is away keeps nothing from ending: the next worker replays journals, and leases run out.
            with contextlib.suppress(UnavailableError):
                await last
        await self.filter.close()
        self.journal.close()
        await self.db.close()

    def reload(self) -> None:
        """SIGHUP: read certificate, profiles and rules again; of what is wrong the last good version stays.

        Files that can be large are read beside the mail.
        """
        try:
            self.server.reload_tls()
        except ConfigError as error:
            self.log.policies_invalid(error.problems)
        reading = asyncio.create_task(compute_aside(self.filter.reload), name="reload")
        self._reloads.add(reading)
        reading.add_done_callback(self._reloads.discard)


class _HasRoom:
    """Whether the storage has more than `least` octets free; asked of the system at most once a second."""

    def __init__(self, path: Path, least: int) -> None:
        self._path = path
        self._least = least
        self._until = 0.0
        self._has = True

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + 1.0
            self._has = shutil.disk_usage(self._path).free >= self._least
        return self._has
