"""The supervisor with small processes of its own: replaced when they die, reloaded when they can be, drained in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.ports import wait_until

CREW = """
import json, os, signal, socket, sys, time
from mailguard.app.supervisor import Role, Supervisor
from mailguard.ops import log

folder, plan = sys.argv[1], json.loads(sys.argv[2])
loaded = object()

def note(word):
    with open(folder + "/notes", "a") as file:
        file.write(word + "\\n")

def worker(control, instance):
    name = open("/proc/self/comm").read().strip()
    if name in plan.get("unable", ()):
        return 3
    time.sleep(plan.get("starting", 0))
    signal.signal(signal.SIGHUP, lambda *_: note("reload"))
    signal.signal(signal.SIGTERM, lambda *_: (note("end"), os._exit(0)))
    if plan.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(f"start {name} {os.getpid()} {id(loaded)}")
    if name in plan.get("falling", ()):
        raise ValueError("on its face")
    control.sendall(b"ready\\n")
    while control.recv(1):
        pass
    note("orphan")
    return 0

def monitor(control, instance):
    note(f"start monitor {os.getpid()} {id(loaded)}")
    control.sendall(b"ready\\n")
    with control.makefile() as lines:
        for line in lines:
            note("told " + line.strip())
            if line == "end\\n":
                break
        else:
            note("orphan")
    note("monitor end")
    return 0

log.configure(level="info", form="json")
supervisor = Supervisor(
    monitor=Role("crew-mon", monitor),
    workers=[Role(f"crew-w{n}", worker) for n in range(1, plan.get("workers", 2) + 1)],
    drain_seconds=plan.get("drain", 5),
    prepare=lambda: note("prepare"),
    on_ready=lambda: note("ready"),
    on_death=lambda pid: note(f"dead {pid}"),
)
sys.exit(supervisor.run())
"""


class Crew:
    """A supervisor of such processes, and what they noted."""

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        self.folder = folder
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", CREW, folder, json.dumps(plan)], stderr=log)

    @property
    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def pids(self, name: str = "crew-w") -> list[int]:
        return [int(note.split()[2]) for note in self.notes if note.startswith(f"start {name}")]

    def until(self, note: str, times: int = 1) -> None:
        wait_until(lambda: self.notes.count(note) >= times, what=f"{note!r} {times} times")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def crew(folder: Path, **plan: Any) -> Iterator[Crew]:
    made = Crew(folder, plan)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_start_hear_of_a_reload_and_end(tmp_path: Path) -> None:
    with crew(tmp_path) as made:
        made.until("ready")
        made.until("told ready 2")
        made.process.send_signal(signal.SIGHUP)
        made.until("reload", 2)
        assert made.end() == 0
        assert made.notes.count("end") == 2
        assert made.notes.count("prepare") == 4  # before each fork, and at the reload
        # The monitor hears of each end, and is the last one.
        first, second = made.pids()
        told = [note.split() for note in made.notes if note.startswith("told ended")]
        assert {(int(words[3]), words[4]) for words in told} == {(first, "0"), (second, "0")}
        assert made.notes[-2:] == ["monitor end", f"dead {made.pids('monitor')[0]}"]


def test_what_the_parent_has_read_its_children_share(tmp_path: Path) -> None:
    with crew(tmp_path) as made:
        made.until("ready")
        places = {note.split()[3] for note in made.notes if note.startswith("start ")}
        assert len(places) == 1  # one object, at one address
        assert made.end(signal.SIGINT) == 0


def test_a_worker_that_is_starting_is_reloaded_when_it_is_ready(tmp_path: Path) -> None:
    with crew(tmp_path, starting=0.3) as made:
        made.until("told ready 0")
        made.process.send_signal(signal.SIGHUP)
        made.until("reload", 2)
        assert not [note for note in made.notes if note.startswith("dead")]


def test_one_that_dies_is_replaced(tmp_path: Path) -> None:
    with crew(tmp_path) as made:
        made.until("ready")
        victim = made.pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(made.pids()) == 3, what="the new worker")
        made.until("told ready 2", 2)
        (ended,) = [note.split() for note in made.notes if note.startswith("told ended")]
        assert (int(ended[3]), ended[4]) == (victim, "-9")
        assert made.notes.count("ready") == 1
        assert '"event": "worker_died"' in made.log


def test_a_monitor_that_dies_is_replaced_and_told_how_things_stand(tmp_path: Path) -> None:
    with crew(tmp_path) as made:
        made.until("ready")
        made.until("told ready 2")
        monitor, worker = made.pids("monitor")[0], made.pids()[0]
        # Stopped, the parent finds both gone at once: what is to be told of the worker waits for the new monitor.
        made.process.send_signal(signal.SIGSTOP)
        for pid in (worker, monitor):
            os.kill(pid, signal.SIGKILL)
        made.process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(made.pids("monitor")) == 2, what="the new monitor")
        made.until("told ready 2", 2)
        assert '"event": "monitor_died"' in made.log
        assert made.end() == 0


def test_one_that_cannot_start_ends_the_start(tmp_path: Path) -> None:
    with crew(tmp_path, unable=["crew-w2"]) as made:
        assert made.process.wait(30) == 1
        assert "crew-w2 ended with 3 before it was ready" in made.log
        assert "ready" not in made.notes
        assert not any(map(is_there, made.pids()))


def test_an_exception_is_told_as_at_the_end_of_any_process(tmp_path: Path) -> None:
    with crew(tmp_path, falling=["crew-w1"]) as made:
        assert made.process.wait(30) == 1
        assert "ValueError: on its face" in made.log
        assert "crew-w1 ended with 1" in made.log


def test_told_to_end_while_all_are_starting_it_leaves_none_behind(tmp_path: Path) -> None:
    with crew(tmp_path, starting=60) as made:
        made.until("told ready 0")
        assert made.end() == 0
        assert not any(note.startswith("start crew-w") for note in made.notes)


def test_one_that_does_not_drain_is_killed(tmp_path: Path) -> None:
    with crew(tmp_path, deaf=True, drain=-4.5) as made:
        made.until("ready")
        assert made.end() == 0
        assert "drain_timed_out" in made.log
        assert not any(map(is_there, made.pids()))


def test_without_their_parent_all_end(tmp_path: Path) -> None:
    with crew(tmp_path) as made:
        made.until("ready")
        made.end(signal.SIGKILL)
        made.until("orphan", 3)
