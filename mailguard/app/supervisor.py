"""The process that starts all others: it forks them from itself, replaces those that die, passes signals on. It handles no mail.

All that is slow to come by (modules, rules, the classifier) is in it when it forks, and shared: a worker is there in
milliseconds. For a fork to be whole, this process has no thread, no event loop, no connection and no listener of its own;
what needs those runs in its children, the monitor among them. Each child holds one end of a socket pair: it writes `ready`
into it, and ends when it finds it closed, for then the parent is gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from mailguard.core.ids import new_message_id
from mailguard.ops.log import get_logger

RESTART_PAUSES = (0.0, 0.2, 1.0, 2.0, 5.0)
"""Seconds to wait before a process is replaced, by how many died in a row before they were ready or within STABLE_AFTER."""
STABLE_AFTER = 30.0
"""Seconds after which a process counts as healthy, and the pause starts from the beginning."""
KILL_AFTER = 5.0
"""Seconds beyond the drain time after which a worker is killed."""
MONITOR_ENDS = 15.0
"""Seconds that the monitor has, after the last worker, to settle what they left and to end."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Role:
    """A process to keep running: its name for `ps -o comm` (15 octets at most), and what runs in it.

    `run(control, instance)` gives the exit code; `instance` is a new id with each start.
    """

    name: str
    run: Callable[[socket.socket, str], int]


@dataclass(slots=True, eq=False)
class _Child:
    """One running process, and our end of its socket pair."""

    slot: int
    name: str
    instance: str
    pid: int
    control: socket.socket
    started: float
    heard: bytes = b""
    ready: bool = False
    reload_wanted: bool = False


