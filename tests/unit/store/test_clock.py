"""Clocks that jump, leap days and changes to summer time: what docs/store.md says of them, on both databases."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.core.events import State
from mailguard.delivery.backoff import Backoff
from mailguard.store import schema
from mailguard.store.clock_step import draw_near_in
from mailguard.store.db import Database
from mailguard.store.leases import Leases
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore
from tests.unit.store.conftest import ManualClock, OpenDatabase
from tests.unit.store.mail import a_move, an_entry
from tests.unit.store.test_queue import names, row, spool

LEASE = 5 * MINUTE
LONGEST = 75 * MINUTE
NEW_YORK, BERLIN, KIRITIMATI = "America/New_York", "Europe/Berlin", "Pacific/Kiritimati"


@pytest.fixture
def store(db: Database) -> QueueStore:
    return QueueStore(db)


async def draw_near(db: Database) -> int:
    return await db.write(lambda c: draw_near_in(c, longest_wait=LONGEST, lease=15 * MINUTE, worker_lease=MINUTE))


async def due_at(db: Database, unit: str) -> int:
    return int((await row(db, unit)).due_at)


async def test_backward_an_hour_nothing_is_due_twice(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    [first, second] = await spool(ledger, 2)
    [one] = await store.claim("w1", limit=1, lease_ms=LEASE)
    [two] = await store.claim("w2", limit=9, lease_ms=LEASE)
    assert {one.unit, two.unit} == {first, second}
    clock.advance(-HOUR)
    assert await store.claim("w3", limit=9, lease_ms=LEASE) == []
    assert await draw_near(db) == 2
    assert await store.claim("w3", limit=9, lease_ms=LEASE) == []  # their holders may be at it still
    # A failed attempt: a minute from the new time, and not before.
    assert await store.reschedule([one], due_at=clock.now + MINUTE, reply="451 busy") == [one]
    clock.advance(MINUTE - 1)
    assert await store.claim("w3", limit=9, lease_ms=LEASE) == []
    clock.advance(1)
    [again] = await store.claim("w3", limit=9, lease_ms=LEASE)
    assert (again.unit, again.attempts, again.crashes) == (one.unit, 1, 0)


async def test_backward_an_hour_a_dead_holders_lease_does_not_last_an_hour(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    [unit] = await spool(ledger)
    [old] = await store.claim("dead", limit=1, lease_ms=LEASE)
    clock.advance(-HOUR)
    await draw_near(db)
    assert await due_at(db, unit) == clock.now + 15 * MINUTE
    clock.advance(15 * MINUTE)
    [new] = await store.claim("w2", limit=1, lease_ms=LEASE)
    assert new.crashes == 1
    assert new.fence > old.fence  # though the clock is behind: fences count, they do not tell the time
    assert await store.renew([old], lease_ms=LEASE) == []


async def test_backward_a_living_holder_keeps_its_lease(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    [unit] = await spool(ledger)
    [claim] = await store.claim("w1", limit=1, lease_ms=LEASE)
    clock.advance(-DAY)
    await draw_near(db)
    assert await store.renew([claim], lease_ms=LEASE) == [claim]
    assert await due_at(db, unit) == clock.now + LEASE
    assert await draw_near(db) == 0


async def test_backward_what_waits_waits_no_longer_than_the_longest_pause(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    [soon] = await spool(ledger, queue=an_entry(due_at=clock.now + 30 * MINUTE))
    [held] = await spool(ledger)
    await db.write(lambda c: c.execute(schema.queue.update().where(schema.queue.c.unit == held).values(
        held=True, due_at=2**53)).rowcount)  # fmt: skip
    clock.advance(-HOUR)
    assert await draw_near(db) == 1
    assert names(await store.claim("w", limit=9, lease_ms=LEASE)) == {soon}
    assert await due_at(db, held) == 2**53


async def test_backward_dead_workers_are_still_found_dead(db: Database, clock: ManualClock) -> None:
    leases = Leases(db)
    await leases.beat("alive", lease_ms=30_000)
    await leases.beat("dead", lease_ms=30_000)
    clock.advance(-HOUR)
    await draw_near(db)
    await leases.beat("alive", lease_ms=30_000)
    clock.advance(MINUTE)
    await leases.beat("alive", lease_ms=30_000)
    assert [lease.holder for lease in await leases.workers()] == ["alive"]


async def test_forward_a_day_nothing_expires_earlier_than_by_a_day(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    start = clock.now
    [unit] = await spool(ledger, queue=an_entry(due_at=start + HOUR, expires_at=start + 5 * DAY))
    clock.advance(DAY)
    [claim] = await store.claim("w", limit=1, lease_ms=LEASE)  # tried at once: early, not lost
    assert claim.unit == unit
    assert claim.expires_at - clock.now == 4 * DAY
    assert (claim.attempts, claim.crashes) == (0, 0)
    clock.advance(-DAY)  # and set right again
    assert await store.renew([claim], lease_ms=LEASE) == [claim]
    await store.reschedule([claim], due_at=clock.now + MINUTE, reply="451")
    assert claim.expires_at - clock.now == 5 * DAY
    assert await due_at(db, unit) == clock.now + MINUTE


async def test_forward_a_day_a_worker_does_not_claim_what_it_has_in_hand(
    ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    await spool(ledger, 2)
    [claim] = await store.claim("w1", limit=1, lease_ms=LEASE)
    clock.advance(DAY)
    [other] = await store.claim("w1", limit=9, lease_ms=LEASE, without={claim.unit})
    assert other.unit != claim.unit
    assert await store.renew([claim], lease_ms=LEASE) == [claim]
    clock.advance(LEASE - 1)
    assert await store.claim("w2", limit=9, lease_ms=LEASE) == []


@pytest.fixture(params=[NEW_YORK, BERLIN, KIRITIMATI])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


MOMENTS = {
    "leap day": datetime(2028, 2, 28, 23, 59, 30, tzinfo=UTC),
    "after a leap day": datetime(2028, 2, 29, 23, 59, 30, tzinfo=UTC),
    "Berlin's summer begins": datetime(2027, 3, 28, 0, 59, 30, tzinfo=UTC),
    "Berlin's summer ends": datetime(2027, 10, 31, 0, 59, 30, tzinfo=UTC),
    "New York's summer ends": datetime(2027, 11, 7, 5, 59, 30, tzinfo=UTC),
    "leap second of 2016": datetime(2016, 12, 31, 23, 59, 30, tzinfo=UTC),
}


async def test_leap_days_and_summer_time_change_nothing(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock, zone: str
) -> None:
    """A minute is a minute, a day is 24 hours, wherever the machine stands."""
    assert os.environ["TZ"] == zone
    for moment in MOMENTS.values():
        clock.now = start = int(moment.timestamp() * 1000)
        [unit] = await spool(ledger, queue=an_entry(due_at=start + MINUTE, expires_at=start + 5 * DAY))
        clock.advance(MINUTE - 1)
        assert await store.claim("w", limit=9, lease_ms=LEASE) == []
        clock.advance(1)
        [claim] = await store.claim("w", limit=9, lease_ms=LEASE)
        assert claim.expires_at - clock.now == 5 * DAY - MINUTE
        clock.advance(LEASE - 1)
        assert await store.claim("w", limit=9, lease_ms=LEASE) == []
        await store.renew([claim], lease_ms=LEASE)
        due = Backoff().next_attempt(20, now=clock.now)
        assert 54 * MINUTE <= due - clock.now <= 66 * MINUTE
        await store.reschedule([claim], due_at=due, reply="451")
        clock.now = due
        [again] = await store.claim("w", limit=9, lease_ms=LEASE)
        assert (again.unit, again.crashes) == (unit, 0)
        await ledger.move([a_move(unit, State.DELIVERED, fence=again.fence)])
    assert await db.read(lambda c: c.scalar(select(schema.queue.c.unit))) is None


async def test_the_databases_own_clock_is_utc_wherever_it_stands(open_db: OpenDatabase, zone: str) -> None:
    db = open_db(clock=None)
    at = await db.read(db.now)
    assert abs(at - time.time_ns() // 1_000_000) < 5_000, zone
