"""The relay's side of the zygote: started once for an Order, it forks the processes of the sandbox in milliseconds and tells their ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Subprocess
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailguard.core.errors import UnavailableError
from mailguard.sandbox.frames import HEAD, FrameError, Json, lengths, pack, unpack
from mailguard.sandbox.values import NO_ARGUMENTS, Limits
from mailguard.sandbox.zygote import FORK, FORKED, KILL, REPORT, REQUEST

START_SECONDS = 60.0
"""In which the zygote must have imported its libraries: a second of CPU, which it gets when nobody else wants it."""
FORK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a zygote is told when it starts: the module of its functions, where else modules lie, whom it becomes."""

    registry: str = "mailguard.sandbox.registry"
    paths: tuple[str, ...] = ()
    user: str = "nobody"
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Json] = field(default_factory=lambda: NO_ARGUMENTS)
    """What its functions are prepared with, before it gives up its rights."""
    material: bytes = field(default=b"", repr=False)
    """The same, of what is no JSON: compiled rules."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A new process: its id, and its exit code (as subprocess has it) once it has ended."""

    pid: int
    exit_code: asyncio.Future[int]


class ForkServer:
    """Made by `start_fork_server`. What it forked ends with it; it ends with the relay."""

    def __init__(
        self,
        order: Order,
        process: Subprocess,
        control: socket.socket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.order = order
        self._process = process
        self._control = control
        self._writer = writer
        self._asked: deque[asyncio.Future[Forked]] = deque()
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._alive = True
        self._reports = asyncio.create_task(self._follow(reader), name="sandbox reports")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self._alive

    @property
    def has_processes(self) -> bool:
        """Whether any that it forked is there."""
        return bool(self._ends or self._asked)

    async def fork(self, channel: socket.socket) -> Forked:
        """A new process that has this end of its channel. Raises UnavailableError."""
        asked: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
        try:
            if not self._alive:
                raise ConnectionResetError("what it is forked from has ended")
            socket.send_fds(self._control, [REQUEST.pack(FORK, 0)], [channel.fileno()])
            self._asked.append(asked)
            async with asyncio.timeout(FORK_SECONDS):
                return await asyncio.shield(asked)  # who gives up leaves it to end with its channel
        except (OSError, TimeoutError) as error:
            await self.end()
            raise UnavailableError(
                f"a process of the sandbox could not be forked: {error or type(error).__name__}"
            ) from error

    def kill(self, pid: int) -> None:
        """Kill one that it forked; only it can know that the id is still that one's."""
        if self._alive:
            with contextlib.suppress(OSError):
                self._control.send(REQUEST.pack(KILL, pid))

    async def end(self) -> None:
        """Kill it, and what it forked with it, and wait until it is gone."""
        self._alive = False
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reports
        self._writer.close()

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                letter, pid, status = REPORT.unpack(await reader.readexactly(REPORT.size))
                if letter == FORKED:
                    ended = self._ends[pid] = loop.create_future()
                    self._asked.popleft().set_result(Forked(pid, ended))
                else:
                    self._ends.pop(pid).set_result(os.waitstatus_to_exitcode(status))
        self._alive = False
        for asked in self._asked:
            asked.set_exception(ConnectionResetError("what it is forked from has ended"))
            asked.exception()  # perhaps nobody waits for it any more
        for ended in self._ends.values():  # the kernel kills them
            ended.set_result(-signal.SIGKILL)
        self._asked.clear()
        self._ends.clear()


async def start_fork_server(order: Order) -> ForkServer:
    """One that is ready to fork. Raises UnavailableError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-B",
                "-m",
                "mailguard.sandbox.zygote",
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
        raise UnavailableError(f"the sandbox could not be started: {error}") from error
    try:
        await _greet(reader, writer, order)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())
        writer.close()
        raise
    return ForkServer(order, process, ours, reader, writer)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, order: Order) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            writer.write(_packed(order))
            answer, _ = await read_frame(reader)
    except (FrameError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
        raise UnavailableError(f"the sandbox did not start: {type(error).__name__}: {error}") from error
    if "ready" not in answer:
        raise UnavailableError(f"the sandbox could not start: {answer.get('unable')}")


async def read_frame(reader: asyncio.StreamReader, *, raw_limit: int = 0) -> tuple[dict[str, Json], bytes]:
    """The next frame. Raises FrameError, and IncompleteReadError at the end of the channel."""
    header, octets = lengths(await reader.readexactly(HEAD.size), raw_limit=raw_limit)
    value = unpack(await reader.readexactly(header))
    return value, await reader.readexactly(octets) if octets else b""


def _packed(order: Order) -> bytes:
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
