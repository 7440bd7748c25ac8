"""The composition root: the only place that builds services. What a worker runs, what its parent shows, what scans offline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client import REGISTRY

from mailguard.checks.arc import ArcCheck
from mailguard.checks.attachments import AttachmentsCheck
from mailguard.checks.base import Check
from mailguard.checks.clamav import ClamavCheck
from mailguard.checks.dkim import DkimCheck
from mailguard.checks.dmarc import DmarcCheck
from mailguard.checks.dnsbl import DnsblCheck, ReturnCode, Zone
from mailguard.checks.rules import RulesCheck
from mailguard.checks.rules_file import RulesFiles
from mailguard.checks.runner import Runner
from mailguard.checks.spf import SpfCheck
from mailguard.config import Settings
from mailguard.config.secrets import resolve_secret
from mailguard.config.values import split_host_port
from mailguard.core.clock import DAY, HOUR, MINUTE, SECOND, Clock, system_clock
from mailguard.core.envelope import MailOptions, NextHop
from mailguard.core.errors import ConfigError, Problem, UnavailableError
from mailguard.core.reply import Reply
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity, TlsMode
from mailguard.core.verdict import CheckStatus
from mailguard.delivery.backoff import Backoff
from mailguard.delivery.call_ahead import CallAhead, CallAheadSettings
from mailguard.delivery.dial import Dialler
from mailguard.delivery.forward import Forwarder
from mailguard.delivery.health import HopHealth
from mailguard.delivery.ldap_lookup import LdapLookups
from mailguard.delivery.route import OutboundRoutes, Routes
from mailguard.delivery.verify import Verifier
from mailguard.net.clamd import ClamdClient
from mailguard.net.dns import Resolver
from mailguard.net.dns_aio import AiodnsResolver
from mailguard.net.mta_sts import MtaSts
from mailguard.net.smtp_client import Handshake, Timeouts
from mailguard.net.smtp_pool import ConnectionPool
from mailguard.net.tls_contexts import TlsContexts, TlsSetupError
from mailguard.net.tlsa import TlsaResolver
from mailguard.ops import log as logs
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.pipeline.carry_out import CarryOut, CarryOutSettings
from mailguard.pipeline.judge import Judge
from mailguard.pipeline.process import Pipeline, PipelineSettings
from mailguard.pipeline.rescan import Rescan
from mailguard.policy.files import PolicyFiles
from mailguard.quarantine.expire import Expiry, Retention
from mailguard.queue.attempt import AttemptSettings
from mailguard.queue.runner import QueueRunner
from mailguard.scan import Scanner
from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.handler import MetricsObserver, RelayDoor
from mailguard.smtp.rates import Rates, RateSettings
from mailguard.smtp.server import Listener, SmtpServer
from mailguard.smtp.tls import TlsCertificate, self_made
from mailguard.store.blobs import FileBlobStore
from mailguard.store.bodies import release_bodies
from mailguard.store.buckets import SharedBuckets
from mailguard.store.clock_step import draw_near_in
from mailguard.store.db import Database
from mailguard.store.greylist import Greylist, GreylistSettings
from mailguard.store.journal import Journal, settle_left_behind
from mailguard.store.leases import Leases
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore
from mailguard.store.reconcile import reconcile
from mailguard.store.refusals import Refusals
from mailguard.store.tenants import DirectoryCache
from mailguard.store.verifications import Verifications
from mailguard.upkeep import Job as UpkeepJob
from mailguard.upkeep import Upkeep

QUESTIONS = 4
"""Call-aheads on one connection: servers count refused recipients as errors, slow down, and hang up (Exchange after 5)."""
WORKER_LEASE_MS = 30_000
"""How long a worker may be silent before it counts as dead, and what it was forwarding as interrupted."""
QUEUE_LEASE_MS = 15 * MINUTE
"""Longer than any lease of the queue."""
RECONCILE_LEASE = 60.0
"""Seconds in which workers that start together reconcile once."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What judges mail: the same for the door and for `mailguard scan`."""

    judge: Judge
    policies: PolicyFiles
    rules: RulesFiles
    scanner: ClamdClient
    resolver: Resolver
    on_reload: Callable[[], None]
    """Called after each good reload; a bad one is told by `on_problems` of the files."""

    def reload(self) -> None:
        """Read profiles and rules again; of what is wrong the last good version stays."""
        for files in (self.policies, self.rules):
            if not files.reload():
                self.on_reload()

    def reload_if_changed(self) -> None:
        """The same, of what has changed."""
        for files in (self.policies, self.rules):
            if files.changed and not files.reload():
                self.on_reload()