class Supervisor:
    """Keeps the monitor and the workers running until SIGTERM or SIGINT, then has the workers drain.

    `prepare` is called before each fork and at each SIGHUP: what it reads again, the next child has. `on_ready` is called
    once, when all are ready for the first time; `on_death` with the pid of every process that ended. The monitor is told
    over its socket pair, a line each: `ready COUNT` of workers, `ended INSTANCE PID STATUS` of a worker, and at last `end`.
    """

    def __init__(
        self,
        *,
        monitor: Role,
        workers: Sequence[Role],
        drain_seconds: float,
        prepare: Callable[[], None] = lambda: None,
        on_ready: Callable[[], None] = lambda: None,
        on_death: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self._roles = (monitor, *workers)
        self._drain_seconds = drain_seconds
        self._prepare = prepare
        self._on_ready = on_ready
        self._on_death = on_death
        self._children: dict[int, _Child] = {}
        self._failures = [0] * len(self._roles)
        self._due: dict[int, float] = {}
        self._untold: list[str] = []
        self._complete = False
        self._deadline: float | None = None
        self._code = 0
        self._log = get_logger("supervisor")

    def run(self) -> int:
        """Start all and stay until all have ended: 0 after a drain, 1 when one could not start; its own message says why."""
        with contextlib.ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._wakened, self._waker = stack.enter_context(_signals_heard())
            self._selector.register(self._wakened, selectors.EVENT_READ, self._hear_signals)
            self._due = dict.fromkeys(range(len(self._roles)), 0.0)
            while self._children or self._due:
                self._start_due()
                for key, _ in self._selector.select(self._patience()):
                    key.data()
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    self._kill_late()
        return self._code

    def _patience(self) -> float | None:
        times = [*self._due.values(), *([] if self._deadline is None else [self._deadline])]
        return max(0.0, min(times) - time.monotonic()) if times else None

    # what is heard

    def _hear_signals(self) -> None:
        numbers = set(self._wakened.recv(4096))
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        if signal.SIGHUP in numbers:
            self._reload()
        # Always, since several ends may have come as one signal.
        self._reap()

    def _hear(self, child: _Child) -> None:
        if self._children.get(child.slot) is not child:  # its end was noticed a moment ago
            return
        try:
            heard = child.control.recv(4096)
        except OSError:
            heard = b""
        if not heard:  # its end was closed: we hear of the process itself by SIGCHLD
            self._selector.unregister(child.control)
            return
        child.heard = (child.heard + heard)[-64:]
        if child.ready or b"ready\n" not in child.heard:
            return
        child.ready = True
        self._log.info(f"{self._kind(child.slot)}_ready", name=child.name, pid=child.pid)
        if child.reload_wanted:
            _send(child, signal.SIGHUP)
        self._count()
        if not self._complete and sum(one.ready for one in self._children.values()) == len(self._roles):
            self._complete = True
            self._on_ready()

    def _reload(self) -> None:
        """Have every worker read its certificate and policies again.

        One that is still starting is told when it is ready: before that SIGHUP would end it, and it may have read some of
        them already.
        """
        self._log.info("reloading")
        self._prepare()
        for worker in self._workers():
            if worker.ready:
                _send(worker, signal.SIGHUP)
            else:
                worker.reload_wanted = True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = next((one for one in self._children.values() if one.pid == pid), None)
            if child is not None:  # else an orphan of a container of which we are the first process
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, status: int) -> None:
        del self._children[child.slot]
        with contextlib.suppress(KeyError):  # it had closed its end before
            self._selector.unregister(child.control)
        child.control.close()
        self._on_death(child.pid)
        if child.slot:
            self._tell(f"ended {child.instance} {child.pid} {status}")
        self._count()
        if self._deadline is not None:
            self._end_monitor()
        else:
            self._replace(child.slot, status, pid=child.pid, lived=time.monotonic() - child.started)

    def _replace(self, slot: int, status: int, *, pid: int, lived: float) -> None:
        """Start another in its place, after a pause; before all were ready once, end the others instead."""
        failures = self._failures[slot] = self._failures[slot] + 1 if lived < STABLE_AFTER else 1
        pause = RESTART_PAUSES[min(failures - 1, len(RESTART_PAUSES) - 1)]
        name = self._roles[slot].name
        if not self._complete:
            self._log.error("cannot_start", error=f"{name} ended with {status} before it was ready", pid=pid)
            self._code = 1
            self._stop()
            return
        self._log.error(f"{self._kind(slot)}_died", name=name, pid=pid, status=status, restart_in_seconds=pause)
        self._due[slot] = time.monotonic() + pause

    # what is done

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in [slot for slot, at in self._due.items() if at <= now]:
            del self._due[slot]
            self._prepare()
            try:
                self._fork(slot)
            except OSError as error:  # no process or memory left
                self._replace(slot, error.errno or 1, pid=0, lived=0.0)

    def _fork(self, slot: int) -> None:
        role = self._roles[slot]
        instance = f"{new_message_id()}.{slot}"
        ours, theirs = socket.socketpair()
        gc.freeze()  # what is here is not looked through in the child: that would copy all of it
        # A signal in the child's first moments must not be noted as one of ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(role, instance, ours, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            theirs.close()
        ours.setblocking(False)
        child = _Child(slot, role.name, instance, pid, ours, time.monotonic())
        self._children[slot] = child
        self._selector.register(ours, selectors.EVENT_READ, partial(self._hear, child))
        if not slot:
            self._tell(*self._untold)
            self._untold = []
            self._count()

    def _become(self, role: Role, instance: str, ours: socket.socket, control: socket.socket) -> NoReturn:
        """Be that process from now on: with nothing of the parent's but what it has read."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # Ctrl-C reaches the whole process group: the parent turns it into SIGTERM in its own time.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._selector.close()
            for inherited in (ours, self._wakened, self._waker, *(child.control for child in self._children.values())):
                inherited.close()
            with Path(os.devnull).open("rb") as nothing:
                os.dup2(nothing.fileno(), 0)
            with contextlib.suppress(OSError):
                Path("/proc/self/comm").write_text(role.name)
            code = role.run(control, instance)
        except BaseException:  # noqa: BLE001 - as at the end of any process: told, and the code says it
            sys.excepthook(*sys.exc_info())
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(code)

    def _stop(self) -> None:
        if self._deadline is not None:
            return
        self._log.info("draining", seconds=self._drain_seconds)
        self._due.clear()
        self._deadline = time.monotonic() + self._drain_seconds + KILL_AFTER
        for worker in self._workers():
            _send(worker, signal.SIGTERM)
        self._end_monitor()

    def _end_monitor(self) -> None:
        """When the last worker is gone, the monitor is to settle the rest and end."""
        if 0 in self._children and not self._workers():
            self._deadline = time.monotonic() + MONITOR_ENDS
            self._tell("end")

    def _kill_late(self) -> None:
        late = self._workers() or list(self._children.values())
        self._log.warning("drain_timed_out", processes=[child.name for child in late])
        for child in late:
            _send(child, signal.SIGKILL)
        self._deadline = time.monotonic() + KILL_AFTER

    def _count(self) -> None:
        self._tell(f"ready {sum(worker.ready for worker in self._workers())}")

    def _tell(self, *lines: str) -> None:
        monitor = self._children.get(0)
        for line in lines:
            if monitor is not None:
                with contextlib.suppress(
                    OSError
                ):  # it does not read, or is about to be replaced: leases run out by themselves
                    monitor.control.send(f"{line}\n".encode())
            elif not line.startswith("ready"):
                self._untold.append(line)

    def _workers(self) -> list[_Child]:
        return [child for slot, child in self._children.items() if slot]

    def _kind(self, slot: int) -> str:
        return "worker" if slot else "monitor"


def _send(child: _Child, number: signal.Signals) -> None:
    # Never to a stranger: a pid is free for others only after we have waited for it.
    os.kill(child.pid, number)


@contextlib.contextmanager
def _signals_heard() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket from which the numbers of the signals can be read that come to this process, and the one they are written to."""
    heard, told = socket.socketpair()
    heard.setblocking(False)
    told.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    waker = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        yield heard, told
    finally:
        signal.set_wakeup_fd(waker)
        for number, handler in before.items():
            signal.signal(number, handler)
        heard.close()
        told.close()
