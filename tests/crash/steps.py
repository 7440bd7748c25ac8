"""The named steps at which a process is killed: who dies there, on which mail, and what must be true of that mail afterwards."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from mailguard.core.events import State
from tests.crash.account import Kill, deliveries_of
from tests.crash.load import PATIENCE, comes_twice, is_infected, number_of
from tests.crash.scene import BOUNDS, Scene
from tests.e2e.mails import mail
from tests.servers.ports import wait_until
from tests.servers.smtp_sink import Received

FORGED = mail("from the bank", sender="bank@forged.test")
"""DMARC fails, and its domain asks for rejection: quarantined."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step. What must be true in the end of the mail on which the process died: its `state` in the ledger (empty: it is not
    there), how often it `arrived`, and whether its `body` is on the disk (None: that depends)."""

    name: str
    state: str
    arrived: int
    body: bool | None = None
    by: str = "worker"
    """worker: one dies by itself; hop: the next hop kills one; command: not a worker dies, but `mailguard quarantine release`."""


STEPS = (
    # A message that is quarantined.
    Step("quarantine-body", "", 0, body=True),
    Step("quarantine-row", State.QUARANTINED, 0, body=True),
    # A message that is delivered while the sender waits.
    Step("intent", State.INTERRUPTED, 0, body=False),
    Step("before-final-reply", State.INTERRUPTED, 1, body=False, by="hop"),
    Step("after-final-reply", State.INTERRUPTED, 1, body=False),
    Step("before-250", State.DELIVERED, 1),
    # A message that the next hop does not take yet.
    Step("spool-body", State.INTERRUPTED, 0, body=True),
    Step("spool-row", State.DELIVERED, 1),
    # The queue.
    Step("queue-claim", State.DELIVERED, 1),
    Step("queue-delivered", State.DELIVERED, 2),
    # Releasing.
    Step("release-uncommitted", State.RELEASED, 1, body=True, by="command"),
    Step("release-committed", State.RELEASED, 1, body=True, by="command"),
    Step("release-delivered", State.RELEASED, 2, body=True),
)


def kill_at(scene: Scene, step: Step) -> None:
    """Let a process die at a step and wait until its place is taken; it must have died by SIGKILL, and there."""
    workers = scene.relay.worker_pids()
    if step.name.startswith("release"):
        pid, ids = _release(scene, step)
    elif step.by == "hop":
        pid, ids = _strike(scene)
    else:
        _arm(scene, step)
        pid, ids = _died(scene, step)
    noticed = time.monotonic()
    assert ids
    if step.by != "command":
        assert pid in workers
        scene.until_replaced(pid)
        assert [line["status"] for line in scene.log("worker_died") if line["pid"] == pid] == [-signal.SIGKILL]
    if step.state in (State.DELIVERED, State.RELEASED):
        # Before the next kill, so that this one alone has to do with what became of them.
        settled = f"the mails on which something died at {step.name} being {step.state}"
        wait_until(lambda: set(scene.books.states(ids).values()) == {step.state}, seconds=PATIENCE, what=settled)
    if step.name.startswith("release"):
        scene.relay.run("quarantine", "release", *ids)  # says that it was released already
    bound = 0 if step.by == "command" else BOUNDS["worker"]
    scene.kills.append(Kill(step.name, noticed, time.monotonic(), bound, ids))


def _arm(scene: Scene, step: Step) -> None:
    (scene.steps / step.name).touch()


def _died(scene: Scene, step: Step) -> tuple[int, tuple[str, ...]]:
    """Wait until something has died at a step; its process, and the units or messages on which it did."""
    note = scene.steps / f"{step.name}.died"
    wait_until(note.exists, seconds=PATIENCE, what=f"something dying at {step.name}")
    pid, *ids = note.read_text().split()
    note.unlink()
    return int(pid), tuple(ids)


def _strike(scene: Scene) -> tuple[int, tuple[str, ...]]:
    """Kill the worker from whom the next hop has a whole message, in session, that it has not replied to yet."""
    struck: list[tuple[int, tuple[str, ...]]] = []

    def strike(received: Received) -> bool:
        message, recipient, _at = deliveries_of([received])[0]
        number = number_of(recipient)
        if not number or comes_twice(number) or is_infected(number):
            return False
        pid = _owner(received.port, scene.sink.port, scene.relay.worker_pids())
        if not pid:
            return False
        os.kill(pid, signal.SIGKILL)
        struck.append((pid, tuple(scene.books.units_of(recipient, message=message))))
        return True

    scene.hop.strike = strike
    wait_until(lambda: struck, seconds=PATIENCE, what="a message coming to the next hop")
    return struck[0]


def _owner(port: int, peer: int, pids: list[int]) -> int:
    """Which of these processes has the TCP connection from a port of loopback to another; 0: none."""
    row = re.compile(rf"^ *\d+: 0100007F:{port:04X} 0100007F:{peer:04X} 01 (?:\S+ +){{5}}(\d+) ", re.MULTILINE)
    found = row.search(Path("/proc/net/tcp").read_text())
    socket = f"socket:[{found[1]}]" if found else ""
    return next((pid for pid in pids if socket and socket in _open_files(pid)), 0)


def _open_files(pid: int) -> set[str]:
    try:
        return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _release(scene: Scene, step: Step) -> tuple[int, tuple[str, ...]]:
    """Quarantine a mail and release it; once that was interrupted, release it again, as whoever saw it fail would."""
    recipient = f"kept-{len(scene.kills)}@client.test"
    code, text = scene.relay.send(FORGED, [recipient])
    assert code == 250, text
    (unit,) = scene.books.units_of(recipient)
    assert scene.books.states([unit]) == {unit: State.QUARANTINED}
    _arm(scene, step)
    if step.by == "command":
        done = scene.relay.cli("quarantine", "release", unit, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert (scene.books.states([unit])[unit] == State.QUARANTINED) == (step.name == "release-uncommitted")
    else:
        scene.relay.run("quarantine", "release", unit)
    pid, ids = _died(scene, step)
    assert ids == (unit,)
    scene.relay.run("quarantine", "release", unit)
    return pid, ids
