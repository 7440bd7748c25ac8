"""The parent process: starts the workers, replaces those that die, passes signals on. It handles no mail itself.

Workers share the listening ports by SO_REUSEPORT. Each is a fresh interpreter (never a fork of a process with threads) and
holds one end of a socket pair: a worker writes `ready` into it, and drains when it finds it closed, for then the parent is gone.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailguard.core.ids import new_message_id
from mailguard.ops.log import get_logger

RESTART_PAUSES = (0.0, 0.2, 1.0, 2.0, 5.0)
"""Seconds to wait before a worker is replaced, by how many died in a row before they were ready or within STABLE_AFTER."""
STABLE_AFTER = 30.0
"""Seconds after which a worker counts as healthy, and the pause starts from the beginning."""

CONTROL_FD_VARIABLE = "MAILGUARD_CONTROL_FD"
INSTANCE_VARIABLE = "MAILGUARD_INSTANCE"


@dataclass(slots=True)
class WorkerProcess:
    """One running worker: its slot (from 0), its instance id (new with each start) and its process."""

    slot: int
    instance: str
    process: asyncio.subprocess.Process
    control: asyncio.StreamReader
    control_writer: asyncio.StreamWriter
    started: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    reload_wanted: bool = False


class Supervisor:
    """Keeps `workers` processes running until `stop` is called.

    `on_death(instance, pid, status)` is called for every worker that ends, so that its leases and metrics can be
    settled; `on_change` whenever `ready_workers` may have changed.
    """

    def __init__(
        self,
        *,
        workers: int,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        drain_seconds: float,
        on_death: Callable[[str, int, int], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._count = workers
        self._command = command
        self._environment = dict(environment)
        self._drain_seconds = drain_seconds
        self._on_death = on_death
        self._on_change = on_change
        self._workers: dict[int, WorkerProcess] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._log = get_logger("supervisor")
        self.restarts = 0

    @property
    def ready_workers(self) -> int:
        """How many workers accept mail now."""
        return sum(worker.ready.is_set() for worker in self._workers.values())

    async def start(self) -> None:
        """Start all workers and wait until each is ready or has died once; a death here ends the others too.

        Raises RuntimeError when a worker cannot start: its own message has said why.
        """
        self._tasks = [asyncio.create_task(self._keep(slot)) for slot in range(self._count)]
        while self.ready_workers < self._count:
            await self._changed.wait()
            self._changed.clear()
            if self.restarts:
                await self.stop()
                raise RuntimeError("a worker could not start")

    def reload(self) -> None:
        """Have every worker read its certificate and policies again.

        One that is still starting is told when it is ready: before that SIGHUP would end it, and it may have read some of
        them already.
        """
        for worker in self._workers.values():
            if worker.ready.is_set():
                _send(worker, signal.SIGHUP)
            else:
                worker.reload_wanted = True

    async def stop(self) -> None:
        """Ask every worker to drain; kill what has not ended when the drain time and a little more are over."""
        self._stopping.set()
        self._signal_all(signal.SIGTERM)
        if not self._tasks:
            return
        _, running = await asyncio.wait(self._tasks, timeout=self._drain_seconds + 5)
        if running:
            self._log.warning("drain_timed_out", workers=len(running))
            self._signal_all(signal.SIGKILL)
            await asyncio.wait(running)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            _send(worker, number)

    async def _keep(self, slot: int) -> None:
        """Run the worker of one slot for as long as the supervisor runs, a new one after each death."""
        failures = 0
        while not self._stopping.is_set():
            worker = await self._spawn(slot)
            if self._stopping.is_set():  # since, so it was not there to hear of it
                _send(worker, signal.SIGTERM)
            watch = asyncio.create_task(self._watch_ready(worker))
            status = await worker.process.wait()
            watch.cancel()
            worker.control_writer.close()
            lived = asyncio.get_running_loop().time() - worker.started
            self._workers.pop(slot, None)
            self._on_death(worker.instance, worker.process.pid, status)
            self._on_change()
            if self._stopping.is_set():
                return
            self.restarts += 1
            self._changed.set()
            failures = failures + 1 if lived < STABLE_AFTER else 1
            pause = RESTART_PAUSES[min(failures - 1, len(RESTART_PAUSES) - 1)]
            self._log.error("worker_died", slot=slot, pid=worker.process.pid, status=status, restart_in_seconds=pause)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                continue

    async def _spawn(self, slot: int) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        instance = f"{new_message_id()}.{slot}"
        environment = self._environment | {CONTROL_FD_VARIABLE: str(theirs.fileno()), INSTANCE_VARIABLE: instance}
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command, env=environment, pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = WorkerProcess(slot, instance, process, reader, writer, asyncio.get_running_loop().time())
        self._workers[slot] = worker
        return worker

    async def _watch_ready(self, worker: WorkerProcess) -> None:
        if (await worker.control.readline()).strip() == b"ready":
            worker.ready.set()
            if worker.reload_wanted:
                _send(worker, signal.SIGHUP)
            self._changed.set()
            self._on_change()
            self._log.info("worker_ready", slot=worker.slot, pid=worker.process.pid)


def _send(worker: WorkerProcess, number: signal.Signals) -> None:
    if worker.process.returncode is None:
        worker.process.send_signal(number)
