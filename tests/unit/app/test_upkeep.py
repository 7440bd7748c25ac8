"""Scheduled work: soon after the start, again and again, by one worker of all, whatever one job comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from mailguard.app import upkeep
from mailguard.app.upkeep import Job, Upkeep
from mailguard.core.errors import UnavailableError
from mailguard.ops.metrics import Metrics
from mailguard.store.db import Database
from mailguard.store.leases import Leases
from mailguard.store.migrations import upgrade


@pytest.fixture
async def leases(tmp_path: Path) -> AsyncIterator[Leases]:
    url = f"sqlite:///{tmp_path}/mailguard.db"
    upgrade(url)
    db = Database.open(url)
    yield Leases(db)
    await db.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "FIRST_RUN", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def counting(counts: list[str], name: str, *, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        counts.append(name)
        if error is not None:
            raise error

    return run


async def test_a_daily_job_runs_soon_after_the_start(leases: Leases) -> None:
    ran: list[str] = []
    kept = Upkeep(
        [Job("daily", 86_400.0, counting(ran, "daily"))],
        leases=leases,
        holder="w1",
        metrics=Metrics(CollectorRegistry()),
    )
    kept.start()
    await until(lambda: ran == ["daily"])
    await kept.stop()
    assert ran == ["daily"]


async def test_a_failing_job_is_counted_and_runs_again_beside_the_others(leases: Leases) -> None:
    ran: list[str] = []
    metrics = Metrics(CollectorRegistry())
    jobs = [
        Job("away", 0.01, counting(ran, "away", error=UnavailableError("gone"))),
        Job("bug", 0.01, counting(ran, "bug", error=KeyError("x"))),
        Job("fine", 0.01, counting(ran, "fine")),
    ]
    kept = Upkeep(jobs, leases=leases, holder="w1", metrics=metrics)
    kept.start()
    await until(lambda: all(ran.count(name) >= 3 for name in ("away", "bug", "fine")))
    await kept.stop()
    assert metrics.registry.get_sample_value("mailguard_errors_total", {"kind": "upkeep"}) >= 5


async def test_one_worker_of_all_does_it_and_the_next_when_that_one_ends(leases: Leases) -> None:
    ran: list[str] = []
    metrics = Metrics(CollectorRegistry())
    first, second = (
        Upkeep([Job("job", 0.01, counting(ran, name), single=True)], leases=leases, holder=name, metrics=metrics)
        for name in ("w1", "w2")
    )
    first.start()
    await until(lambda: len(ran) >= 2)
    second.start()
    await until(lambda: len(ran) >= 6)
    assert set(ran) == {"w1"}
    await first.stop()
    await leases.leave("w1")
    await until(lambda: "w2" in ran)
    await second.stop()