def build_filter(
    settings: Settings,
    *,
    directory: Callable[[], Directory],
    resolver: Resolver | None = None,
    checks: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    log: MailLog | None = None,
    clock: Clock = system_clock,
) -> Filter:
    """Profiles, rules and checks from the settings. `checks` names those that run, by default the enabled ones.

    Raises ConfigError with everything that is wrong with the files.
    """
    log = log or MailLog()

    def on_problems(problems: Sequence[Problem]) -> None:
        log.policies_invalid(problems)
        if metrics:
            metrics.policy_reloads.labels("error").inc()

    def on_reload() -> None:
        log.policies_reloaded()
        if metrics:
            metrics.policy_reloads.labels("ok").inc()

    def on_timing(check: str, status: CheckStatus, seconds: float) -> None:
        if metrics:
            metrics.checked(check, status, seconds)

    policies = PolicyFiles(settings.policies.path, on_problems=on_problems)
    policies.load()
    rules = RulesFiles(settings.policies.path / "rules", on_problems=on_problems)
    rules.load()
    resolver = resolver or AiodnsResolver(
        settings.dns.nameservers,
        timeout=settings.dns.timeout,
        cache_size=settings.dns.cache_size,
        on_query=(lambda result: metrics.dns_queries.labels(result).inc()) if metrics else None,
    )
    scanner = ClamdClient(
        settings.clamav.address, timeout=settings.clamav.timeout, connections=settings.clamav.connections
    )
    every: dict[str, Callable[[], Check]] = {
        "clamav": lambda: ClamavCheck(scanner),
        "spf": SpfCheck,
        "dkim": lambda: DkimCheck(clock=clock),
        "dmarc": DmarcCheck,
        "arc": lambda: ArcCheck(clock=clock),
        "rules": lambda: RulesCheck(lambda: rules.current),
        "attachments": AttachmentsCheck,
        "dnsbl": lambda: DnsblCheck(_zones(settings), timeout=settings.dns.timeout),
    }
    enabled = settings.checks.enabled if checks is None else checks
    runner = Runner(
        [make() for name, make in every.items() if name in enabled],
        budget=settings.checks.budget,
        on_timing=on_timing,
        log=log,
    )
    judge = Judge(
        runner=runner,
        policies=policies,
        directory=directory,
        resolver=resolver,
        hostname=settings.server.hostname,
        authserv_id=settings.server.authserv_id,
        clock=clock,
    )
    return Filter(judge, policies, rules, scanner, resolver, on_reload)


def _zones(settings: Settings) -> list[Zone]:
    """The lists, each with all that its tables say: a zone is asked once, whatever its answers may mean."""
    meanings: dict[tuple[str, bool], list[ReturnCode]] = {}
    for zone in settings.dnsbl.zones:
        code = ReturnCode(zone.symbol, zone.score, zone.codes, zone.description)
        meanings.setdefault((zone.zone, zone.ipv6), []).append(code)
    return [Zone(name, tuple(codes), ipv6) for (name, ipv6), codes in meanings.items()]


@asynccontextmanager
async def build_scanner(
    settings: Settings, *, checks: Sequence[str], tenant: Tenant, budget: float
) -> AsyncIterator[Scanner]:
    """What `mailguard scan` judges with; no database. `budget` in seconds is what the checks of one message may take.

    Of the log only errors are shown: that a check could not be done stands in the report.
    """
    logs.configure(level="error", form="console")
    limited = settings.model_copy(update={"checks": settings.checks.model_copy(update={"budget": budget})})
    directory = Directory.of([tenant], [])
    made = build_filter(limited, directory=lambda: directory, checks=checks)
    try:
        yield Scanner(made.judge, tenant=tenant)
    finally:
        await made.scanner.close()


