"""The process that those of the sandbox are forked from: it has imported all that they need, and never sees anything of mail.

Started by fork_server.py, never by hand. Descriptor 0 is the channel to the relay: first its order, then records of a letter and a
number, REQUEST and REPORT. It has one thread, so that what it forks is whole.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from mailguard.sandbox.child import Function, receive, send, serve
from mailguard.sandbox.confine import confine, stand_back, withdraw
from mailguard.sandbox.frames import Json
from mailguard.sandbox.values import Protection

CONTROL = 0
REQUEST = struct.Struct(">cI")
"""FORK with a descriptor, which becomes the new process's channel; KILL with a process id."""
REPORT = struct.Struct(">cIi")
"""FORKED with a process id; ENDED with that and its wait status."""
FORK, KILL, FORKED, ENDED = b"F", b"K", b"f", b"e"
ERROR_LIMIT = 200


def main() -> None:
    """The process's entry; ends with the channel, and all that it forked with it."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # whoever started the relay may have it ignored
    order, material = receive(CONTROL)
    paths, options = order["paths"], order["options"]
    if isinstance(paths, list):
        sys.path.extend(map(str, paths))
    try:
        registry = importlib.import_module(str(order["registry"]))
        functions: Mapping[str, Function] = registry.FUNCTIONS
        registry.prepare(options if isinstance(options, dict) else {}, material)
        if threads := len(list(Path("/proc/self/task").iterdir())) - 1:
            raise RuntimeError(f"{threads} threads more than one: what is forked would lack them")
        stand_back()  # not before: it is needed soon when the machine has most to do, and is made once
        held = withdraw(user=str(order["user"]), parent=int(str(order["parent"])))
    except Exception as error:  # noqa: BLE001 - told to the relay, which logs it
        send(CONTROL, {"unable": f"{type(error).__name__}: {error}"[:ERROR_LIMIT]})
        return
    gc.collect()
    gc.freeze()  # nobody's collector writes to the pages that all share
    send(CONTROL, {"ready": True})
    _wait(functions, order, held)


def _wait(functions: Mapping[str, Function], order: Mapping[str, Json], held: frozenset[Protection]) -> None:
    """Fork and kill as the relay asks, tell it what ends, until it is gone."""
    control = socket.socket(fileno=CONTROL)
    woken, waker = socket.socketpair()
    for one in (woken, waker):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    alive: set[int] = set()
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _reap(control, alive)
        if control not in ready:
            continue
        request, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 1)
        if len(request) < REQUEST.size:
            return
        letter, number = REQUEST.unpack(request)
        if letter == FORK:
            pid = os.fork()
            if pid == 0:
                _become_one(descriptors[0], functions, order, held)
            os.close(descriptors[0])
            alive.add(pid)
            control.sendall(REPORT.pack(FORKED, pid, 0))
        elif letter == KILL and number in alive:  # one that has been reaped may be another's by now
            os.kill(number, signal.SIGKILL)


def _reap(control: socket.socket, alive: set[int]) -> None:
    while alive:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        alive.discard(pid)
        control.sendall(REPORT.pack(ENDED, pid, status))


def _become_one(
    channel: int, functions: Mapping[str, Function], order: Mapping[str, Json], held: frozenset[Protection]
) -> NoReturn:
    """A process that does jobs. Nothing of ours may run in it after that."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        parent = os.getppid()
        os.dup2(channel, CONTROL)
        cpu_seconds, jobs = float(str(order["cpu_seconds"])), int(str(order["jobs"]))
        try:
            held |= confine(memory=int(str(order["memory"])), cpu_seconds=cpu_seconds * jobs, parent=parent)
        except OSError as error:
            send(CONTROL, {"unable": f"{type(error).__name__}: {error}"[:ERROR_LIMIT]})
        else:
            send(CONTROL, {"held": [one.value for one in sorted(held)]})
            serve(functions, cpu_seconds)
            code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
