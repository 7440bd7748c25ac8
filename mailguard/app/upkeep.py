"""What a worker does beside mail: small jobs at fixed intervals, some of them by one worker of all (under a lease)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mailguard.core.errors import UnavailableError
from mailguard.ops.log import get_logger
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.store.leases import Leases

FIRST_RUN = 2.0
"""Seconds until a job runs for the first time: a relay that is restarted each night still does its daily work."""
LEASE_MS = 60_000
"""How long one worker may be away before another takes scheduled work over."""


@dataclass(frozen=True, slots=True)
class Job:
    """`run` every `interval` seconds. `single`: by one worker of all that share the database, not by each.

    `lease`: seconds for which that worker alone may; by default three intervals, a minute at least. A shorter one lets a
    worker that starts later run the job again.
    """

    name: str
    interval: float
    run: Callable[[], Awaitable[object]]
    single: bool = False
    error: ErrorKind = ErrorKind.UPKEEP
    lease: float = 0.0


class Upkeep:
    """Runs the jobs until it is stopped. A job that fails is logged, counted and run again at its next time."""

    def __init__(self, jobs: Sequence[Job], *, leases: Leases, holder: str, metrics: Metrics) -> None:
        self._jobs = tuple(jobs)
        self._leases = leases
        self._holder = holder
        self._metrics = metrics
        self._log = get_logger("upkeep")
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; each job runs for the first time after FIRST_RUN, or its interval when that is shorter."""
        self._tasks = [asyncio.create_task(self._repeat(job), name=f"upkeep:{job.name}") for job in self._jobs]

    async def stop(self) -> None:
        """End all jobs, those under way included; none of them leaves anything half done."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _repeat(self, job: Job) -> None:
        pause = min(job.interval, FIRST_RUN)
        while True:
            await asyncio.sleep(pause)
            pause = job.interval
            try:
                if not job.single or await self._ours(job):
                    await job.run()
            except (UnavailableError, OSError) as error:
                self._metrics.failed(job.error)
                self._log.warning("upkeep_failed", job=job.name, error=str(error))
            except Exception:  # noqa: BLE001 -- a bug in one job must not end the others, or the worker's mail with them
                self._metrics.failed(job.error)
                self._log.exception("upkeep_failed", job=job.name)

    async def _ours(self, job: Job) -> bool:
        lease_ms = int(job.lease * 1000) or max(LEASE_MS, int(job.interval * 3000))
        return await self._leases.acquire(f"upkeep:{job.name}", self._holder, lease_ms=lease_ms) is not None
