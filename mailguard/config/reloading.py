"""Files that are read again when they change: a change that does not pass leaves the last good version in force."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Self

from mailguard.core.errors import ConfigError, Problem

OnProblems = Callable[[Sequence[Problem]], None]


def ignore_problems(problems: Sequence[Problem]) -> None:
    """For those who look at what `reload` returns."""


class ReloadedFiles(ABC):
    """`on_problems` hears of each reload that failed."""

    def __init__(self, *, on_problems: OnProblems = ignore_problems) -> None:
        self._on_problems = on_problems
        self._signature: tuple[tuple[str, int, int, int], ...] = ()

    @abstractmethod
    def _paths(self) -> Iterable[Path]:
        """The files, whether they are there or not."""

    @abstractmethod
    def _take(self) -> None:
        """Read the files and put what they say in force. Raises ConfigError with every problem: then nothing changes."""

    def told_to(self, on_problems: OnProblems) -> Self:
        """The same, as read so far, for somebody else to reload and to hear of what is wrong."""
        other = copy(self)
        other._on_problems = on_problems
        return other

    def load(self) -> None:
        """Read the files. Raises ConfigError with every problem; what was in force before, if anything, stays."""
        self._signature = self._look()
        self._take()

    def reload(self) -> tuple[Problem, ...]:
        """Read them again; what is wrong with them, told to `on_problems` too, or nothing when they were taken."""
        try:
            self.load()
        except ConfigError as error:
            self._on_problems(error.problems)
            return error.problems
        return ()

    @property
    def changed(self) -> bool:
        """Whether a file was changed, added or removed since the last look, judged by size and time. Cheap."""
        return self._look() != self._signature

    def reload_if_changed(self) -> bool:
        """Reload when something changed; whether it had."""
        if not self.changed:
            return False
        self.reload()
        return True

    def _look(self) -> tuple[tuple[str, int, int, int], ...]:
        """What the files look like from outside."""
        seen = []
        for path in sorted(self._paths()):
            try:
                stat = path.stat()
            except OSError:
                continue  # gone between the listing and here; the next look sees it gone
            seen.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(seen)
