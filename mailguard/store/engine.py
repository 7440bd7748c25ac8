"""Engines for SQLite and PostgreSQL: the one place that knows how the two are opened, and which of their errors mean "away"."""

from __future__ import annotations

import sqlite3
import sys
import time
from typing import TYPE_CHECKING, Any, TypeGuard

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from mailguard.core.clock import Clock, system_clock
from mailguard.core.errors import ConfigError, Problem, UnavailableError

if TYPE_CHECKING:
    import psycopg

CLOCK = "mailguard.clock"
"""Key in `Connection.info` of a clock that stands in for the database's (SQLite's, and in tests)."""
CACHE_KIB = 4_000
"""Of each connection's own cache of pages, of which a worker has five. What is not in it the system has, at no cost that shows: recording
beside 450,000 mails takes as long with 2 MB as with 16, which only fill for hours, so that a worker's memory seemed to leak.
"""
_AGAIN = {"40001", "40P01"}  # serialization failure, deadlock: the transaction may simply be run again
_POSTGRESQL_AWAY = ("08", "53", "57", "58", "XX")  # connection, resources, operator, system, corruption
_POSTGRESQL_LOCKED = "55P03"
_POSTGRESQL_DUPLICATE = "23505"
_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}


def parse_url(url: str) -> URL:
    """The URL of `[database] url`, with the driver filled in. Raises ConfigError when it is neither SQLite nor PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url(url) from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise _bad_url(url)  # several connections must see the same database
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise _bad_url(url)


def _bad_url(url: str) -> ConfigError:
    shown = url.partition("@")[2] or url  # never a password
    return ConfigError(
        [Problem("database.url", f"{shown!r}: give sqlite:////path/to/file.db or postgresql://user@host/database")]
    )


def make_engine(
    url: URL, *, connections: int, read_only: bool = False, busy_timeout: float = 10.0, clock: Clock | None = None
) -> Engine:
    """An engine with at most `connections` of them. `busy_timeout` is in seconds: how long a lock is waited for."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, pool_size=connections, max_overflow=0, connect_args={"check_same_thread": False})
        _set_up_sqlite(engine, read_only=read_only, busy_timeout=busy_timeout, clock=clock or system_clock)
        return engine
    milliseconds = int(busy_timeout * 1000)
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "mailguard",
        "options": f"-c lock_timeout={milliseconds} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
        "tcp_user_timeout": 15_000,  # ms; a server that vanished must not hold the writer for minutes
        "keepalives_idle": 30,
    }
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=read_only,  # the writer finds out by itself and runs its group again
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
    )
    if read_only:
        engine = engine.execution_options(postgresql_readonly=True)
    if clock is not None:
        _set_clock(engine, clock)
    return engine


def _set_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch the file to WAL, once in its life. SQLite does not wait for locks here, so we do."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _begin_immediate(cursor: DBAPICursor, deadline: float) -> None:
    """Begin to write, once the other processes let us.

    IMMEDIATE: a writer that starts as a reader can meet SQLITE_BUSY in its midst, which no waiting cures. We wait by
    ourselves: SQLite's own waits grow to 100 ms, so that of two workers that commit every few milliseconds one starved
    (99th percentile of a message's time with two workers: 220 ms with them).
    """
    pause = 0.0003
    while True:
        try:
            cursor.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, 0.01)


def _set_clock(engine: Engine, clock: Clock) -> None:
    def connected(_: Any, entry: ConnectionPoolEntry) -> None:
        entry.info[CLOCK] = clock

    event.listen(engine, "connect", connected)


def _set_up_sqlite(engine: Engine, *, read_only: bool, busy_timeout: float, clock: Clock) -> None:
    def connected(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver would only do it before the first change
        for pragma in (
            f"busy_timeout = {int(busy_timeout * 1000)}",
            "synchronous = FULL",  # a 250 stands on it: the WAL is synced at each commit
            "foreign_keys = ON",
            "temp_store = MEMORY",
            f"cache_size = {-CACHE_KIB}",
            f"query_only = {int(read_only)}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        _set_wal(connection, time.monotonic() + busy_timeout)
        if not read_only:
            connection.execute("PRAGMA busy_timeout = 0")  # see _begin_immediate

    def begin(connection: Connection) -> None:
        if read_only:
            connection.exec_driver_sql("BEGIN")
        else:
            _begin_immediate(cursor_of(connection), time.monotonic() + busy_timeout)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begin)
    _set_clock(engine, clock)  # one machine, one clock: the same for every process that can open the file


def cursor_of(connection: Connection) -> DBAPICursor:
    """A cursor of the driver, for statements so frequent that SQLAlchemy's own cost would be most of theirs."""
    return connection.connection.cursor()


def now(connection: Connection) -> int:
    """The database's clock in milliseconds UTC: the same for every node, so leases are judged by it alone."""
    clock: Clock | None = connection.info.get(CLOCK)
    if clock is not None:
        return clock()
    return int(connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")) or 0)


def is_away(error: BaseException) -> bool:
    """Whether an error of the driver or of SQLAlchemy says that the database is down, locked, full or broken."""
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_away(error.orig))
    if _is_of_postgresql(error):
        state = error.sqlstate
        if state is None:
            return isinstance(error, sys.modules["psycopg"].OperationalError)
        return state.startswith(_POSTGRESQL_AWAY) or state == _POSTGRESQL_LOCKED or state in _AGAIN
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", -1) & 0xFF in _SQLITE_AWAY
    return False


def is_lost(error: BaseException) -> bool:
    """Whether the connection is dead (the server was restarted): a new one may do."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_lost(error.orig))
    if _is_of_postgresql(error):
        driver = sys.modules["psycopg"]
        lost = isinstance(error, driver.OperationalError | driver.InterfaceError)
        return lost and (error.sqlstate is None or error.sqlstate.startswith(("08", "57P")))
    return False


def is_deadlock(error: BaseException) -> bool:
    """Whether PostgreSQL gave up this transaction in favour of another: run alone it will pass."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return _is_of_postgresql(original) and original.sqlstate in _AGAIN


def is_duplicate(error: BaseException) -> bool:
    """Whether a row with this key is there already."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        return original.sqlite_errorcode in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
    return _is_of_postgresql(original) and original.sqlstate == _POSTGRESQL_DUPLICATE


def unavailable(error: BaseException) -> UnavailableError:
    """The UnavailableError to raise for it; the driver's text is for the log."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return UnavailableError(f"database unavailable: {type(original).__name__}: {str(original).strip()}")


def driver_errors() -> tuple[type[Exception], ...]:
    """What SQLAlchemy and the drivers that are loaded raise."""
    driver = sys.modules.get("psycopg")
    return (SQLAlchemyError, sqlite3.Error, driver.Error) if driver else (SQLAlchemyError, sqlite3.Error)


def _is_of_postgresql(error: BaseException | None) -> TypeGuard[psycopg.Error]:
    """Whether it is PostgreSQL's driver's. An engine loads that when it is for one: it takes 40 ms of each start and command."""
    driver = sys.modules.get("psycopg")
    return driver is not None and isinstance(error, driver.Error)


"""What a statement may raise, by SQLAlchemy or by the driver directly."""
