"""The writer: one thread a process that runs waiting works in one transaction (group commit).

A work that fails is undone alone: all are run again then, a savepoint each. When the transaction itself is lost, it is run once
more if a new connection may help; then every work of it fails with UnavailableError. The thread survives all of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine

from mailguard.core.errors import UnavailableError
from mailguard.store import addresses
from mailguard.store.engine import cursor_of, driver_errors, is_away, is_deadlock, is_lost, unavailable

T = TypeVar("T")
Work = Callable[[Connection], T]
_DEADLOCKS = 5  # how often a work that is run alone may meet one


class Job(Generic[T]):
    """A work on its way through the writer, and who waits for it: a thread, or a task of an event loop."""

    __slots__ = ("_result", "addresses", "arrived", "error", "work")

    def __init__(self, work: Work[T], addresses: Collection[str]) -> None:
        self.work = work
        self.addresses = addresses
        self.arrived = time.perf_counter()
        self.error: BaseException | None = None
        self._result: T | None = None

    def run(self, connection: Connection) -> None:
        """Run the work, which may be for the second time."""
        self.error = None
        with _Capture(self):
            self._result = self.work(connection)

    def settle(self, future: asyncio.Future[T] | Future[T]) -> None:
        """Tell the outcome to the one who waits, unless he has gone."""
        if future.done():
            return
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self._result)  # type: ignore[arg-type]


class _Capture:
    """Keeps whatever a work raises for the one who waits for it: it must not end the writer's thread."""

    __slots__ = ("_job",)

    def __init__(self, job: Job[Any]) -> None:
        self._job = job

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> bool:
        self._job.error = error
        return True


class _Survive:
    """Reports what is a defect of ours, fails the jobs it happened to, and lets the thread go on."""

    __slots__ = ("_jobs",)

    def __init__(self, jobs: Sequence[Job[Any]]) -> None:
        self._jobs = jobs

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if kind is not None and error is not None:
            for job in self._jobs:
                job.error = error
            threading.excepthook(threading.ExceptHookArgs((kind, error, traceback, threading.current_thread())))
        return True


