"""The supervisor with workers that are small scripts: replaced when they die, reloaded when they can be, drained in the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mailguard.app.supervisor import Supervisor

WORKER = """
import os, signal, socket, sys, time
folder = sys.argv[1]
def note(word):
    with open(folder + "/notes", "a") as file:
        file.write(word + "\\n")
time.sleep(float(sys.argv[2]))
signal.signal(signal.SIGHUP, lambda *_: note("reload"))
signal.signal(signal.SIGTERM, lambda *_: (note("end"), sys.exit(0)))
control = socket.socket(fileno=int(os.environ["MAILGUARD_CONTROL_FD"]))
note(f"start {os.getpid()}")
control.sendall(b"ready\\n")
while control.recv(1):
    pass
"""


class Crew:
    """A supervisor of such workers, and what they noted."""

    def __init__(self, folder: Path, *, workers: int = 2, starting: float = 0.0) -> None:
        script = folder / "worker.py"
        script.write_text(WORKER)
        self.folder = folder
        self.deaths: list[int] = []
        self.supervisor = Supervisor(
            workers=workers,
            command=(sys.executable, str(script), str(folder), str(starting)),
            environment=dict(os.environ),
            drain_seconds=5,
            on_death=lambda _instance, _pid, status: self.deaths.append(status),
        )

    @property
    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self) -> list[int]:
        return [int(note.split()[1]) for note in self.notes if note.startswith("start")]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_workers_start_hear_of_a_reload_and_end(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    await crew.supervisor.start()
    assert crew.supervisor.ready_workers == 2
    crew.supervisor.reload()
    await until(lambda: crew.notes.count("reload") == 2)
    await crew.supervisor.stop()
    assert crew.notes.count("end") == 2
    assert crew.deaths == [0, 0]
    assert crew.supervisor.restarts == 0


async def test_a_worker_that_is_starting_is_reloaded_when_it_is_ready(tmp_path: Path) -> None:
    crew = Crew(tmp_path, starting=0.3)
    starting = asyncio.create_task(crew.supervisor.start())
    await until(lambda: len(crew.supervisor._workers) == 2)
    crew.supervisor.reload()
    await starting
    await until(lambda: crew.notes.count("reload") == 2)
    assert crew.deaths == []
    await crew.supervisor.stop()


async def test_one_that_dies_is_replaced(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    await crew.supervisor.start()
    os.kill(crew.pids()[0], signal.SIGKILL)
    await until(lambda: len(crew.pids()) == 3 and crew.supervisor.ready_workers == 2)
    assert crew.deaths == [-signal.SIGKILL]
    assert crew.supervisor.restarts == 1
    await crew.supervisor.stop()


async def test_stopped_while_a_worker_is_being_made_it_leaves_none_behind(tmp_path: Path) -> None:
    crew = Crew(tmp_path, workers=1, starting=30)
    starting = asyncio.create_task(crew.supervisor.start())
    await asyncio.sleep(0)  # the process is being made, and is not among the workers yet
    assert not crew.supervisor._workers
    async with asyncio.timeout(4):
        await crew.supervisor.stop()
    assert crew.deaths in ([], [-signal.SIGTERM])
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_one_that_cannot_start_ends_the_start(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    (tmp_path / "worker.py").write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="could not start"):
        await crew.supervisor.start()
    assert 3 in crew.deaths
