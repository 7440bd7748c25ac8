"""The profiles in policies/*.yaml: read, checked with every error at its path and line, reloaded when they change.

A change that does not pass leaves all profiles as they were: the last good ones stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mailguard.config.reloading import OnProblems, ReloadedFiles, ignore_problems
from mailguard.core.errors import ConfigError, NotFoundError, Problem
from mailguard.policy.profile import DEFAULT_PROFILE, Policy
from mailguard.policy.read import read_profiles


class PolicyFiles(ReloadedFiles):
    """All profiles of a directory. `on_problems` hears of a tenant's profile that is not there, too, once until it changes."""

    def __init__(self, path: Path, *, on_problems: OnProblems = ignore_problems) -> None:
        super().__init__(on_problems=on_problems)
        self._path = path
        self._profiles: dict[str, Policy] = {}
        self._missed: set[str] = set()

    def _paths(self) -> Iterable[Path]:
        return (*self._path.glob("*.yaml"), *self._path.glob("lists/*"))

    def _take(self) -> None:
        profiles, problems = read_profiles(self._path)
        if problems:
            raise ConfigError(problems)
        self._profiles = profiles
        self._missed.clear()

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
    def hashes(self) -> dict[str, str]:
        """The hash of each profile by its name."""
        return {name: policy.hash for name, policy in self._profiles.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all profiles."""
        return tuple(sorted(self._profiles))
