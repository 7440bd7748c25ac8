"""The journal: outcomes that the database could not take come into the ledger later, once, whatever was torn."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mailguard.core.decision import Reason
from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.store.blobs import FileOps
from mailguard.store.consistency import check_in
from mailguard.store.db import Database
from mailguard.store.journal import Journal, Replayed, settle_left_behind
from mailguard.store.leases import Leases
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore
from tests.unit.store.conftest import ManualClock
from tests.unit.store.mail import a_message, a_move, a_unit, an_entry
from tests.unit.store.test_ledger import begin, events_of, queued, state_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "w1.jsonl"


async def test_an_outcome_is_replayed_once(db: Database, ledger: Ledger, path: Path) -> None:
    unit = await begin(ledger)
    journal = Journal(path)
    assert journal.empty
    journal.append([a_move(unit, State.DELIVERED, expected=State.FORWARDING, detail={"reply": "250 ok"})])
    journal.append([a_move(unit, State.DELIVERED)])
    assert not journal.empty
    assert await journal.replay(db) == Replayed(applied=1, already=1)
    assert journal.empty
    assert await journal.replay(db) == Replayed()
    assert await state_of(db, unit) is State.DELIVERED
    assert await db.read(check_in) == []
    journal.close()
    assert not path.exists()


async def test_what_was_thought_interrupted_was_delivered_after_all(db: Database, ledger: Ledger, path: Path) -> None:
    message = a_message(blob=True)
    await ledger.begin(message, [a_unit(number=number) for number in (1, 2, 3)])
    one, two, three = (f"{message.id}-{number}" for number in (1, 2, 3))
    await ledger.interrupt_dead()
    journal = Journal(path)
    lease = an_entry(holder="w1", lease_until=an_entry().due_at + 600_000)
    journal.append([a_move(one, State.DELIVERED, expected=State.FORWARDING), a_move(two, State.SPOOLED, queue=lease)])
    journal.append([a_move(three, State.UNDELIVERABLE)])
    assert await journal.replay(db) == Replayed(applied=3)
    assert [await state_of(db, unit) for unit in (one, two, three)] == [
        State.DELIVERED,
        State.SPOOLED,
        State.UNDELIVERABLE,
    ]
    assert await queued(db) == {two}
    assert await QueueStore(db).next_due() == lease.lease_until
    assert await db.read(check_in) == []
    journal.close()


async def test_a_delivery_out_of_the_queue_is_replayed_though_its_claim_ran_out(
    db: Database, ledger: Ledger, path: Path, clock: ManualClock
) -> None:
    unit = await begin(ledger, State.SPOOLED)
    [old] = await QueueStore(db).claim("w1", limit=1, lease_ms=1000)
    clock.advance(2000)
    await QueueStore(db).claim("w2", limit=1, lease_ms=1000)
    journal = Journal(path)
    journal.append([a_move(unit, State.DELIVERED, dequeue=True, fence=old.fence)])
    assert await journal.replay(db) == Replayed(applied=1)
    assert await queued(db) == set()
    journal.close()


async def test_what_cannot_be_any_more_is_noted_in_the_trace(db: Database, ledger: Ledger, path: Path) -> None:
    unit = await begin(ledger, State.QUARANTINED)
    await ledger.move([a_move(unit, State.DELETED)])
    journal = Journal(path)
    journal.append([a_move(unit, State.DELIVERED), a_move("01ARZ3NDEKTSV4RRFFQ69G5FAV-1", State.DELIVERED)])
    assert await journal.replay(db) == Replayed(impossible=2)
    assert (await events_of(db, unit))[-1] == (None, None, "journal_replay", 0)
    assert await db.read(check_in) == []
    journal.close()


async def test_a_torn_last_line_is_tolerated(db: Database, ledger: Ledger, path: Path) -> None:
    units = [await begin(ledger) for _ in range(2)]
    dead = Journal(path)
    dead.append([a_move(unit, State.DELIVERED) for unit in units])
    whole = path.read_bytes()
    dead.close()
    path.write_bytes(whole[:-20])
    assert await settle_left_behind(path.parent, db) == Replayed(applied=1, unreadable=1)
    assert [await state_of(db, unit) for unit in units] == [State.DELIVERED, State.FORWARDING]
    assert list(path.parent.iterdir()) == []


class Failing(FileOps):
    """Fails each call of the operation named `fail`, until that is set to another; `write` after half of it."""

    def __init__(self, fail: str = "", error: int = errno.ENOSPC) -> None:
        self.fail = fail
        self._error = error

    def _may_fail(self, call: str) -> None:
        if call in self.fail.split():
            raise OSError(self._error, os.strerror(self._error))

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if len(data) > 10:
            return super().write(descriptor, data[: len(data) // 2])
        self._may_fail("write")
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._may_fail("sync")
        super().sync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._may_fail("truncate")
        super().truncate(descriptor, size)

    def rename(self, source: Path, target: Path) -> None:
        self._may_fail("rename")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._may_fail("sync_directory")
        super().sync_directory(path)

    def make_directory(self, path: Path) -> None:
        self._may_fail("make_directory")
        super().make_directory(path)


@pytest.mark.parametrize("fail", ["write", "sync"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_what_was_not_kept_is_never_replayed(
    db: Database, ledger: Ledger, path: Path, fail: str, error: int
) -> None:
    kept, lost, later = [await begin(ledger) for _ in range(3)]
    files = Failing()
    journal = Journal(path, files=files)
    journal.append([a_move(kept, State.DELIVERED)])
    before = path.read_bytes()
    files.fail, files._error = fail, error
    with pytest.raises(UnavailableError, match=os.strerror(error)):
        journal.append([a_move(lost, State.DELIVERED)])
    assert path.read_bytes() == before, "nothing half-written"
    files.fail = ""
    journal.append([a_move(later, State.DELIVERED)])
    assert await journal.replay(db) == Replayed(applied=2)
    assert [await state_of(db, unit) for unit in (kept, lost, later)] == [
        State.DELIVERED,
        State.FORWARDING,
        State.DELIVERED,
    ]
    journal.close()


async def test_what_follows_a_torn_line_is_read(db: Database, ledger: Ledger, path: Path) -> None:
    unit = await begin(ledger)
    files = Failing("write truncate")  # what was begun cannot even be taken back
    journal = Journal(path, files=files)
    with pytest.raises(UnavailableError, match="No space left"):
        journal.append([a_move(unit, State.DELIVERED)])
    files.fail = ""
    journal.append([a_move(unit, State.DELIVERED)])
    assert await journal.replay(db) == Replayed(applied=1, unreadable=1)
    journal.close()


@pytest.mark.parametrize("fail", ["make_directory", "sync_directory"])
def test_a_journal_that_cannot_be_opened_is_said_so(path: Path, fail: str) -> None:
    with pytest.raises(UnavailableError, match=r"journal w1\.jsonl unavailable"):
        Journal(path, files=Failing(fail, errno.EIO))
    Journal(path).close()  # and is locked by nobody


@pytest.mark.parametrize("fail", ["rename", "make_directory", "sync_directory"])
async def test_a_replay_on_a_failing_disk_loses_nothing_and_goes_on_later(
    db: Database, ledger: Ledger, path: Path, fail: str
) -> None:
    units = [await begin(ledger) for _ in range(3)]
    files = Failing()
    journal = Journal(path, files=files)
    journal.append([a_move(units[0], State.DELIVERED)])
    files.fail = fail
    with pytest.raises(UnavailableError, match="No space left"):
        await journal.replay(db)
    assert not journal.empty
    if fail == "rename":
        journal.append([a_move(units[1], State.DELIVERED)])
    else:  # the old file is turned, a new one is not to be had
        with pytest.raises(UnavailableError):
            journal.append([a_move(units[1], State.DELIVERED)])
    files.fail = ""
    journal.append([a_move(unit, State.DELIVERED) for unit in units[1:]])
    await journal.replay(db)
    assert [await state_of(db, unit) for unit in units] == [State.DELIVERED] * 3
    assert journal.empty
    journal.close()
    assert list(path.parent.iterdir()) == []


async def test_a_journal_without_a_file_writes_into_nobody_elses(
    db: Database, ledger: Ledger, path: Path, tmp_path: Path
) -> None:
    unit = await begin(ledger)
    files = Failing()
    journal = Journal(path, files=files)
    journal.append([a_move(unit, State.DELIVERED)])
    files.fail = "make_directory"
    with pytest.raises(UnavailableError):
        await journal.replay(db)
    with (tmp_path / "other").open("w+") as other:  # gets the number of the file that was closed
        with pytest.raises(UnavailableError):
            journal.append([a_move(unit, State.DELIVERED)])
        assert other.read() == ""
    files.fail = ""
    assert await journal.replay(db) == Replayed(applied=1)
    journal.close()


async def test_what_no_disk_takes_is_remembered_until_the_database_is_back(
    db: Database, ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [await begin(ledger) for _ in range(2)]
    journal = Journal(path)
    journal.remember([a_move(unit, State.DELIVERED, expected=State.FORWARDING) for unit in units])
    assert not journal.empty, "the queue claims nothing before it is on record"

    async def failing(work: object, **_: object) -> object:
        raise UnavailableError("database unavailable")

    with monkeypatch.context() as away:
        away.setattr(db, "write", failing)
        with pytest.raises(UnavailableError):
            await journal.replay(db)
    assert await journal.replay(db) == Replayed(applied=2)
    assert journal.empty
    assert await journal.replay(db) == Replayed()
    for unit in units:
        assert await state_of(db, unit) is State.DELIVERED
    journal.close()


async def test_a_journal_of_a_live_worker_is_left_alone(db: Database, ledger: Ledger, path: Path) -> None:
    unit = await begin(ledger)
    journal = Journal(path)
    journal.append([a_move(unit, State.DELIVERED)])
    assert await settle_left_behind(path.parent, db) == Replayed()
    assert await settle_left_behind(path.parent / "none", db) == Replayed()
    with pytest.raises(UnavailableError):
        Journal(path)
    journal.close()
    assert path.exists()
    assert await settle_left_behind(path.parent, db) == Replayed(applied=1)


async def test_what_a_dead_worker_held_need_not_wait_for_its_leases(
    db: Database, ledger: Ledger, path: Path, clock: ManualClock
) -> None:
    queue, leases = QueueStore(db), Leases(db)
    sent, claimed = [await begin(ledger, State.SPOOLED, queue=an_entry()) for _ in range(2)]
    assert {claim.unit for claim in await queue.claim("w1", limit=10, lease_ms=300_000)} == {sent, claimed}
    held = an_entry(holder="w1", lease_until=clock.now + 600_000)
    await begin(ledger, State.SPOOLED, queue=held, reason=Reason.OUTCOME_UNKNOWN)
    await leases.beat("w1", lease_ms=30_000)
    await leases.acquire("upkeep:expiry", "w1", lease_ms=60_000)
    journal = Journal(path)
    journal.append([a_move(sent, State.DELIVERED)])
    assert await settle_left_behind(path.parent, db) == Replayed()
    assert await queue.claim("w2", limit=10, lease_ms=300_000) == []

    journal.close()
    assert await settle_left_behind(path.parent, db) == Replayed(applied=1)
    assert await state_of(db, sent) is State.DELIVERED
    (again,) = await queue.claim("w2", limit=10, lease_ms=300_000)  # and not the one whose reply may yet come
    assert (again.unit, again.crashes) == (claimed, 1)
    assert await leases.workers() == ()
    assert await leases.acquire("upkeep:expiry", "w2", lease_ms=60_000)
    assert list(path.parent.iterdir()) == []


async def test_while_the_database_is_away_all_is_kept(
    db: Database, ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [await begin(ledger) for _ in range(3)]
    journal = Journal(path)
    journal.append([a_move(unit, State.DELIVERED) for unit in units[:2]])
    write, calls = db.write, []

    async def failing(work: object, **_: object) -> object:
        calls.append(work)
        if len(calls) == 2:
            raise UnavailableError("database unavailable")
        return await write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(db, "write", failing)
    with pytest.raises(UnavailableError):
        await journal.replay(db)
    journal.append([a_move(units[2], State.DELIVERED)])
    assert await journal.replay(db) == Replayed(applied=2, already=1)
    assert journal.empty
    journal.close()
