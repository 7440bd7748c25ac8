"""One process of the sandbox, as the relay sees it: started, given jobs one at a time, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailguard.core.errors import UnavailableError
from mailguard.sandbox.frames import ANSWER_RAW_LIMIT, HEAD, FrameError, Json, lengths, pack, unpack
from mailguard.sandbox.values import NO_ARGUMENTS, Answer, Limits, Outcome, Protection

START_SECONDS = 30.0
"""In which a process must have imported its libraries; a second is usual on a busy machine."""
DYING_SECONDS = 1.0
"""In which a process that has closed its channel must have ended by itself."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is told when it starts: the module of its functions, where else modules lie, whom it becomes."""

    registry: str = "mailguard.sandbox.registry"
    paths: tuple[str, ...] = ()
    user: str = "nobody"
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Json] = field(default_factory=lambda: NO_ARGUMENTS)
    """What its functions are prepared with, before it gives up its rights."""
    material: bytes = field(default=b"", repr=False)
    """The same, of what is no JSON: compiled rules."""


class Process:
    """Made by `start_process`. Not to be given a job before the last one has ended."""

    def __init__(
        self,
        process: Subprocess,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        held: frozenset[Protection] = frozenset(),
        *,
        order: Order = Order(),
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.held = held
        self.order = order
        self.jobs = 0
        """Jobs that it has done."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be given a job."""
        return self._process.returncode is None and not self._reader.at_eof()

    async def do(self, function: str, raw: bytes, arguments: Mapping[str, Json], *, limits: Limits) -> Answer:
        """One job. After any outcome but OK and ERROR the process is to be ended."""
        self.jobs += 1
        try:
            async with asyncio.timeout(limits.seconds):
                answer, octets = await self._exchange(
                    pack({"function": function, "arguments": dict(arguments)}, raw), raw_limit=ANSWER_RAW_LIMIT
                )
        except TimeoutError:
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

    async def greet(self, order: bytes) -> frozenset[Protection]:
        """Give it its order; what holds it once it is ready. Raises UnavailableError."""
        try:
            async with asyncio.timeout(START_SECONDS):
                answer, _ = await self._exchange(order)
        except (FrameError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise UnavailableError(
                f"a process of the sandbox did not start: {type(error).__name__}: {error}"
            ) from error
        held = answer.get("held")
        if not isinstance(held, list):
            raise UnavailableError(f"a process of the sandbox could not start: {answer.get('unable')}")
        return frozenset(Protection(str(one)) for one in held)

    async def _exchange(self, frame: bytes, *, raw_limit: int = 0) -> tuple[dict[str, Json], bytes]:
        self._writer.write(frame)
        await self._writer.drain()
        header, octets = lengths(await self._reader.readexactly(HEAD.size), raw_limit=raw_limit)
        value = unpack(await self._reader.readexactly(header))
        return value, await self._reader.readexactly(octets) if octets else b""

    async def _died(self, error: Exception, limits: Limits) -> Answer:
        if isinstance(error, FrameError):
            return Answer(Outcome.CRASH, detail="answered what is no answer")
        await self.end(patience=DYING_SECONDS)
        code = self._process.returncode or 0
        if code >= 0:
            return Answer(Outcome.CRASH, detail=f"ended with {code}")
        name = signal.Signals(-code).name
        if name in ("SIGPROF", "SIGXCPU"):
            return Answer(Outcome.CPU, detail=f"killed after {limits.cpu_seconds:g} s of CPU")
        return Answer(Outcome.CRASH, detail=f"died of {name}")

    async def end(self, *, patience: float = 0.0) -> None:
        """Kill it, unless it ends by itself within `patience` seconds, and wait until it is gone."""
        if patience and self._process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._process.wait()
        self._writer.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


async def start_process(order: Order) -> Process:
    """A process that is ready for its first job. Raises UnavailableError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-B",
                "-m",
                "mailguard.sandbox.child",
                stdin=theirs.fileno(),
                stdout=DEVNULL,
                env={"LANG": "C.UTF-8", "PATH": os.defpath},
                close_fds=True,
                start_new_session=True,
                cwd="/",
            )
        reader, writer = await asyncio.open_connection(sock=ours)
    except OSError as error:
        ours.close()
        raise UnavailableError(f"a process of the sandbox could not be started: {error}") from error
    made = Process(process, reader, writer, order=order)
    try:
        made.held = await made.greet(_order(order))
    except BaseException:
        await asyncio.shield(made.end())
        raise
    return made


def _order(order: Order) -> bytes:
    limits = order.limits
    return pack(
        {
            "registry": order.registry,
            "paths": list(order.paths),
            "user": order.user,
            "cpu_seconds": limits.cpu_seconds,
            "memory": limits.memory,
            "jobs": limits.jobs,
            "parent": os.getpid(),
            "options": dict(order.options),
        },
        order.material,
    )
