"""Reads the RelayState of now: from the database, clamd, the disk and the certificate. What is away leaves out its own part."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy.engine import Connection

from mailguard.core.clock import SECOND
from mailguard.core.errors import UnavailableError
from mailguard.net.clamd import ClamdVersion
from mailguard.quarantine.hold import totals
from mailguard.store.directory import ReadsDatabase
from mailguard.store.engine import now
from mailguard.store.queue import depth_in
from mailguard.store.tenants import tenant_names
from mailguard.watch.probe_results import latest
from mailguard.web.state import KeptMail, ProbeState, QueueDepth, RelayState, ScannerState


class LiveState:
    """`read` is the StateReader that the composition root hands to the endpoints.

    `scanner_version` asks clamd and raises UnavailableError when it is away; None: no scanner is used.
    `certificate_expires` is in seconds since 1970. Counting what is kept reads every unit that is, so it is done at most every
    `kept_every` seconds.
    """

    def __init__(
        self,
        db: ReadsDatabase,
        *,
        storage: Path,
        scanner_version: Callable[[], Awaitable[ClamdVersion]] | None,
        certificate_expires: Callable[[], float | None] = lambda: None,
        kept_every: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._storage = storage
        self._scanner_version = scanner_version
        self._certificate_expires = certificate_expires
        self._kept_every = kept_every
        self._monotonic = monotonic
        self._kept: tuple[KeptMail, ...] = ()
        self._kept_until = float("-inf")

    async def read(self) -> RelayState:
        """Everything that can be read now."""
        (queue, kept, probes), scanner, storage_free, certificate_expires = await asyncio.gather(
            self._database(),
            self._scanner(),
            asyncio.to_thread(free_space, self._storage),
            asyncio.to_thread(self._certificate_expires),
        )
        return RelayState(
            now=time.time(),
            queue=queue,
            kept=kept,
            probes=probes,
            scanner=scanner,
            storage_free=storage_free,
            certificate_expires=certificate_expires,
        )

    async def _database(
        self,
    ) -> tuple[tuple[QueueDepth, ...] | None, tuple[KeptMail, ...] | None, tuple[ProbeState, ...] | None]:
        try:
            queue = await self._db.read(queue_depths)
            probes = await self._db.read(last_probes)
            if self._monotonic() >= self._kept_until:
                self._kept = await self._db.read(kept_mail)
                self._kept_until = self._monotonic() + self._kept_every
        except UnavailableError:
            return None, None, None
        return queue, self._kept, probes

    async def _scanner(self) -> ScannerState | None:
        if self._scanner_version is None:
            return None
        try:
            version = await self._scanner_version()
        except UnavailableError:
            return ScannerState(up=False)
        made = version.database_at.timestamp() if version.database_at else 0.0
        return ScannerState(up=True, signature_version=version.database or 0, signatures_at=made)


def queue_depths(conn: Connection) -> tuple[QueueDepth, ...]:
    """What waits in the queue, by tenant and purpose."""
    names = tenant_names(conn)
    at = now(conn)
    return tuple(
        QueueDepth(names[depth.tenant], depth.purpose, depth.count, max(0, at - depth.oldest_at) / SECOND)
        for depth in depth_in(conn)
    )


def kept_mail(conn: Connection) -> tuple[KeptMail, ...]:
    """What is kept outside the queue, by tenant and state."""
    names = tenant_names(conn)
    return tuple(KeptMail(names[tenant], state, mails, size) for tenant, state, mails, size in totals(conn))


def last_probes(conn: Connection) -> tuple[ProbeState, ...]:
    """The last recorded probe of each tenant."""
    at = now(conn)
    return tuple(ProbeState(probe.tenant, max(0, at - probe.at) / SECOND, probe.ok) for probe in latest(conn))


def free_space(path: Path) -> int | None:
    """Free bytes in a directory's file system; None when it cannot be told."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
