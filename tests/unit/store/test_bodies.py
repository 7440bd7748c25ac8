"""Bodies are kept while a unit can need them, and deleted after, whatever crashes in between."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from mailguard.core.clock import DAY
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.store import schema
from mailguard.store.blobs import FileBlobStore
from mailguard.store.bodies import release_bodies, sweep_orphans
from mailguard.store.consistency import check_in
from mailguard.store.db import Database
from mailguard.store.ledger import Ledger
from tests.unit.store.conftest import ManualClock
from tests.unit.store.mail import a_message, a_move, a_unit


async def keep(ledger: Ledger, blobs: FileBlobStore, *states: State) -> str:
    message = a_message(blob=True)
    blobs.put(message.id, [b"Subject: x\r\n\r\n"])
    await ledger.begin(message, [a_unit(state, number) for number, state in enumerate(states, 1)])
    return message.id


async def test_a_body_goes_with_the_last_unit_that_keeps_it(db: Database, ledger: Ledger, blobs: FileBlobStore) -> None:
    message = await keep(ledger, blobs, State.QUARANTINED, State.SPOOLED, State.DISCARDED)
    other = await keep(ledger, blobs, State.QUARANTINED)
    assert await release_bodies(db, blobs) == 0
    await ledger.move([a_move(f"{message}-2", State.DELIVERED)])
    assert await release_bodies(db, blobs, of=[message]) == 0
    await ledger.move([a_move(f"{message}-1", State.DELETED)])
    assert await release_bodies(db, blobs, of=[other]) == 0
    assert await release_bodies(db, blobs, of=[message]) == 1
    assert await release_bodies(db, blobs) == 0
    assert list(blobs.ids()) == [other]
    assert await db.read(lambda c: check_in(c, blobs)) == []


@pytest.mark.parametrize(
    ("state", "kept"),
    [(State.FORWARDING, True), (State.INTERRUPTED, True), (State.RELEASED, True), (State.DELIVERED, False)],
)
async def test_states_that_may_come_to_need_it_keep_it(
    db: Database, ledger: Ledger, blobs: FileBlobStore, state: State, kept: bool
) -> None:
    way = {State.FORWARDING: [], State.RELEASED: [State.SPOOLED, State.RELEASED]}.get(state, [state])
    message = await keep(ledger, blobs, State.FORWARDING)
    for step in way:
        await ledger.move([a_move(f"{message}-1", step)])
    assert await release_bodies(db, blobs) == (0 if kept else 1)
    assert blobs.exists(message) is kept


async def test_an_interrupted_ones_is_kept_for_a_week(
    db: Database, ledger: Ledger, blobs: FileBlobStore, clock: ManualClock
) -> None:
    await keep(ledger, blobs, State.FORWARDING)
    await ledger.interrupt_dead()
    assert await release_bodies(db, blobs) == 0
    clock.advance(7 * DAY + 1)
    assert await release_bodies(db, blobs) == 1


async def test_small_batches(db: Database, ledger: Ledger, blobs: FileBlobStore) -> None:
    for _ in range(5):
        await keep(ledger, blobs, State.DISCARDED)
    assert [await release_bodies(db, blobs, limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_orphans_are_reported_then_swept_when_they_are_old(
    db: Database, ledger: Ledger, blobs: FileBlobStore, clock: ManualClock
) -> None:
    kept = await keep(ledger, blobs, State.QUARANTINED)
    spooling = a_message()
    await ledger.begin(spooling, [a_unit()])
    orphan, young = new_message_id(clock.now), new_message_id(clock.now + DAY)
    for body in (spooling.id, orphan, young):
        blobs.put(body, [b"x"])
    assert await db.read(lambda c: check_in(c, blobs)) == []
    assert await sweep_orphans(db, blobs) == 0
    clock.advance(DAY + 1)
    found = await db.read(lambda c: check_in(c, blobs))
    assert {(item.kind.value, item.subject) for item in found} >= {("body_orphaned", orphan)}
    assert await sweep_orphans(db, blobs) == 1
    assert set(blobs.ids()) == {kept, spooling.id, young}


async def test_a_body_that_is_missing_is_reported(db: Database, ledger: Ledger, blobs: FileBlobStore) -> None:
    message = await keep(ledger, blobs, State.QUARANTINED)
    blobs.delete(message)
    [found] = await db.read(lambda c: check_in(c, blobs))
    assert (found.kind, found.subject) == ("body_missing", message)


async def test_a_crash_between_mark_and_delete_leaves_an_orphan_only(
    db: Database, ledger: Ledger, blobs: FileBlobStore, clock: ManualClock
) -> None:
    message = await keep(ledger, blobs, State.DISCARDED)

    class Crashing(FileBlobStore):
        def delete(self, blob_id: str) -> bool:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await release_bodies(db, Crashing(blobs._root))
    assert not await db.read(lambda c: c.scalar(select(schema.messages.c.blob)))
    clock.advance(DAY + 1)
    assert await sweep_orphans(db, blobs) == 1
    assert not blobs.exists(message)
