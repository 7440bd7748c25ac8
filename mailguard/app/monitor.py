"""The monitor process: answers /metrics and health, settles what ended workers leave behind, asks clamd how it is configured."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack
from functools import partial

import uvloop
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from mailguard.app.wiring import certificate_files
from mailguard.config import Settings
from mailguard.config.values import split_host_port
from mailguard.core.errors import MailGuardError, UnavailableError
from mailguard.net.clamd import ClamdClient
from mailguard.net.clamd_probe import probe
from mailguard.ops import log as logs
from mailguard.ops.health import Health, storage_probe
from mailguard.ops.metrics import Metrics
from mailguard.smtp.tls import certificate_expiry
from mailguard.store.db import Database
from mailguard.store.journal import settle_left_behind
from mailguard.store.leases import Leases
from mailguard.web.app import Endpoints, make_app
from mailguard.web.live import LiveState
from mailguard.web.server import HttpServer

SCANNER_RETRY = 30.0
"""Seconds until a clamd that did not answer at start is asked again how it is configured."""


def run_monitor(settings: Settings, control: socket.socket, instance: str) -> int:
    """The process: until its parent says so over `control`, or is gone. 1 when its listener or the database cannot be had."""
    try:
        uvloop.run(_Monitor(settings).run(control))
    except (MailGuardError, OSError) as error:
        logs.get_logger("monitor").error("cannot_start", listen=settings.http.listen, error=str(error))
        return 1
    return 0


class _Monitor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shared = settings.storage.path / "metrics"
        self._metrics = Metrics(CollectorRegistry())
        self._log = logs.get_logger("monitor")
        self._db = Database.open(settings.database.url, readers=2, busy_timeout=settings.database.lock_timeout)
        self._leases = Leases(self._db)
        self._clamd = ClamdClient(settings.clamav.address, timeout=3.0, connections=1, connect_timeout=2.0)
        self._endings: set[asyncio.Task[None]] = set()
        self._ready_workers = 0
        storage = settings.storage
        self._health = Health(
            {
                "database": self._database_answers,
                "storage": storage_probe(storage.path, min_free_bytes=storage.min_free_bytes),
                "clamd": self._clamd_answers,
                "workers": self._workers_are_ready,
            }
        )

    async def run(self, control: socket.socket) -> None:
        """Serve until `control` says `end`; what it says meanwhile is in Supervisor. Raises OSError when it cannot listen."""
        # The parent alone says when to end: after the last worker, and when it is gone itself.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        reader, writer = await asyncio.open_connection(sock=control)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._db.close)
            stack.push_async_callback(self._clamd.close)
            http = self._http()
            if http is not None:
                await http.start()
                stack.push_async_callback(http.stop)
            writer.write(b"ready\n")
            verifying = asyncio.create_task(self._verify_scanner())
            while (line := await reader.readline()) and line != b"end\n":
                self._hear(*line.decode("ascii").split())
            if not line:
                os._exit(1)  # the parent was killed: whoever starts in its place wants our port at once
            verifying.cancel()
            if self._endings:
                await asyncio.wait(self._endings, timeout=5)
        writer.close()

    def _hear(self, what: str, subject: str, *more: str) -> None:
        if what == "ready":
            self._ready_workers = int(subject)
            self._metrics.workers_ready.set(self._ready_workers)
            self._health.forget()
            return
        if int(more[-1]):
            self._metrics.worker_restarts.inc()
        task = asyncio.create_task(self._bury(subject))
        self._endings.add(task)
        task.add_done_callback(self._buried)

    async def _bury(self, instance: str) -> None:
        """Settle what a worker leaves behind, its journal and its leases, so that no mail waits for them."""
        await settle_left_behind(self._settings.storage.path / "journal", self._db)
        await self._leases.bury(instance)

    def _buried(self, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.warning("leases_not_ended", error=str(task.exception()))  # they run out by themselves

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

    # what the HTTP listener shows

    def _http(self) -> HttpServer | None:
        if not self._settings.http.listen:
            return None
        host, port = split_host_port(self._settings.http.listen)
        certificate, _ = certificate_files(self._settings)
        scanned = "clamav" in self._settings.checks.enabled
        state = LiveState(
            self._db,
            storage=self._settings.storage.path,
            scanner_version=self._clamd.version if scanned else None,
            certificate_expires=partial(certificate_expiry, certificate),
        )
        endpoints = Endpoints(health=self._health, read_state=state.read, shared=self._shared)
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
        ready, wanted = self._ready_workers, self._settings.server.workers
        if not ready:
            raise UnavailableError(f"0 of {wanted} workers ready")
        return f"{ready} of {wanted} workers ready"