class Relay:
    """One worker's services, in the order in which they start; they stop in the opposite one."""

    def __init__(self, settings: Settings, *, instance: str) -> None:
        """Builds everything; opens the database and the journal. Raises ConfigError and UnavailableError."""
        self._settings = settings
        self._instance = instance
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
        self.ledger = ledger
        self.filter = build_filter(settings, directory=self._current, metrics=self.metrics, log=self.log, clock=clock)
        self.forwarder = _forwarder(settings, self.filter.resolver, self.metrics)
        outbound = _outbound(settings, self.filter.resolver)
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
        self.greylist = Greylist(self.db, _greylist_settings(settings))
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
            rates=Rates(_rate_settings(settings), self.buckets),
            greylist=self.greylist,
            has_room=_HasRoom(settings.storage.path, settings.storage.min_free_bytes),
            postmaster=settings.outbound.postmaster,
            refusals=self.refusals,
            log=self.log,
            metrics=self.metrics,
        )
        self.server = SmtpServer(
            door,
            smtp_settings(settings),
            listeners(settings),
            certificate=TlsCertificate(*certificate_files(settings)),
            observer=MetricsObserver(self.metrics),
            clock=clock,
        )
        self.upkeep = Upkeep(self._jobs(blobs), leases=self.leases, holder=instance, metrics=self.metrics)

    def _current(self) -> Directory:
        return self.directory.current

    def _unsupported(self, domain: Domain, options: MailOptions) -> Reply | None:
        # Not eight_bit: many clients declare 8BITMIME for every message; what the content needs is seen after the data.
        return self.forwarder.refusal(domain.next_hops, size=options.size, smtputf8=options.smtputf8)

    def _jobs(self, blobs: FileBlobStore) -> list[UpkeepJob]:
        expiry = Expiry(self.db, retention=self._retention)
        poll = self._settings.policies.poll_seconds
        delay = self._settings.queue.delay_notice_hours * 3600
        delay_notices = UpkeepJob(
            "delay_notices",
            min(60.0, max(0.5, delay / 10)),
            partial(self.queue.notices.delayed, after=round(delay * SECOND)),
            single=True,
            error=ErrorKind.QUEUE,
        )
        return [
            *([delay_notices] if delay else []),
            UpkeepJob("directory", 1.0, self.directory.refresh, error=ErrorKind.DIRECTORY),
            UpkeepJob("refusals", 1.0, self.refusals.flush, error=ErrorKind.DATABASE),
            UpkeepJob("verifications", 1.0, self.verifications.flush, error=ErrorKind.DATABASE),
            UpkeepJob("forget", 60.0, self._forget, single=True, error=ErrorKind.DATABASE),
            UpkeepJob("beat", WORKER_LEASE_MS / 5000, self._beat, error=ErrorKind.DATABASE),
            UpkeepJob("policies", poll, partial(asyncio.to_thread, self.filter.reload_if_changed)),
            UpkeepJob("journal", 5.0, partial(self.journal.replay, self.db), error=ErrorKind.JOURNAL),
            UpkeepJob("left_behind", 10.0, self._settle_left_behind, single=True, error=ErrorKind.JOURNAL),
            UpkeepJob("interrupted", 5.0, self.ledger.interrupt_dead, single=True),
            UpkeepJob("expiry", 60.0, expiry.run, single=True),
            UpkeepJob("bodies", 30.0, partial(release_bodies, self.db, blobs), single=True, error=ErrorKind.STORAGE),
            # A short lease: after each start of a relay it runs once, whoever did it the last time.
            UpkeepJob(
                "reconcile",
                86_400.0,
                partial(self._reconcile, blobs),
                single=True,
                error=ErrorKind.STORAGE,
                lease=RECONCILE_LEASE,
            ),
            UpkeepJob("clock", 60.0, self._draw_near, single=True, error=ErrorKind.DATABASE),
            UpkeepJob(
                "temporary", 3600.0, partial(asyncio.to_thread, blobs.clean_up), single=True, error=ErrorKind.STORAGE
            ),
            UpkeepJob("greylist", 60.0, self.greylist.forget, single=True, error=ErrorKind.DATABASE),
            UpkeepJob("workers", 3600.0, partial(self.leases.forget_workers, older_ms=DAY), single=True),
        ]

    async def _reconcile(self, blobs: FileBlobStore) -> None:
        lifetime = round(self._settings.queue.retention_days * DAY)
        found = await reconcile(self.db, blobs, lifetime=lifetime)
        for what, count in found.counts.items():
            self.metrics.reconciled.labels(what).inc(count)
        self.log.reconciled(found.counts, units=[*found.requeued, *found.dequeued], missing=found.missing)
        if found.requeued:
            self.queue.notify()

    async def _draw_near(self) -> None:
        queue = self._settings.queue
        # Longer than any wait: the longest pause between attempts with its spread, and what else is added to it.
        longest = round(1.1 * max(queue.max_retry, 10 * queue.first_rescan) * SECOND) + QUEUE_LEASE_MS
        await self.db.write(
            lambda connection: draw_near_in(
                connection, longest_wait=longest, lease=QUEUE_LEASE_MS, worker_lease=2 * WORKER_LEASE_MS
            )
        )

    async def _forget(self) -> None:
        await self.verifications.forget_old(now=system_clock())

    async def _beat(self) -> None:
        await self.leases.beat(self._instance, lease_ms=WORKER_LEASE_MS)

    async def _settle_left_behind(self) -> None:
        await settle_left_behind(self._journals, self.db)

    def _retention(self, profile: str) -> Retention:
        policy = self.filter.policies.get(profile)
        return Retention(policy.quarantine_days, policy.malware_days)

    async def start(self) -> None:
        """Ready when it returns. Raises UnavailableError, and OSError when a listener cannot be opened."""
        await self._beat()
        await self.directory.refresh()
        await self.journal.replay(self.db)
        await self._settle_left_behind()
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
        for last in (*flushes, self.journal.replay(self.db), self.leases.leave(self._instance)):
            # A database that is away keeps nothing from ending: the next worker replays journals, and leases run out.
            with contextlib.suppress(UnavailableError):
                await last
        await self.filter.scanner.close()
        self.journal.close()
        await self.db.close()

    def reload(self) -> None:
        """SIGHUP: read certificate, profiles and rules again; of what is wrong the last good version stays."""
        self.filter.reload()
        try:
            self.server.reload_tls()
        except ConfigError as error:
            self.log.policies_invalid(error.problems)


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


