"""One process of the sandbox, as the relay sees it: forked, given jobs one at a time, killed."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from mailguard.core.errors import UnavailableError
from mailguard.sandbox.fork_server import Forked, ForkServer, Order, read_frame
from mailguard.sandbox.frames import ANSWER_RAW_LIMIT, FrameError, Json, pack
from mailguard.sandbox.values import Answer, Limits, Outcome, Protection

START_SECONDS = 30.0
"""In which a process must have given up its rights: a millisecond, when it gets the processor."""
DYING_SECONDS = 1.0
"""In which a process that has closed its channel must have ended by itself."""
STARVED = 0.5
"""Of its time: a process that waited so long for the processor tells nothing about its file."""


class Process:
    """Made by `start_process`. Not to be given a job before the last one has ended."""

    def __init__(
        self, server: ForkServer, forked: Forked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self._forked = forked
        self._reader = reader
        self._writer = writer
        self.held: frozenset[Protection] = frozenset()
        self.jobs = 0
        """Jobs that it has done."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._forked.pid

    @property
    def order(self) -> Order:
        """What it was prepared with."""
        return self.server.order

    @property
    def alive(self) -> bool:
        """Whether it can be given a job."""
        return not self._forked.exit_code.done() and not self._reader.at_eof()

    async def do(self, function: str, raw: bytes, arguments: Mapping[str, Json], *, limits: Limits) -> Answer:
        """One job. After any outcome but OK and ERROR the process is to be ended."""
        self.jobs += 1
        waited = self._waited()
        try:
            async with asyncio.timeout(limits.seconds):
                self._writer.write(pack({"function": function, "arguments": dict(arguments)}, raw))
                await self._writer.drain()
                answer, octets = await read_frame(self._reader, raw_limit=ANSWER_RAW_LIMIT)
        except TimeoutError:
            if (waited := self._waited() - waited) > STARVED * limits.seconds:
                return Answer(Outcome.BUSY, detail=f"the processor had no time for it in {waited:.1f} s")
            return Answer(Outcome.TIME, detail=f"killed after {limits.seconds:g} s")
        except (FrameError, asyncio.IncompleteReadError, OSError) as error:
            return await self._died(error, limits)
        if "value" in answer:
            return Answer(Outcome.OK, answer["value"], raw=octets)
        if "memory" in answer:
            return Answer(Outcome.MEMORY, detail=f"wanted more than {limits.memory >> 20} MiB of memory")
        if isinstance(error_text := answer.get("error"), str):
            return Answer(Outcome.ERROR, detail=error_text)
        return Answer(Outcome.CRASH, detail="answered what is no answer")

    async def greet(self) -> None:
        """Wait until it has given up its rights. Raises UnavailableError."""
        try:
            async with asyncio.timeout(START_SECONDS):
                answer, _ = await read_frame(self._reader)
        except (FrameError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise UnavailableError(
                f"a process of the sandbox did not start: {type(error).__name__}: {error}"
            ) from error
        held = answer.get("held")
        if not isinstance(held, list):
            raise UnavailableError(f"a process of the sandbox could not start: {answer.get('unable')}")
        self.held = frozenset(Protection(str(one)) for one in held)

    def _waited(self) -> float:
        """Seconds that it was ready to compute and had no processor; 0 where the kernel does not tell. proc_pid_schedstat(5)."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    async def _died(self, error: Exception, limits: Limits) -> Answer:
        if isinstance(error, FrameError):
            return Answer(Outcome.CRASH, detail="answered what is no answer")
        await self.end(patience=DYING_SECONDS)
        if not self.server.alive:  # it has taken this one with it: nothing about the file
            return Answer(Outcome.UNABLE, detail="what the sandbox's processes are forked from has ended")
        code = self._forked.exit_code.result()
        if code >= 0:
            return Answer(Outcome.CRASH, detail=f"ended with {code}")
        name = signal.Signals(-code).name
        if name in ("SIGPROF", "SIGXCPU"):
            return Answer(Outcome.CPU, detail=f"killed after {limits.cpu_seconds:g} s of CPU")
        return Answer(Outcome.CRASH, detail=f"died of {name}")

    async def end(self, *, patience: float = 0.0) -> None:
        """Kill it, unless it ends by itself within `patience` seconds, and wait until it is gone."""
        ended = self._forked.exit_code
        if patience and not ended.done():
            await asyncio.wait([ended], timeout=patience)
        self._writer.close()
        if not ended.done():
            self.server.kill(self.pid)
            await asyncio.wait([ended])


async def start_process(server: ForkServer) -> Process:
    """A process that is ready for its first job. Raises UnavailableError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            forked = await server.fork(theirs)
        reader, writer = await asyncio.open_connection(sock=ours)
    except BaseException:
        ours.close()
        raise
    made = Process(server, forked, reader, writer)
    try:
        await made.greet()
    except BaseException:
        await asyncio.shield(made.end())
        raise
    return made
