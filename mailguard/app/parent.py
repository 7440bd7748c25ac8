"""`mailguard serve`: the parent process. Prepares database and storage, runs the workers, answers /metrics and health."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from mailguard.app.filter import build_filter
from mailguard.app.supervisor import Supervisor
from mailguard.app.wiring import certificate_files, outbound_tls
from mailguard.config import Settings
from mailguard.config.load import FILE_VARIABLE
from mailguard.config.values import split_host_port
from mailguard.core.errors import ConfigError, Problem, UnavailableError
from mailguard.core.tenant import Directory
from mailguard.net.clamd import ClamdClient
from mailguard.net.clamd_probe import probe
from mailguard.ops import log as logs
from mailguard.ops import metrics as shared_metrics
from mailguard.ops.clamd_conf import clamd_problems
from mailguard.ops.health import Health, storage_probe
from mailguard.ops.metrics import MULTIPROCESS_VARIABLE, Metrics
from mailguard.smtp.tls import TlsCertificate, certificate_expiry
from mailguard.store.db import Database
from mailguard.store.journal import settle_left_behind
from mailguard.store.leases import Leases
from mailguard.store.migrations import upgrade
from mailguard.web.app import Endpoints, make_app
from mailguard.web.live import LiveState
from mailguard.web.server import HttpServer

SCANNER_RETRY = 30.0
"""Seconds until a clamd that did not answer at start is asked again how it is configured."""


def serve(settings: Settings, *, config: Path | None) -> int:
    """Run the relay until SIGTERM or SIGINT; the exit code. Raises ConfigError and UnavailableError before it starts."""
    logs.configure(level=settings.log.level, form=settings.log.format)
    settings.storage.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What every worker would trip over is reported once, here, before any of them starts.
    problems = _scanner_file_problems(settings)
    if problems:
        raise ConfigError(problems)
    build_filter(settings, directory=Directory)
    TlsCertificate(*certificate_files(settings))
    outbound_tls(settings)
    upgrade(settings.database.url)
    return uvloop.run(_Parent(settings, config).run())


def _scanner_file_problems(settings: Settings) -> list[Problem]:
    if not settings.clamav.config_file or "clamav" not in settings.checks.enabled:
        return []
    return clamd_problems(Path(settings.clamav.config_file), size_limit=settings.server.size_limit)


class _Parent:
    """The parent's services. `config` is handed on to the workers."""

    def __init__(self, settings: Settings, config: Path | None) -> None:
        self._settings = settings
        self._shared = settings.storage.path / "metrics"
        shared_metrics.clear_shared(self._shared)
        shared_metrics.share(self._shared)
        self._metrics = Metrics(CollectorRegistry())
        self._log = logs.get_logger("serve")
        self._db = Database.open(settings.database.url, readers=2, busy_timeout=settings.database.lock_timeout)
        self._leases = Leases(self._db)
        self._clamd = ClamdClient(settings.clamav.address, timeout=3.0, connections=1, connect_timeout=2.0)
        self._endings: set[asyncio.Task[None]] = set()
        environment = dict(os.environ) | {MULTIPROCESS_VARIABLE: str(self._shared)}
        if config is not None:
            environment[FILE_VARIABLE] = str(config)
        self._supervisor = Supervisor(
            workers=settings.server.workers,
            command=(sys.executable, "-m", "mailguard.app.worker"),
            environment=environment,
            drain_seconds=settings.server.drain_seconds,
            on_death=self._worker_ended,
            on_change=self._count_workers,
        )

    async def run(self) -> int:
        """Start, wait for a signal, drain. 1 when a worker cannot start."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._db.close)
            stack.push_async_callback(self._clamd.close)
            http = self._http()
            if http is not None:
                await http.start()
                stack.push_async_callback(http.stop)
            try:
                await self._supervisor.start()
            except RuntimeError as error:
                self._log.error("cannot_start", error=str(error))
                return 1
            server = self._settings.server
            self._log.info(
                "ready", listen=[*server.listen, *server.proxy_listen], http=self._settings.http.listen, pid=os.getpid()
            )
            verifying = asyncio.create_task(self._verify_scanner())
            await stopping.wait()
            verifying.cancel()
            self._log.info("draining", seconds=server.drain_seconds)
            await self._supervisor.stop()
            if self._endings:
                await asyncio.wait(self._endings, timeout=5)
        self._log.info("stopped")
        return 0

    async def _verify_scanner(self) -> None:
        """Once clamd answers: does it say so when it stops at a limit, and does it take the largest mail?"""
        if "clamav" not in self._settings.checks.enabled:
            return
        size_limit = self._settings.server.size_limit
        scanner = ClamdClient(self._settings.clamav.address, timeout=60.0, connections=1)
        while True:
            try:
                problems = await probe(scanner, size_limit=size_limit)
                break
            except UnavailableError:
                await asyncio.sleep(SCANNER_RETRY)
        await scanner.close()
        for problem in problems:
            self._log.error("clamd_misconfigured", where=problem.where, problem=problem.message)
        if not problems:
            self._log.info("clamd_verified", size_limit=size_limit)

    def _reload(self) -> None:
        self._log.info("reloading")
        self._supervisor.reload()

    def _count_workers(self) -> None:
        self._metrics.workers_ready.set(self._supervisor.ready_workers)

    def _worker_ended(self, instance: str, pid: int, status: int) -> None:
        """Settle what a worker leaves behind: its live gauges, its journal, and its leases, so that no mail waits for them."""
        shared_metrics.forget_process(self._shared, pid)
        if status:
            self._metrics.worker_restarts.inc()
        task = asyncio.create_task(self._bury(instance))
        self._endings.add(task)
        task.add_done_callback(self._buried)

    async def _bury(self, instance: str) -> None:
        await settle_left_behind(self._settings.storage.path / "journal", self._db)
        await self._leases.bury(instance)

    def _buried(self, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.warning("leases_not_ended", error=str(task.exception()))  # they run out by themselves

    # what the HTTP listener shows

    def _http(self) -> HttpServer | None:
        if not self._settings.http.listen:
            return None
        storage = self._settings.storage
        health = Health(
            {
                "database": self._database_answers,
                "storage": storage_probe(storage.path, min_free_bytes=storage.min_free_bytes),
                "clamd": self._clamd_answers,
                "workers": self._workers_are_ready,
            }
        )
        host, port = split_host_port(self._settings.http.listen)
        certificate, _ = certificate_files(self._settings)
        scanned = "clamav" in self._settings.checks.enabled
        state = LiveState(
            self._db,
            storage=storage.path,
            scanner_version=self._clamd.version if scanned else None,
            certificate_expires=partial(certificate_expiry, certificate),
        )
        endpoints = Endpoints(health=health, read_state=state.read, shared=self._shared)
        return HttpServer(make_app(endpoints), host=host, port=port)

    async def _database_answers(self) -> str:
        await self._db.read(lambda connection: connection.scalar(select(1)))
        return self._db.dialect

    async def _clamd_answers(self) -> str:
        if "clamav" not in self._settings.checks.enabled:
            return "not used"
        version = await self._clamd.version()
        return f"ClamAV {version.engine}, signatures {version.database or 'without a number'}"

    async def _workers_are_ready(self) -> str:
        ready, wanted = self._supervisor.ready_workers, self._settings.server.workers
        if not ready:
            raise UnavailableError(f"0 of {wanted} workers ready")
        return f"{ready} of {wanted} workers ready"