def _forwarder(settings: Settings, resolver: Resolver, metrics: Metrics) -> Forwarder:
    outbound, dns = settings.outbound, settings.dns
    dialler = Dialler(
        Handshake(
            helo=outbound.helo, timeouts=Timeouts(connect=outbound.connect_timeout), contexts=outbound_tls(settings)
        ),
        resolver,
        tls=TlsMode(outbound.tls),
        certificate=outbound.client_certificate,
        tlsa=TlsaResolver(dns.nameservers, timeout=dns.timeout) if dns.trust_ad else None,
        secret=partial(resolve_secret, environ=os.environ),
        listen=[(listener.host, listener.port) for listener in listeners(settings)],
        metrics=metrics,
    )
    queue = settings.queue
    pool = ConnectionPool(per_hop=queue.per_next_hop, idle=outbound.idle_timeout)
    # A next hop that is down may be probed again before the queue tries the mail that found it down.
    first, most = min(5.0, queue.first_retry / 2), min(300.0, queue.max_retry / 2)
    questions = ConnectionPool(
        per_hop=settings.verification.per_next_hop,
        idle=outbound.idle_timeout,
        uses=QUESTIONS,
        wait=settings.verification.timeout,
    )
    return Forwarder(
        pool,
        dialler,
        questions=questions,
        health=HopHealth(first=first, most=most, widest=queue.per_next_hop),
        metrics=metrics,
    )


def outbound_tls(settings: Settings) -> TlsContexts:
    """TLS towards other servers. Raises ConfigError when a file for it cannot be used, or DANE has no name server to trust."""
    if settings.outbound.tls == "dane" and not settings.dns.trust_ad:
        raise ConfigError([Problem("outbound.tls", "dane needs name servers that validate, and dns.trust_ad = true")])
    contexts = TlsContexts(ca_file=settings.outbound.ca_file)
    try:
        contexts.get(verified=True, certificate=settings.outbound.client_certificate)
    except TlsSetupError as error:
        raise ConfigError([Problem("outbound", str(error))]) from error
    return contexts


