"""Refusals: each one when they come slowly, counts when they flood, and none is lost from the sum."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from mailguard.core.clock import MINUTE
from mailguard.core.decision import Reason
from mailguard.core.envelope import Session
from mailguard.core.errors import UnavailableError
from mailguard.core.reply import Reply
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store.db import Database
from mailguard.store.refusals import WINDOW, Refusals
from mailguard.store.schema import addresses, refusals
from tests.unit.store.conftest import ManualClock

SESSION = Session("s", "192.0.2.1", 25, "helo\0.example")
UNKNOWN = Reply(550, "5.1.1", "No such user")
RELAY = Reply(550, "5.7.1", "<x@nobody.example>: no relaying")


async def rows(db: Database) -> list[tuple[object, ...]]:
    r = refusals.c
    statement = select(r.at, r.tenant, r.reason, r.code, r.reply, r.client_ip, r.mail_from, r.recipient, r.count)
    return [tuple(row) for row in await db.read(lambda c: c.execute(statement.order_by(r.id)).all())]


async def total(db: Database) -> int:
    return int(await db.read(lambda c: c.scalar(select(func.sum(refusals.c.count)))) or 0)


async def test_a_slow_refusal_is_a_row_with_all_that_the_trace_wants(db: Database, clock: ManualClock) -> None:
    kept = Refusals(db, clock)
    kept.record(
        SYSTEM_TENANT,
        Reason.UNKNOWN_RECIPIENT,
        UNKNOWN,
        session=SESSION,
        mail_from="a@x.example",
        recipient="B@client.test",
    )
    kept.record(SYSTEM_TENANT, Reason.RATE_LIMIT, Reply(421, "4.7.0", "Slow down"), session=SESSION)
    await kept.flush()
    await kept.flush()
    first, second = await rows(db)
    assert first[:6] == (clock.now, SYSTEM_TENANT, "unknown_recipient", 550, "550 5.1.1 No such user", "192.0.2.1")
    names = dict(await db.read(lambda c: c.execute(select(addresses.c.id, addresses.c.address)).all()))
    assert (names[first[6]], names[first[7]], first[8]) == ("a@x.example", "b@client.test", 1)
    assert second[6:] == (None, None, 1)


async def test_a_flood_becomes_counts(db: Database, clock: ManualClock) -> None:
    kept = Refusals(db, clock, per_minute=10)
    for second in range(100):
        for number in range(50):
            kept.record(SYSTEM_TENANT, Reason.UNKNOWN_RECIPIENT, UNKNOWN, recipient=f"u{number}@client.test")
        if second % 10 == 9:
            await kept.flush()
        clock.advance(1000)
    assert await total(db) == 5000
    found = await rows(db)
    assert len(found) <= 30 + 2  # ten in each of the minutes touched, and a counting row a window
    counting = [row for row in found if row[8] != 1]
    assert all(row[5:8] == ("", None, None) and row[4] == "550 5.1.1" for row in counting)


async def test_a_hundred_thousand_for_unknown_domains_are_few_rows_and_no_addresses(
    db: Database, clock: ManualClock
) -> None:
    kept = Refusals(db, clock)
    for number in range(100_000):
        kept.record(None, Reason.UNKNOWN_DOMAIN, RELAY, session=SESSION, recipient=f"{number}@nobody{number}.example")
        if number % 10_000 == 0:
            await kept.flush()
            clock.advance(MINUTE)
    await kept.flush()
    assert await total(db) == 100_000
    assert len(await rows(db)) <= 2
    assert await db.read(lambda c: c.scalar(select(func.count()).select_from(addresses))) == 0


async def test_memory_is_bounded_while_the_database_is_away(
    db: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Refusals(db, clock, per_minute=1_000_000, buffer=100)

    async def away(*_: object, **__: object) -> object:
        raise UnavailableError("database unavailable")

    monkeypatch.setattr(db, "write", away)
    for _ in range(1_000):
        kept.record(SYSTEM_TENANT, Reason.RATE_LIMIT, UNKNOWN)
    with pytest.raises(UnavailableError):
        await kept.flush()
    assert len(kept._rows) == 100
    kept.record(None, Reason.UNKNOWN_DOMAIN, RELAY)
    monkeypatch.undo()
    await kept.flush()
    assert await total(db) == 1_001


async def test_counts_that_come_during_a_flush_are_kept(
    db: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Refusals(db, clock)
    kept.record(None, Reason.UNKNOWN_DOMAIN, RELAY)
    write = db.write

    async def meanwhile(*args: object, **settings: object) -> object:
        kept.record(None, Reason.UNKNOWN_DOMAIN, RELAY)
        kept.record(SYSTEM_TENANT, Reason.RATE_LIMIT, UNKNOWN)
        return await write(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(db, "write", meanwhile)
    await kept.flush()
    monkeypatch.undo()
    await kept.flush()
    assert await total(db) == 3


async def test_each_window_has_its_own_counting_row(db: Database, clock: ManualClock) -> None:
    kept = Refusals(db, clock)
    for _ in range(3):
        for _ in range(4):
            kept.record(None, Reason.UNKNOWN_DOMAIN, RELAY)
            await kept.flush()
        clock.advance(WINDOW)
    found = await rows(db)
    assert [row[8] for row in found] == [4, 4, 4]
    assert all(int(str(row[0])) % WINDOW == 0 for row in found)
