"""The queue: fair claims, leases with fences, rescheduling, and what admins do to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Row, insert, select, update

from mailguard.core.decision import Reason
from mailguard.core.envelope import MailOptions, RcptOptions
from mailguard.core.errors import NotFoundError
from mailguard.core.events import EventKind, MailEvent, State
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import CheckResult, Findings
from mailguard.store import schema
from mailguard.store.claims import Claim
from mailguard.store.consistency import check_in
from mailguard.store.db import Database
from mailguard.store.ledger import Ledger
from mailguard.store.queue import NEVER, QueueStore
from tests.unit.store.conftest import ManualClock, OpenDatabase
from tests.unit.store.mail import DAY, START, a_message, a_move, a_unit, an_entry

LEASE = 60_000


@pytest.fixture
def store(db: Database) -> QueueStore:
    return QueueStore(db)


async def tenant(db: Database, name: str) -> int:
    statement = insert(schema.tenants).values(name=name, created_at=START).returning(schema.tenants.c.id)
    return await db.write(lambda c: c.execute(statement).scalar_one())


async def spool(ledger: Ledger, count: int = 1, **fields: object) -> list[str]:
    """Units, each of its own message, in the queue."""
    made = []
    for _ in range(count):
        new = a_message(blob=True)
        await ledger.begin(new, [a_unit(State.SPOOLED, **fields)])
        made.append(f"{new.id}-1")
    return made


async def row(db: Database, unit: str) -> Row[Any]:
    return await db.read(lambda c: c.execute(select(schema.queue).where(schema.queue.c.unit == unit)).one())


def names(claims: list[Claim]) -> set[str]:
    return {claim.unit for claim in claims}


async def test_a_claim_has_all_that_a_delivery_takes(ledger: Ledger, store: QueueStore, clock: ManualClock) -> None:
    findings = Findings((CheckResult("spf"),), from_address="alice@sender.example")
    message = a_message(blob=True, findings=findings)
    await ledger.begin(message, [a_unit(State.SPOOLED)])
    [claim] = await store.claim("w1", limit=10, lease_ms=LEASE)
    assert claim == Claim(
        unit=f"{message.id}-1",
        message=message.id,
        tenant=SYSTEM_TENANT,
        domain="client.test",
        purpose="forward",
        attempts=0,
        crashes=0,
        fence=claim.fence,
        queued_at=clock.now,
        expires_at=START + 5 * DAY,
        lease_until=clock.now + LEASE,
        last_reply="",
        received_at=START,
        size=1000,
        mail_from="Alice@Sender.example",
        recipient="Bob1@Client.test",
        mail_options=MailOptions(size=1000, eight_bit=True),
        rcpt_options=RcptOptions(("FAILURE",), "rfc822;b"),
        headers="X-MailGuard-Verdict: clean\r\n",
    )
    assert await store.findings(message.id) == findings
    with pytest.raises(NotFoundError):
        await store.findings("none")


async def test_only_what_is_due_is_claimed_and_only_once(ledger: Ledger, store: QueueStore, clock: ManualClock) -> None:
    [now] = await spool(ledger)
    [later] = await spool(ledger, queue=an_entry(due_at=START + 1000))
    assert names(await store.claim("w1", limit=10, lease_ms=LEASE)) == {now}
    assert await store.claim("w2", limit=10, lease_ms=LEASE) == []
    assert await store.next_due() == START + 1000
    clock.advance(1000)
    assert names(await store.claim("w2", limit=10, lease_ms=LEASE)) == {later}


async def test_a_lease_that_ran_out_counts_a_crash_and_raises_the_fence(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    await spool(ledger)
    [old] = await store.claim("w1", limit=10, lease_ms=LEASE)
    clock.advance(LEASE)
    [new] = await store.claim("w2", limit=10, lease_ms=LEASE)
    assert (new.crashes, new.attempts) == (1, 0)
    assert new.fence > old.fence
    assert await store.renew([old], lease_ms=LEASE) == []
    assert await store.reschedule([old], due_at=clock.now, reply="") == []
    assert await store.give_back([old]) == []
    assert await store.renew([new], lease_ms=LEASE * 2) == [new]
    clock.advance(LEASE)
    assert await store.claim("w3", limit=10, lease_ms=LEASE) == []


async def test_rescheduling_counts_the_attempt_and_notes_it(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    [unit] = await spool(ledger)
    claims = await store.claim("w1", limit=10, lease_ms=LEASE)
    event = MailEvent(unit, clock.now, EventKind.ATTEMPT, Reason.NEXT_HOP_UNAVAILABLE, detail={"reply": "421"})
    kept = await store.reschedule(claims, due_at=clock.now + 500, reply="421 4.3.2 later", events=[event])
    assert kept == claims
    stored = await row(db, unit)
    assert (stored.attempts, stored.due_at, stored.holder, stored.last_reply) == (
        1,
        clock.now + 500,
        "",
        "421 4.3.2 later",
    )
    kinds = await db.read(lambda c: c.scalars(select(schema.events.c.kind).order_by(schema.events.c.id)).all())
    assert kinds == ["state", "attempt"]
    clock.advance(500)
    [claim] = await store.claim("w1", limit=10, lease_ms=LEASE)
    assert (claim.attempts, claim.crashes) == (1, 0)


async def test_events_of_a_lost_claim_are_left_out(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    lost, kept = await spool(ledger, 2)
    claims = {claim.unit: claim for claim in await store.claim("w1", limit=10, lease_ms=LEASE)}
    stale = replace(claims[lost], fence=claims[lost].fence - 1)
    events = [MailEvent(unit, 1, EventKind.ATTEMPT, Reason.NEXT_HOP_UNAVAILABLE) for unit in (lost, kept)]
    assert await store.reschedule([stale, claims[kept]], due_at=1, reply="", events=events) == [claims[kept]]
    noted = await db.read(
        lambda c: c.scalars(select(schema.events.c.unit).where(schema.events.c.kind == "attempt")).all()
    )
    assert noted == [kept]


async def test_giving_back_counts_nothing(ledger: Ledger, store: QueueStore, clock: ManualClock) -> None:
    await spool(ledger)
    await store.give_back(await store.claim("w1", limit=10, lease_ms=LEASE))
    [claim] = await store.claim("w2", limit=10, lease_ms=LEASE)
    assert (claim.attempts, claim.crashes) == (0, 0)
    await store.give_back([claim], due_at=clock.now + 10)
    assert await store.claim("w2", limit=10, lease_ms=LEASE) == []


async def test_a_unit_may_be_enqueued_as_already_held(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    message = a_message(blob=True)
    await ledger.begin(message, [a_unit()])
    unit = f"{message.id}-1"
    entry = an_entry(holder="w1", lease_until=clock.now + LEASE)
    fences = await ledger.move([a_move(unit, State.SPOOLED, queue=entry)])
    assert await store.claim("w2", limit=10, lease_ms=LEASE) == []
    await ledger.move([a_move(unit, State.DELIVERED, dequeue=True, fence=fences[unit])])
    assert await db.read(check_in) == []


async def test_a_tenant_with_a_flood_does_not_starve_the_others(
    db: Database, ledger: Ledger, store: QueueStore
) -> None:
    flood, small, tiny = [await tenant(db, name) for name in ("flood", "small", "tiny")]
    await spool(ledger, 30, tenant=flood, domain="flood.test")
    await spool(ledger, 5, tenant=small, domain="small.test")
    await spool(ledger, 1, tenant=tiny, domain="tiny.test")
    claims = await store.claim("w1", limit=12, lease_ms=LEASE)
    counts = [sum(claim.tenant == one for claim in claims) for one in (flood, small, tiny)]
    assert counts == [7, 4, 1]  # a third each; what tiny leaves over goes to the oldest


async def test_recipients_of_one_message_come_together(ledger: Ledger, store: QueueStore) -> None:
    message = a_message(blob=True)
    await ledger.begin(message, [a_unit(State.SPOOLED, number) for number in range(1, 31)])
    await spool(ledger, 3)
    assert len(await store.claim("w1", limit=1, lease_ms=LEASE)) in (1, 30)
    claims = await store.claim("w1", limit=3, lease_ms=LEASE)
    assert sum(claim.message == message.id for claim in claims) in (0, 30)


async def test_many_claim_at_once_and_none_gets_the_same(open_db: OpenDatabase) -> None:
    databases = [open_db(), open_db(), open_db()]
    await spool(Ledger(databases[0]), 60)
    stores = [QueueStore(database) for database in databases]
    batches = await asyncio.gather(*(stores[turn % 3].claim(f"w{turn}", limit=7, lease_ms=LEASE) for turn in range(12)))
    claimed = [claim.unit for batch in batches for claim in batch]
    assert len(claimed) == len(set(claimed))
    rest = [claim.unit for store in stores for claim in await store.claim("last", limit=100, lease_ms=LEASE)]
    assert len({*claimed, *rest}) == len(claimed) + len(rest) == 60


async def test_a_domain_is_postponed_and_hastened(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    [soon] = await spool(ledger, domain="down.test")
    [expiring] = await spool(ledger, domain="down.test", queue=an_entry(expires_at=START + 100))
    [far] = await spool(ledger, domain="down.test", queue=an_entry(due_at=START + 9000))
    [other] = await spool(ledger, domain="up.test")
    [rescan] = await spool(ledger, domain="down.test", queue=an_entry(purpose="rescan"))
    assert await store.postpone_domain("down.test", until=START + 5000) == 2
    due = {unit: (await row(db, unit)).due_at for unit in (soon, expiring, far, other, rescan)}
    assert due == {soon: START + 5000, expiring: START + 100, far: START + 9000, other: START, rescan: START}
    assert await store.hasten_domain("down.test") == 3
    assert (await row(db, far)).due_at == clock.now


async def test_postponing_leaves_what_is_being_attempted(ledger: Ledger, store: QueueStore, db: Database) -> None:
    [unit] = await spool(ledger)
    [claim] = await store.claim("w1", limit=1, lease_ms=LEASE)
    assert await store.postpone_domain("client.test", until=START + 10 * LEASE) == 0
    assert (await row(db, unit)).due_at == claim.lease_until


async def test_depth_counts_by_tenant_and_purpose(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    acme = await tenant(db, "acme")
    await spool(ledger, 2, tenant=acme)
    clock.advance(1000)
    await spool(ledger, 1, tenant=acme, queue=an_entry(due_at=START + DAY))
    await spool(ledger, 1, queue=an_entry(purpose="dsn"))
    depths = {(depth.tenant, depth.purpose): depth for depth in await store.depth()}
    assert depths[acme, "forward"].count == 3
    assert depths[acme, "forward"].due == 2
    assert depths[acme, "forward"].oldest_at == START
    assert depths[SYSTEM_TENANT, "dsn"].count == 1


async def test_what_an_admin_holds_is_never_due(
    db: Database, ledger: Ledger, store: QueueStore, clock: ManualClock
) -> None:
    idle, busy = await spool(ledger, 2)
    claims = {claim.unit: claim for claim in await store.claim("w1", limit=9, lease_ms=LEASE)}
    await store.give_back([claims[idle]])
    queue = schema.queue
    await db.write(lambda c: c.execute(update(queue).values(held=True)))
    await db.write(lambda c: c.execute(update(queue).where(queue.c.unit == idle).values(due_at=NEVER)))
    await store.reschedule([claims[busy]], due_at=clock.now, reply="421")
    assert (await row(db, busy)).due_at == NEVER
    assert await store.claim("w2", limit=9, lease_ms=LEASE) == []
    assert await store.hasten_domain("client.test") == 0
    [depth] = await store.depth()
    assert (depth.count, depth.held, depth.due) == (2, 2, 0)