def _outbound(settings: Settings, resolver: Resolver) -> OutboundRoutes:
    outbound = settings.outbound
    smarthost, security = None, AS_SET_FOR_ALL
    if outbound.smarthost:
        host, port = split_host_port(outbound.smarthost)
        smarthost = NextHop(host, port)
        security = HopSecurity(username=outbound.smarthost_username, password=outbound.smarthost_password)
    sts = MtaSts(resolver, outbound_tls(settings)) if outbound.mta_sts else None
    return OutboundRoutes(resolver, hostname=settings.server.hostname, smarthost=smarthost, security=security, sts=sts)


def ldap_lookups(settings: Settings) -> LdapLookups:
    """What asks tenants' directory servers; also for the command line."""
    contexts = TlsContexts(ca_file=settings.outbound.ca_file)
    return LdapLookups(
        timeout=settings.verification.timeout,
        context=partial(contexts.get, verified=True),
        secret=partial(resolve_secret, environ=os.environ),
    )


def call_ahead_settings(settings: Settings) -> CallAheadSettings:
    """How call-aheads are asked, and how long their answers count."""
    verification = settings.verification
    return CallAheadSettings(
        positive=round(verification.positive_days * DAY),
        negative=round(verification.negative_ttl * SECOND),
        accepts_any=round(verification.accepts_any_ttl * SECOND),
        remembered=round(verification.remember_days * DAY),
        timeout=verification.timeout,
        in_flight=verification.per_tenant,
        memory=verification.cache_size,
    )


def listeners(settings: Settings) -> list[Listener]:
    """Where mail is taken in."""
    server = settings.server
    return [
        Listener(*split_host_port(text), proxy=proxy)
        for texts, proxy in ((server.listen, False), (server.proxy_listen, True))
        for text in texts
    ]


def smtp_settings(settings: Settings) -> SmtpSettings:
    """The door's limits and times."""
    server = settings.server
    return SmtpSettings(
        hostname=server.hostname,
        message_size=server.size_limit,
        bare_newline=server.bare_newline,
        strict_pipelining=server.strict_pipelining,
        greeting_delay=server.greeting_delay,
        dsn=server.dsn,
        chunking=server.chunking,
        memory_limit=server.memory_limit,
        memory_budget=server.memory_budget,
        spool_directory=settings.storage.path,
        recipients_per_message=server.recipients_per_message,
        messages_per_session=server.messages_per_session,
        commands_per_session=server.commands_per_session,
        errors_per_session=server.errors_per_session,
        junk_commands=server.junk_commands,
        session_time=server.session_time,
        command_timeout=server.command_timeout,
        data_time=server.data_time,
        max_connections=server.max_connections,
        connections_per_client=server.connections_per_client,
        connections_per_minute=server.connections_per_minute,
        unlimited_networks=server.unlimited_networks,
        proxy_networks=server.proxy_trusted,
    )


def _rate_settings(settings: Settings) -> RateSettings:
    limits = settings.limits
    return RateSettings(
        client_messages_per_minute=limits.client_messages_per_minute,
        client_messages_per_hour=limits.client_messages_per_hour,
        client_recipients_per_minute=limits.client_recipients_per_minute,
        client_recipients_per_hour=limits.client_recipients_per_hour,
        tenant_messages_per_minute=limits.tenant_messages_per_minute,
        unlimited_networks=settings.server.unlimited_networks,
    )


def _greylist_settings(settings: Settings) -> GreylistSettings:
    limits = settings.limits
    return GreylistSettings(
        delay=round(limits.greylist_delay * SECOND),
        window=round(limits.greylist_hours * HOUR),
        remembered=round(limits.greylist_days * DAY),
        auto_allow=limits.greylist_auto_allow,
    )


def certificate_files(settings: Settings) -> tuple[Path, Path]:
    """Certificate and key for STARTTLS; a self-made pair in the storage when none is configured."""
    server = settings.server
    if server.tls_certificate:
        return Path(server.tls_certificate), Path(server.tls_key)
    return self_made(settings.storage.path / "tls", hostname=server.hostname)
