"""What does not fit after a crash or a restored backup is mended where there is one right answer, and named."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from mailguard.core.clock import DAY
from mailguard.core.decision import Reason
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store import schema
from mailguard.store.blobs import FileBlobStore
from mailguard.store.consistency import check_in
from mailguard.store.db import Database
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore
from mailguard.store.reconcile import Reconciled, reconcile, spooled_purpose
from tests.unit.store.conftest import ManualClock
from tests.unit.store.mail import a_message, a_move, a_unit, an_entry
from tests.unit.store.test_bodies import keep


async def of(db: Database, blobs: FileBlobStore) -> Reconciled:
    return await reconcile(db, blobs, lifetime=5 * DAY)


async def test_nothing_is_done_where_all_fits(db: Database, ledger: Ledger, blobs: FileBlobStore) -> None:
    await keep(ledger, blobs, State.SPOOLED, State.QUARANTINED, State.DISCARDED)
    assert not any((await of(db, blobs)).counts.values())


async def test_waiting_mail_without_a_place_comes_back_into_the_queue(
    db: Database, ledger: Ledger, blobs: FileBlobStore, clock: ManualClock
) -> None:
    message = await keep(ledger, blobs, State.SPOOLED, State.HELD, State.QUARANTINED)
    release = a_move(f"{message}-3", State.SPOOLED, reason=Reason.RELEASED_BY_ADMIN, queue=an_entry(purpose="release"))
    await ledger.move([release])
    await db.write(lambda c: c.execute(delete(schema.queue)).rowcount)
    await db.write(lambda c: c.execute(update(schema.tenants).values(queue_days=2.0)).rowcount)
    found = await of(db, blobs)
    assert found == Reconciled(requeued=tuple(f"{message}-{number}" for number in (1, 2, 3)))
    assert await db.read(lambda c: check_in(c, blobs)) == []
    rows = await db.read(
        lambda c: c.execute(select(schema.queue.c.unit, schema.queue.c.purpose, schema.queue.c.expires_at)).all()
    )
    # The system tenant's own mail is a report, whatever it was before.
    assert {(row.unit[-1], row.purpose) for row in rows} == {("1", "dsn"), ("2", "rescan"), ("3", "dsn")}
    assert {row.expires_at for row in rows} == {clock.now + 2 * DAY}
    assert len(await QueueStore(db).claim("w", limit=9, lease_ms=1000)) == 3


async def test_a_report_to_a_client_comes_back_as_one(db: Database, ledger: Ledger, blobs: FileBlobStore) -> None:
    message = a_message(blob=True)
    blobs.put(message.id, [b"report"])
    await ledger.begin(message, [a_unit(State.SPOOLED, reason=Reason.REPORT_SENT, queue=an_entry(purpose="report"))])
    await db.write(lambda c: c.execute(delete(schema.queue)).rowcount)
    assert (await of(db, blobs)).requeued == (f"{message.id}-1",)
    assert await db.read(lambda c: c.execute(select(schema.queue.c.purpose)).scalar_one()) == "report"


async def test_mail_that_does_not_wait_leaves_the_queue(db: Database, ledger: Ledger, blobs: FileBlobStore) -> None:
    message = await keep(ledger, blobs, State.SPOOLED, State.SPOOLED)
    row = await db.read(lambda c: c.execute(select(schema.queue).where(schema.queue.c.unit == f"{message}-1")).one())
    await ledger.move([a_move(f"{message}-1", State.DELIVERED)])
    await db.write(lambda c: c.execute(insert(schema.queue), [dict(row._mapping)]).rowcount)
    assert await of(db, blobs) == Reconciled(dequeued=(f"{message}-1",))
    assert await db.read(lambda c: check_in(c, blobs)) == []


async def test_bodies_are_marked_swept_or_named(
    db: Database, ledger: Ledger, blobs: FileBlobStore, clock: ManualClock
) -> None:
    unmarked, gone = await keep(ledger, blobs, State.QUARANTINED), await keep(ledger, blobs, State.SPOOLED)
    both = a_message(blob=True)
    await ledger.begin(both, [a_unit(State.QUARANTINED)])
    those = schema.messages.c.id.in_([unmarked, both.id])
    await db.write(lambda c: c.execute(update(schema.messages).where(those).values(blob=False)).rowcount)
    blobs.delete(gone)
    blobs.put(new_message_id(clock.now), [b"x"])
    clock.advance(DAY + 1)
    found = await of(db, blobs)
    assert (found.marked, set(found.missing), found.orphans) == ((unmarked,), {gone, both.id}, 1)
    assert found.counts == {"requeued": 0, "dequeued": 0, "marked": 1, "missing": 2, "orphans": 1}
    assert list(blobs.ids()) == [unmarked]


async def test_a_release_stays_one_however_often_it_is_parked(
    db: Database, ledger: Ledger, blobs: FileBlobStore
) -> None:
    message = await keep(ledger, blobs, State.QUARANTINED, State.SPOOLED)
    unit = f"{message}-1"
    await ledger.move([a_move(unit, State.SPOOLED, reason=Reason.RELEASED_BY_ADMIN, queue=an_entry(purpose="release"))])
    for _ in range(2):
        await ledger.move([a_move(unit, State.PARKED, reason=Reason.WORKER_DIED, dequeue=True)])
        assert await db.read(lambda c: spooled_purpose(c, unit=unit, tenant=SYSTEM_TENANT + 1)) == "release"
        again = a_move(unit, State.SPOOLED, reason=Reason.WORKER_DIED, queue=an_entry(purpose="release"))
        await ledger.move([again])
    assert await db.read(lambda c: spooled_purpose(c, unit=f"{message}-2", tenant=SYSTEM_TENANT + 1)) == "forward"
