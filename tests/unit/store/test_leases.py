"""Leases: one holder at a time, by the database's clock, with a fence that tells holders apart."""

from __future__ import annotations

import asyncio

import pytest

from mailguard.core.errors import ConflictError
from mailguard.store.db import Database
from mailguard.store.leases import Leases, require_in
from tests.unit.store.conftest import ManualClock, OpenDatabase


@pytest.fixture
def leases(db: Database) -> Leases:
    return Leases(db)


async def test_one_holds_it_until_it_runs_out(leases: Leases, clock: ManualClock) -> None:
    first = await leases.acquire("upkeep", "a", lease_ms=1000)
    assert first is not None
    assert first.until == clock.now + 1000
    assert await leases.acquire("upkeep", "b", lease_ms=1000) is None
    clock.advance(999)
    renewed = await leases.acquire("upkeep", "a", lease_ms=1000)
    assert renewed is not None
    assert renewed.fence == first.fence
    clock.advance(1000)
    second = await leases.acquire("upkeep", "b", lease_ms=1000)
    assert second is not None
    assert second.fence > first.fence


async def test_the_fence_tells_that_one_was_thought_dead(leases: Leases, clock: ManualClock) -> None:
    first = await leases.beat("w1", lease_ms=1000)
    clock.advance(5000)
    assert await leases.workers() == ()
    again = await leases.beat("w1", lease_ms=1000)
    assert first is not None
    assert again is not None
    assert again.fence > first.fence


async def test_it_can_be_given_up(leases: Leases) -> None:
    first = await leases.acquire("upkeep", "a", lease_ms=1000)
    assert not await leases.release("upkeep", "b")
    assert await leases.release("upkeep", "a")
    assert not await leases.release("upkeep", "a")
    second = await leases.acquire("upkeep", "b", lease_ms=1000)
    assert first is not None
    assert second is not None
    assert second.fence > first.fence


async def test_worker_that_has_ended_leaves_its_work_to_others(leases: Leases) -> None:
    await leases.beat("w1", lease_ms=1000)
    await leases.beat("w2", lease_ms=1000)
    assert await leases.acquire("upkeep:expiry", "w1", lease_ms=60_000)
    assert await leases.acquire("upkeep:bodies", "w2", lease_ms=60_000)
    assert await leases.leave("w1")
    assert [lease.holder for lease in await leases.workers()] == ["w2"]
    assert await leases.acquire("upkeep:expiry", "w2", lease_ms=60_000)
    assert await leases.acquire("upkeep:bodies", "w1", lease_ms=60_000) is None
    assert not await leases.leave("w1")


async def test_of_many_at_once_one_gets_it(open_db: OpenDatabase) -> None:
    each = [Leases(open_db()), Leases(open_db())]
    attempts = (each[n % 2].acquire("upkeep", f"w{n}", lease_ms=1000) for n in range(20))
    assert sum(lease is not None for lease in await asyncio.gather(*attempts)) == 1


async def test_scheduled_work_stops_when_its_lease_has_passed_on(
    db: Database, leases: Leases, clock: ManualClock
) -> None:
    lease = await leases.acquire("upkeep", "a", lease_ms=1000)
    assert lease is not None
    await db.write(lambda connection: require_in(connection, lease))
    clock.advance(1000)
    await db.write(lambda connection: require_in(connection, lease))  # late, but nobody else has begun
    await leases.acquire("upkeep", "b", lease_ms=1000)
    with pytest.raises(ConflictError, match="passed to another"):
        await db.write(lambda connection: require_in(connection, lease))


async def test_workers_live_leave_and_are_forgotten(leases: Leases, clock: ManualClock) -> None:
    await leases.acquire("upkeep", "a", lease_ms=10)
    await leases.beat("w1", lease_ms=1000)
    await leases.beat("w2", lease_ms=1000)
    assert [lease.holder for lease in await leases.workers()] == ["w1", "w2"]
    assert await leases.leave("w1")
    assert [lease.holder for lease in await leases.workers()] == ["w2"]
    clock.advance(10_000)
    assert await leases.forget_workers(older_ms=5_000) == 2
    assert await leases.acquire("upkeep", "b", lease_ms=10) is not None