class _TransactionLost(Exception):
    """The transaction is gone before its COMMIT was sent: nothing of it was done."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause
        super().__init__(str(cause))


class Writer:
    """Runs jobs on its own thread, which starts with the first one. `group`: how many share a transaction at most."""

    def __init__(self, engine: Engine, *, group: int, on_commit: Callable[[float], None] | None) -> None:
        self._engine = engine
        self._group = group
        self._on_commit = on_commit
        self._jobs: deque[tuple[Job[Any], Callable[[Job[Any]], None] | _LoopWaiter]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._anew = False
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = (
            None  # the thread's, kept: to take it from the pool and give it back cost 0.1 ms
        )

    def submit(self, work: Work[T], *, addresses: Collection[str]) -> Future[T]:
        """Hand in a work from a thread that will wait. Raises UnavailableError once closing."""
        job, future = Job(work, addresses), Future[T]()
        self._hand_in(job, lambda job: job.settle(future))
        return future

    def submit_from(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Work[T],
        *,
        addresses: Collection[str],
        done: Callable[[], None],
    ) -> asyncio.Future[T]:
        """Hand in a work from a task of `loop`; `done` is called there when it is over. Raises UnavailableError."""
        job, future = Job(work, addresses), loop.create_future()
        self._hand_in(job, _LoopWaiter(loop, future, done))
        return future

    def forget_addresses(self) -> None:
        """From the next transaction on look addresses up anew."""
        self._anew = True

    def close(self) -> None:
        """Commit what was handed in and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _hand_in(self, job: Job[Any], waiter: Callable[[Job[Any]], None] | _LoopWaiter) -> None:
        with self._wake:
            if self._closing:
                raise UnavailableError("database unavailable: it is being closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="db-write", daemon=True)
                self._thread.start()
            self._jobs.append((job, waiter))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closing:
                    self._wake.wait()
                taken = [self._jobs.popleft() for _ in range(min(len(self._jobs), self._group))]
            if not taken:
                self._disconnect(None)
                return
            waited: float | None = None
            jobs = [job for job, _ in taken]
            with _Survive(jobs):
                waited = self._commit(jobs)
            with _Survive([]):
                if waited is not None and self._on_commit is not None:
                    self._on_commit(waited)
            _hand_over(taken)

    def _commit(self, jobs: list[Job[Any]]) -> float | None:
        """Commit all that can be; afterwards each job has its result or its error.

        Returns the seconds that the oldest has waited, None when nothing was committed.
        """
        try:
            return self._transact(jobs)
        except _TransactionLost as lost:
            # Either the server was restarted since the last group, or a deadlock was broken in favour of another process.
            if is_deadlock(lost.cause):
                return max((waited for job in jobs if (waited := self._commit_alone(job)) is not None), default=None)
            if is_lost(lost.cause):
                return self._commit_once(jobs)
            _fail(jobs, lost.cause)
            return None

    def _commit_once(self, jobs: list[Job[Any]]) -> float | None:
        try:
            return self._transact(jobs)
        except _TransactionLost as lost:
            _fail(jobs, lost.cause)
            return None

    def _commit_alone(self, job: Job[Any]) -> float | None:
        for _ in range(_DEADLOCKS):
            try:
                return self._transact([job])
            except _TransactionLost as lost:
                _fail([job], lost.cause)
                if not is_deadlock(lost.cause):
                    break
        return None

    def _transact(self, jobs: list[Job[Any]]) -> float | None:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            self._run_all(self._connection, jobs)
            if all(job.error is not None for job in jobs):
                self._connection.rollback()
                return None
        except driver_errors() as error:
            self._disconnect(error)
            raise _TransactionLost(error) from error
        except BaseException:
            self._disconnect(None)
            raise
        try:
            self._connection.commit()
        except driver_errors() as error:
            self._disconnect(error)
            _fail(jobs, error)  # never run again: it may have been committed
            return None
        addresses.settle(self._connection, committed=True)
        return time.perf_counter() - jobs[0].arrived

    def _run_all(self, connection: Connection, jobs: list[Job[Any]]) -> None:
        """Run all jobs in a transaction of their own: first as if none could fail, then, should one, a savepoint each.

        Hardly any fails, and savepoints cost a tenth of recording a mail. Raises a driver's error when the transaction is lost.
        """
        self._begin(connection, jobs)
        for job in jobs:
            job.run(connection)
            if job.error is None:
                continue
            _raise_if_lost(job.error)
            addresses.settle(connection, committed=False)
            if len(jobs) == 1:
                _translate(job)
                return
            connection.rollback()
            self._begin(connection, jobs)
            for again in jobs:
                _run_one(connection, again)
            return

    def _begin(self, connection: Connection, jobs: list[Job[Any]]) -> None:
        connection.begin()
        anew, self._anew = self._anew, False
        addresses.remember(connection, anew=anew)
        addresses.prepare(connection, {address for job in jobs for address in job.addresses})

    def _disconnect(self, error: BaseException | None) -> None:
        """Let the connection go, with whatever it has begun; for good when `error` says that it is dead."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(*driver_errors()):
            if error is not None and is_lost(error):
                connection.invalidate(error)
            connection.close()


def _run_one(connection: Connection, job: Job[Any]) -> None:
    """Run a job in its savepoint. Raises a driver's error when the whole transaction is lost."""
    cursor = cursor_of(connection)
    cursor.execute("SAVEPOINT work")
    job.run(connection)
    if job.error is None:
        cursor.execute("RELEASE SAVEPOINT work")
        return
    _raise_if_lost(job.error)
    addresses.settle(connection, committed=False)
    try:
        cursor.execute("ROLLBACK TO SAVEPOINT work")
    except driver_errors() as error:
        # SQLite has undone the whole transaction by itself (disk full, I/O error), which is then the cause.
        raise (job.error if isinstance(job.error, driver_errors()) else error) from None
    cursor.execute("RELEASE SAVEPOINT work")
    _translate(job)


def _raise_if_lost(error: BaseException) -> None:
    if isinstance(error, driver_errors()) and (is_deadlock(error) or is_lost(error)):
        raise error


def _translate(job: Job[Any]) -> None:
    """Say of an error by which the database is away no more than that."""
    if job.error is not None and is_away(job.error):
        job.error = unavailable(job.error)


def _fail(jobs: list[Job[Any]], error: BaseException) -> None:
    for job in jobs:
        job.error = unavailable(error)


class _LoopWaiter:
    """A task of an event loop that waits for a job."""

    __slots__ = ("done", "future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], done: Callable[[], None]) -> None:
        self.loop = loop
        self.future = future
        self.done = done

    def settle(self, job: Job[Any]) -> None:
        job.settle(self.future)
        self.done()


def _hand_over(taken: list[tuple[Job[Any], Callable[[Job[Any]], None] | _LoopWaiter]]) -> None:
    """Wake each one who waits; a loop once for the whole group, since waking one costs a system call."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job[Any], _LoopWaiter]]] = {}
    for job, waiter in taken:
        if isinstance(waiter, _LoopWaiter):
            by_loop.setdefault(waiter.loop, []).append((job, waiter))
        else:
            waiter(job)
    for loop, pairs in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle_all, pairs)


def _settle_all(pairs: list[tuple[Job[Any], _LoopWaiter]]) -> None:
    for job, waiter in pairs:
        waiter.settle(job)
