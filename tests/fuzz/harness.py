"""One input under watch: its CPU time and its memory are bounded, and what goes wrong is told as a Find."""

from __future__ import annotations

import resource
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import FrameType

from tests.fuzz.target import Target

FOLDER = Path(__file__).parent
FINDS = FOLDER / "finds"
CPU_LIMIT = 2.0
"""Seconds of CPU time that one input may take, under a coverage-guided run too."""
MEMORY_LIMIT = 256 * 1024
"""KiB by which one input may raise the process's peak."""


class HangError(BaseException):
    """An input took more than CPU_LIMIT. No Exception, so that nothing that catches these takes it for its own."""


class GluttonyError(BaseException):
    """An input raised the process's peak by more than MEMORY_LIMIT."""


@dataclass(frozen=True, slots=True)
class Find:
    """What an input did. `place` names the error and the innermost line of ours: finds of one place are one find."""

    data: bytes
    place: str
    trace: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return sha256(self.data).hexdigest()[:16]


def try_input(
    target: Target, data: bytes, *, cpu_limit: float = CPU_LIMIT, memory_limit: int = MEMORY_LIMIT
) -> Find | None:
    """What goes wrong with an input; None when all that must hold does."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _limit(cpu_limit):
            target.run(data)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if grown > memory_limit:
            raise GluttonyError(f"the peak grew by {grown} KiB")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - that is what we are here for
        return Find(data, _place(error), "".join(traceback.format_exception(error)))
    return None


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raises HangError in the midst of it, again and again: an event loop takes one in a callback for the callback's own."""
    previous = signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds / 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise HangError("it takes too much CPU time")


def _place(error: BaseException) -> str:
    """For a hang the line is chance: it is told by the error alone."""
    if isinstance(error, HangError | GluttonyError):
        return type(error).__name__
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    last = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__} {last}".strip()


def _is_ours(filename: str) -> bool:
    return "/mailguard/" in filename or "/targets/" in filename


def kept_finds(target: str, folder: Path = FINDS) -> list[Path]:
    """The inputs that once went wrong with a target, and are now tests."""
    return sorted(path for path in (folder / target).glob("*") if path.is_file() and not path.name.endswith(".txt"))


def keep(find: Find, target: str, folder: Path = FINDS) -> Path:
    """Write a find to the finds of a target."""
    (folder / target).mkdir(parents=True, exist_ok=True)
    path = folder / target / find.name
    path.write_bytes(find.data)
    return path
