"""The database as the rest of the code uses it: `write` (one writer thread, group commit) and `read` (a few reader threads).

Works are plain functions of a Connection. They may be run more than once (a lost connection, a deadlock), so they change
nothing but the database; what they return is handed over once it is committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection

from mailguard.core.clock import Clock
from mailguard.core.errors import UnavailableError
from mailguard.store.engine import driver_errors, is_away, make_engine, now, parse_url, unavailable
from mailguard.store.migrations import require_file, require_head
from mailguard.store.writer import Work, Writer

__all__ = ["Database", "Work", "now"]

T = TypeVar("T")


class Database:
    """One process's door to the database. Open it after forking; close it at the end."""

    def __init__(
        self,
        url: str,
        *,
        on_commit: Callable[[float], None] | None = None,
        readers: int = 4,
        waiting: int = 10_000,
        group: int = 500,
        busy_timeout: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        parsed = parse_url(url)
        self._writing = make_engine(parsed, connections=1, busy_timeout=busy_timeout, clock=clock)
        self._reading = make_engine(parsed, connections=readers, read_only=True, busy_timeout=busy_timeout, clock=clock)
        self._writer = Writer(self._writing, group=group, on_commit=on_commit)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="db-read")
        self._room = asyncio.Semaphore(waiting)
        self._closed = False

    @classmethod
    def open(
        cls,
        url: str,
        *,
        on_commit: Callable[[float], None] | None = None,
        readers: int = 4,
        waiting: int = 10_000,
        group: int = 500,
        busy_timeout: float = 10.0,
        clock: Clock | None = None,
    ) -> Database:
        """The database at `url`, which must have been migrated.

        `on_commit` is called from the writer's thread after each commit, with the seconds that its oldest work has
        waited. `readers`: threads and connections for reading. `waiting`: how many works may wait before `write` itself
        waits. `group`: how many of them share a transaction at most. `busy_timeout`: seconds that a lock of another
        process is waited for. `clock` replaces the database's own, in tests.

        Raises ConfigError (a bad URL; not migrated: says to run `mailguard db upgrade`) and UnavailableError.
        """
        require_file(parse_url(url))
        database = cls(
            url,
            on_commit=on_commit,
            readers=readers,
            waiting=waiting,
            group=group,
            busy_timeout=busy_timeout,
            clock=clock,
        )
        try:
            database.read_sync(require_head)
        except BaseException:
            database.close_sync()
            raise
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._writing.dialect.name

    def now(self, connection: Connection) -> int:
        """The database's clock, in milliseconds UTC: the same for every process and node."""
        return now(connection)

    async def write(self, work: Work[T], *, addresses: Collection[str] = ()) -> T:
        """Run `work` in a transaction together with whatever else waits; returns its result once it is committed.

        What it raises undoes it alone. Cancelling the one who awaits never cancels a work that was handed in; it is
        handed in at once unless `waiting` others are. Raises UnavailableError when the database is away: nothing was
        done, save that when the connection breaks during the COMMIT itself nobody can know.

        `addresses`: those that `work` will want the ids of (ledger.begin_in). Without it they are made all the same, but
        several processes that make the same new ones at once may have to run their transactions again.
        """
        await self._room.acquire()
        try:
            future = self._writer.submit_from(
                asyncio.get_running_loop(), work, addresses=addresses, done=self._room.release
            )
        except UnavailableError:
            self._room.release()
            raise
        return await future

    def write_sync(self, work: Work[T], *, addresses: Collection[str] = ()) -> T:
        """`write` for code without an event loop (the command line)."""
        return self._writer.submit(work, addresses=addresses).result()

    def forget_addresses(self) -> None:
        """Forget which ids addresses have: one may have been erased, and is a new one when mail of it comes again."""
        self._writer.forget_addresses()

    async def read(self, work: Work[T]) -> T:
        """`read_sync` in a reader thread."""
        if self._closed:
            raise UnavailableError("database unavailable: it is being closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_sync, work)

    def read_sync(self, work: Work[T]) -> T:
        """Run `work` in a read-only transaction; it must be short, since it keeps the WAL from being reset.

        Raises UnavailableError when the database is away.
        """
        try:
            with self._reading.connect() as connection, connection.begin():
                return work(connection)
        except driver_errors() as error:
            if is_away(error):
                raise unavailable(error) from error
            raise

    async def close(self) -> None:
        """Commit what was handed in, then close. Further writes raise UnavailableError."""
        await asyncio.get_running_loop().run_in_executor(None, self.close_sync)

    def close_sync(self) -> None:
        """`close` for code without an event loop."""
        self._closed = True
        self._writer.close()
        self._readers.shutdown()
        self._writing.dispose()
        self._reading.dispose()
