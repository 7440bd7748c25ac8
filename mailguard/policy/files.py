"""The profiles in policies/*.yaml: read, checked with every error at its path and line, reloaded when they change.

A change that does not pass leaves all profiles as they were: the last good ones stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from mailguard.core.errors import ConfigError, NotFoundError, Problem
from mailguard.policy.profile import DEFAULT_PROFILE, Policy
from mailguard.policy.read import read_profiles

OnProblems = Callable[[Sequence[Problem]], None]

Signature = tuple[tuple[str, int, int, int], ...]


class PolicyFiles:
    """All profiles of a directory. `on_problems` hears of each reload that failed, and of a tenant's profile that is not
    there, once until it changes: for the log and the metrics.
    """

    def __init__(self, path: Path, *, on_problems: OnProblems = lambda problems: None) -> None:
        self._path = path
        self._on_problems = on_problems
        self._profiles: dict[str, Policy] = {}
        self._signature: Signature = ()
        self._missed: set[str] = set()

    def load(self) -> dict[str, Policy]:
        """Read all profiles, by name. Raises ConfigError with every problem; the profiles before it, if any, stay."""
        signature = self._look()
        profiles, problems = read_profiles(self._path)
        self._signature = signature
        if problems:
            raise ConfigError(problems)
        self._profiles = profiles
        self._missed.clear()
        return dict(profiles)

    def reload(self) -> tuple[Problem, ...]:
        """Read all profiles again; what is wrong with them, told to `on_problems` too, or nothing when they were taken."""
        try:
            self.load()
        except ConfigError as error:
            self._on_problems(error.problems)
            return error.problems
        return ()

    def reload_if_changed(self) -> bool:
        """Reload when a file was changed, added or removed since the last look, judged by size and time. Cheap."""
        if self._look() == self._signature:
            return False
        self.reload()
        return True

    async def watch(self, *, interval: float = 2.0) -> None:
        """Reload on change, looking every `interval` seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(interval)
            await asyncio.to_thread(self.reload_if_changed)

    def get(self, name: str) -> Policy:
        """The profile by its name. One that is not there gives the default: a tenant's mail goes on, filtered by the
        baseline, and `on_problems` is told. Raises NotFoundError when nothing was ever loaded.
        """
        profile = self._profiles.get(name)
        if profile is not None:
            return profile
        default = self._profiles.get(DEFAULT_PROFILE)
        if default is None:
            raise NotFoundError(f"no profiles are loaded from {self._path}")
        if name not in self._missed:
            self._missed.add(name)
            message = f"a tenant's profile is not there; {DEFAULT_PROFILE} is used in its place"
            self._on_problems((Problem(f"{name}.yaml", message),))
        return default

    def find(self, name: str) -> Policy:
        """The profile by its name. Raises NotFoundError naming those that are there."""
        try:
            return self._profiles[name]
        except KeyError:
            raise NotFoundError(f"no profile {name!r}; there are {', '.join(self.names) or 'none'}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all profiles."""
        return tuple(sorted(self._profiles))

    def _look(self) -> Signature:
        """What the files look like from outside."""
        seen = []
        for path in sorted((*self._path.glob("*.yaml"), *self._path.glob("lists/*"))):
            try:
                stat = path.stat()
            except OSError:
                continue  # gone between the listing and here; the next look sees it gone
            seen.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(seen)
