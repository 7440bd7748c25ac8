"""The pool of sandbox processes: a job waits for one that is free, within bounds; who exceeds a limit is killed and replaced.

All are forked from one that has imported what they need. That one is started when it is first needed, or by `prepare`, so that no
mail waits for it: it takes a second of CPU, and a fork some milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace

from mailguard.core.errors import UnavailableError
from mailguard.sandbox.fork_server import ForkServer, Order, start_fork_server
from mailguard.sandbox.frames import RAW_LIMIT, Json
from mailguard.sandbox.process import Process, start_process
from mailguard.sandbox.values import NO_ARGUMENTS, Answer, Observer, Outcome

AFTER_FAILURE = 10.0
"""Seconds for which no process is started after one that could not be."""


class Pool:
    """`size` processes at most, of which each does one job at a time. `queue` jobs wait at most, and each at most `wait` seconds.

    Belongs to one event loop. `close` ends all processes; a relay that is killed takes them with it.
    """

    def __init__(
        self,
        order: Order = Order(),  # noqa: B008 - frozen
        *,
        size: int = 2,
        queue: int = 32,
        wait: float = 5.0,
        observer: Observer | None = None,
    ) -> None:
        self._order = order
        self._queue = queue
        self._wait = wait
        self._observer = observer
        self._free = asyncio.Semaphore(size)
        self._waiting = 0
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._server: ForkServer | None = None
        self._starting = asyncio.Lock()
        self._not_before = 0.0
        self._closed = False

    @property
    def pids(self) -> frozenset[int]:
        """The processes that are there, but for what they are forked from."""
        return frozenset(process.pid for process in self._all)

    @property
    def server_pid(self) -> int | None:
        """What they are forked from, if it is there."""
        return self._server.pid if self._server is not None and self._server.alive else None

    async def run(self, function: str, raw: bytes = b"", arguments: Mapping[str, Json] = NO_ARGUMENTS) -> Answer:
        """See Sandbox. Cancelling it kills the job."""
        begun = time.monotonic()
        answer = await self._run(function, raw, arguments)
        if self._observer:
            self._observer.done(function, answer.outcome, time.monotonic() - begun)
        return answer

    async def prepare(self) -> None:
        """Have one process that is up to date, so that the next job need not wait for it, nor for what it is forked from.

        Does nothing where one is there or at work already. One that cannot be started is told to the observer.
        """
        if self._closed or self._free.locked() or any(one.alive and one.order is self._order for one in self._all):
            return
        async with self._free:
            with contextlib.suppress(UnavailableError):
                self._idle.append(await self._take())

    def renew(self, *, options: Mapping[str, Json], material: bytes) -> None:
        """Prepare processes with these from now on: one of before does no further job, and is ended when the next one comes."""
        if (options, material) != (self._order.options, self._order.material):
            self._order = replace(self._order, options=options, material=material)

    async def close(self) -> None:
        """Kill all processes, also those at work, and wait until they are gone."""
        self._closed = True
        self._idle.clear()
        await asyncio.gather(*(self._end(process) for process in tuple(self._all)))
        async with self._starting:
            if self._server is not None:
                await self._server.end()

    async def _run(self, function: str, raw: bytes, arguments: Mapping[str, Json]) -> Answer:
        if len(raw) > RAW_LIMIT:
            return Answer(Outcome.MEMORY, detail=f"{len(raw)} octets are more than {RAW_LIMIT}")
        if self._free.locked() and self._waiting >= self._queue:
            return Answer(Outcome.BUSY, detail=f"{self._waiting} jobs wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError:
            return Answer(Outcome.BUSY, detail=f"no process came free within {self._wait:g} s")
        finally:
            self._waiting -= 1
        try:
            return await self._do(function, raw, arguments)
        finally:
            self._free.release()

    async def _do(self, function: str, raw: bytes, arguments: Mapping[str, Json]) -> Answer:
        try:
            process = await self._take()
        except UnavailableError as error:
            return Answer(Outcome.UNABLE, detail=str(error))
        answer = None
        try:
            answer = await process.do(function, raw, arguments, limits=self._order.limits)
        finally:
            usable = answer is not None and answer.outcome in (Outcome.OK, Outcome.ERROR)
            current = process.order is self._order and not self._closed
            if usable and current and process.jobs < self._order.limits.jobs:
                self._idle.append(process)
            else:
                await asyncio.shield(self._end(process))
        return answer

    async def _take(self) -> Process:
        """A process that is idle, or a new one. Raises UnavailableError."""
        while self._idle:
            process = self._idle.pop()
            if process.alive and process.order is self._order:
                return process
            await self._end(process)
        if self._has_closed():
            raise UnavailableError("the sandbox is closed")
        if time.monotonic() < self._not_before:
            raise UnavailableError("the sandbox could not start a process a moment ago")
        try:
            process = await start_process(await self._current_server())
        except UnavailableError as error:
            self._not_before = time.monotonic() + AFTER_FAILURE
            if self._observer:
                self._observer.unable(str(error))
            raise
        self._all.add(process)
        if self._observer:
            self._observer.started(process.held)
        if self._has_closed():
            await self._end(process)
            raise UnavailableError("the sandbox is closed")
        return process

    async def _current_server(self) -> ForkServer:
        """What is forked from now on: started anew when it has ended, or there is something new to prepare with."""
        async with self._starting:
            server = self._server
            if server is not None and (not server.alive or server.order is not self._order):
                self._server = None
                if not server.has_processes:  # else it ends with the last of them
                    await server.end()
            if self._has_closed():
                raise UnavailableError("the sandbox is closed")
            if self._server is None:
                self._server = await start_fork_server(self._order)
            return self._server

    def _has_closed(self) -> bool:
        return self._closed

    async def _end(self, process: Process) -> None:
        await process.end()
        if process.server is not self._server and not process.server.has_processes:
            await process.server.end()
        if process in self._all:
            self._all.discard(process)
            if self._observer:
                self._observer.ended()
