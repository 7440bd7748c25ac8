"""Database.write and read on both databases: group commit, failures, locks, a server that is restarted."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import Connection, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from mailguard.core.errors import UnavailableError
from mailguard.store.db import Database, now
from mailguard.store.schema import meta
from tests.servers.postgres import Postgres
from tests.unit.store.conftest import ManualClock, OpenDatabase


def keys(connection: Connection) -> set[str]:
    return set(connection.scalars(text("SELECT key FROM meta WHERE key LIKE 'k%'")))


def add(key: str) -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO meta VALUES (:key, '')"), {"key": key})
        return key

    return work


class Gate:
    """A work that keeps the writer busy until it is opened, so that what comes after it forms one group."""

    def __init__(self, db: Database) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        self._task = asyncio.ensure_future(db.write(self._work))

    def _work(self, connection: Connection) -> None:
        self._entered.set()
        assert self._open.wait(10)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 10)

    async def open(self) -> None:
        self._open.set()
        await self._task


async def grouped(db: Database, *works: Callable[[Connection], object]) -> list[object]:
    """The outcomes of works that were run in one transaction."""
    gate = Gate(db)
    await gate.entered()
    tasks = [asyncio.ensure_future(db.write(work)) for work in works]
    await asyncio.sleep(0)
    await gate.open()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_is_committed_together(open_db: OpenDatabase) -> None:
    commits: list[float] = []
    db = open_db(on_commit=commits.append)
    assert await grouped(db, *(add(f"k{n}") for n in range(50))) == [f"k{n}" for n in range(50)]
    assert len(commits) == 2
    assert all(seconds > 0 for seconds in commits)
    assert await db.read(keys) == {f"k{n}" for n in range(50)}


async def test_a_work_that_fails_is_undone_alone(db: Database) -> None:
    def failing(connection: Connection) -> None:
        add("k-lost")(connection)
        raise LookupError("mine")

    outcomes = await grouped(db, add("k1"), failing, add("k1"), add("k2"))
    assert outcomes[0] == "k1"
    assert isinstance(outcomes[1], LookupError)
    assert isinstance(outcomes[2], IntegrityError)
    assert outcomes[3] == "k2"
    assert await db.read(keys) == {"k1", "k2"}


async def test_works_are_run_again_only_beside_one_that_fails(db: Database) -> None:
    runs: list[str] = []

    def counted(key: str) -> Callable[[Connection], str]:
        def work(connection: Connection) -> str:
            runs.append(key)
            return add(key)(connection)

        return work

    assert await grouped(db, counted("k1"), counted("k2")) == ["k1", "k2"]
    assert runs == ["k1", "k2"]
    runs.clear()
    outcomes = await grouped(db, counted("k3"), counted("k1"), counted("k4"))
    assert [type(outcome) for outcome in outcomes] == [str, IntegrityError, str]
    assert runs == ["k3", "k1", "k3", "k1", "k4"]
    assert await db.read(keys) == {"k1", "k2", "k3", "k4"}


async def test_a_work_that_fails_alone_in_its_transaction_is_undone(db: Database) -> None:
    with pytest.raises(IntegrityError):
        await db.write(lambda connection: (add("k1")(connection), add("k1")(connection)))
    assert await db.read(keys) == set()


async def test_even_an_exit_does_not_end_the_writer(db: Database) -> None:
    def leaving(connection: Connection) -> None:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        await asyncio.to_thread(db.write_sync, leaving)
    assert await db.write(add("k1")) == "k1"


async def test_cancelling_the_waiter_does_not_cancel_the_commit(db: Database) -> None:
    gate = Gate(db)
    await gate.entered()
    task = asyncio.ensure_future(db.write(add("k1")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gate.open()
    await db.write(add("k2"))
    assert await db.read(keys) == {"k1", "k2"}


async def test_more_than_may_wait_have_to_wait_outside(open_db: OpenDatabase) -> None:
    db = open_db(waiting=3)
    gate = Gate(db)
    await gate.entered()
    tasks = [asyncio.ensure_future(db.write(add(f"k{n}"))) for n in range(10)]
    await asyncio.sleep(0.01)
    assert len(db._writer._jobs) == 2  # the third is the gate itself
    await gate.open()
    assert await asyncio.gather(*tasks) == [f"k{n}" for n in range(10)]


async def test_when_the_commit_fails_all_hear_of_it_and_the_writer_lives_on(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Connection.commit
    commits: list[Connection] = []

    def second_fails(connection: Connection) -> None:
        commits.append(connection)
        if len(commits) == 2:
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))
        real(connection)

    gate = Gate(db)
    await gate.entered()
    tasks = [asyncio.ensure_future(db.write(add(f"k{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    monkeypatch.setattr(Connection, "commit", second_fails)
    await gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    assert await db.read(keys) == set()
    assert await db.write(add("k9")) == "k9"


async def test_closing_commits_what_was_handed_in(open_db: OpenDatabase) -> None:
    db, again = open_db(), open_db()
    tasks = [asyncio.ensure_future(db.write(add(f"k{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await db.close()
    await asyncio.gather(*tasks)
    assert len(await again.read(keys)) == 20
    with pytest.raises(UnavailableError):
        await db.write(add("k99"))
    with pytest.raises(UnavailableError):
        await db.read(keys)


async def test_reading_cannot_write(db: Database) -> None:
    with pytest.raises((UnavailableError, DBAPIError)):
        await db.read(add("k1"))
    assert await db.read(keys) == set()


async def test_the_clock_of_the_database_is_about_now(open_db: OpenDatabase, clock: ManualClock) -> None:
    assert await open_db(clock=None).read(now) == pytest.approx(time.time() * 1000, abs=5_000)
    db = open_db()
    assert await db.read(db.now) == await db.write(db.now) == clock.now


async def test_two_processes_write_in_turn(open_db: OpenDatabase) -> None:
    databases = [open_db(clock=None), open_db(clock=None)]

    def count(connection: Connection) -> None:
        value = connection.scalar(select(meta.c.value).where(meta.c.key == "k").with_for_update())
        connection.execute(text("UPDATE meta SET value = :value WHERE key = 'k'"), {"value": str(int(value or 0) + 1)})

    await databases[0].write(lambda c: c.execute(text("INSERT INTO meta VALUES ('k', '0')")))
    await asyncio.gather(*(databases[n % 2].write(count) for n in range(200)))
    assert await databases[0].read(lambda c: c.scalar(text("SELECT value FROM meta WHERE key = 'k'"))) == "200"


async def test_a_lock_that_is_never_let_go_is_unavailable(open_db: OpenDatabase, url: str) -> None:
    db = open_db(busy_timeout=0.2)
    if db.dialect == "sqlite":
        other = sqlite3.connect(make_url(url).database or "", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(url)
        other.execute("LOCK TABLE meta")
    with pytest.raises(UnavailableError, match="database unavailable"):
        await db.write(add("k1"))
    other.rollback()
    assert await db.write(add("k1")) == "k1"
    other.close()


async def test_a_full_disk_is_unavailable_and_passes(open_db: OpenDatabase, url: str) -> None:
    db = open_db()
    if db.dialect != "sqlite":
        pytest.skip("PostgreSQL's disk cannot be limited from here")

    def limit(pages: int) -> Callable[[Connection], object]:
        return lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()

    def large(connection: Connection) -> None:
        connection.execute(text("INSERT INTO meta VALUES ('k-large', :value)"), {"value": "x" * 1_000_000})

    await db.write(limit(1))
    outcomes = await grouped(db, add("k1"), large, add("k2"))
    assert isinstance(outcomes[1], UnavailableError)
    assert await db.read(keys) == {outcome for outcome in outcomes if isinstance(outcome, str)}
    await db.write(limit(1_000_000))
    await db.write(large)


@pytest.mark.postgres
async def test_a_restarted_server_costs_nothing_that_was_not_committing(postgres: Postgres) -> None:
    url = postgres.new_database()
    db = Database.open(url)
    assert await db.write(add("k1")) == "k1"
    assert await db.read(keys) == {"k1"}
    postgres.stop()
    with pytest.raises(UnavailableError):
        await db.write(add("k2"))
    with pytest.raises(UnavailableError):
        await db.read(keys)
    postgres.start()
    assert await db.write(add("k3")) == "k3"
    postgres.stop()
    postgres.start()  # between two groups: the next one does not notice
    assert await grouped(db, add("k4"), add("k5")) == ["k4", "k5"]
    assert await db.read(keys) == {"k1", "k3", "k4", "k5"}
    await db.close()
    postgres.drop(url)


@pytest.mark.postgres
async def test_a_connection_that_breaks_in_mid_group_is_made_anew(postgres: Postgres) -> None:
    url = postgres.new_database()
    db = Database.open(url)
    runs: list[int] = []

    def killed_once(connection: Connection) -> str:
        runs.append(connection.scalar(text("SELECT pg_backend_pid()")) or 0)
        if len(runs) == 1:
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (runs[0],))
        connection.execute(text("SELECT 1"))
        return "done"

    assert await grouped(db, add("k1"), killed_once, add("k2")) == ["k1", "done", "k2"]
    assert len(runs) == 2
    assert runs[0] != runs[1]
    assert await db.read(keys) == {"k1", "k2"}
    await db.close()
    postgres.drop(url)


@pytest.mark.postgres
async def test_a_deadlock_of_two_groups_is_broken_and_both_are_done(postgres: Postgres) -> None:
    url = postgres.new_database()
    databases = [Database.open(url), Database.open(url)]
    await databases[0].write(lambda c: c.execute(text("INSERT INTO meta VALUES ('k1', ''), ('k2', '')")))
    meeting = threading.Barrier(2)

    def lock(key: str, *, meet: bool) -> Callable[[Connection], str]:
        met: list[bool] = []

        def work(connection: Connection) -> str:
            connection.execute(text("UPDATE meta SET value = value || 'x' WHERE key = :key"), {"key": key})
            if meet and not met:
                met.append(True)
                meeting.wait(10)
            return key

        return work

    outcomes = await asyncio.gather(
        grouped(databases[0], lock("k1", meet=True), lock("k2", meet=False)),
        grouped(databases[1], lock("k2", meet=True), lock("k1", meet=False)),
    )
    assert outcomes == [["k1", "k2"], ["k2", "k1"]]
    values = await databases[0].read(lambda c: c.scalars(text("SELECT value FROM meta WHERE key LIKE 'k_'")).all())
    assert values == ["xx", "xx"]
    for database in databases:
        await database.close()
    postgres.drop(url)


async def test_a_defect_in_the_callback_does_not_end_the_writer(
    open_db: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def broken(seconds: float) -> None:
        raise ZeroDivisionError

    db = open_db(on_commit=broken)
    assert await db.write(add("k1")) == "k1"
    assert await db.write(add("k2")) == "k2"
    assert {args.exc_type for args in reported} == {ZeroDivisionError}
