"""From the YAML files of a directory to Policies: `extends`, list files, and every problem at its path and line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mailguard.config.problems import Location, nearest, problems_of
from mailguard.config.yaml_source import Source, read
from mailguard.core.errors import ConfigError, Problem
from mailguard.core.tenant import ListEntry, ListKind
from mailguard.policy.file_shape import joined_rules
from mailguard.policy.lists import parse_pattern
from mailguard.policy.profile import DEFAULT_PROFILE, Policy
from mailguard.policy.shape import BUILT_IN, ProfileTable, to_policy

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")


def read_profiles(directory: Path) -> tuple[dict[str, Policy], tuple[Problem, ...]]:
    """All profiles of `directory` by name, and all that is wrong with them. A profile with a problem is left out."""
    if not directory.is_dir():
        return {}, (Problem(str(directory), "is not a directory of profiles"),)
    problems: list[Problem] = []
    sources = {path.stem: source for path in sorted(directory.glob("*.yaml")) if (source := _read(path, problems))}
    if not (directory / f"{DEFAULT_PROFILE}.yaml").exists():
        problems.append(Problem(f"{DEFAULT_PROFILE}.yaml", f"is not in {directory}; the profile of that name must be"))
    reader = _Reader(directory, sources, problems)
    profiles = {name: policy for name in sources if (policy := reader.policy(name))}
    return profiles, tuple(problems)


def read_draft(directory: Path, path: Path) -> Policy:
    """The profile in the file `path`, wherever it is and whatever it is called, as if it were one of `directory`.

    Raises ConfigError with every problem; those of the directory's files are told only when the draft builds on one of them.
    """
    elsewhere: list[Problem] = []
    sources = {one.stem: source for one in sorted(directory.glob("*.yaml")) if (source := _read(one, elsewhere))}
    problems: list[Problem] = []
    draft = _checked(path, str(path), problems)
    if draft is None:
        raise ConfigError(problems)
    key = f"{path.stem} (draft)"  # no name of a profile, so that it may build on the one it is to replace
    policy = _Reader(directory, {**sources, key: draft}, problems).policy(key)
    if policy is None:
        raise ConfigError(problems or elsewhere)
    return replace(policy, name=path.stem)


def _read(path: Path, problems: list[Problem]) -> Source | None:
    """One file of the directory, checked by itself."""
    if not _NAME.match(path.stem):
        problems.append(Problem(path.name, "the name must be of lower-case letters, digits, hyphens and underscores"))
        return None
    return _checked(path, path.name, problems)


def _checked(path: Path, name: str, problems: list[Problem]) -> Source | None:
    before = len(problems)
    source = read(path, name, problems)
    if source is None:
        return None
    data = {} if source.data is None else source.data
    try:
        ProfileTable.model_validate(data)
    except ValidationError as error:
        problems += problems_of(error, ProfileTable, source.where)
    return Source(source.name, data, source.lines) if len(problems) == before else None


class _Reader:
    """Joins checked files along `extends`, and reads each list file once."""

    def __init__(self, directory: Path, sources: Mapping[str, Source], problems: list[Problem]) -> None:
        self._directory = directory
        self._sources = sources
        self._problems = problems
        self._list_files: dict[str, tuple[str, ...]] = {}

    def policy(self, name: str) -> Policy | None:
        """The effective Policy of a profile; None when something in its line is wrong."""
        data = self._effective(name)
        if data is None:
            return None
        source = self._sources[name]
        before = len(self._problems)
        try:
            table = ProfileTable.model_validate(data)
        except ValidationError as error:
            self._problems += problems_of(error, ProfileTable, source.where)
            return None
        entries = tuple(
            ListEntry(kind, pattern, author=file)
            for kind, key, files in (
                (ListKind.ALLOW, "allow_files", table.lists.allow_files),
                (ListKind.DENY, "deny_files", table.lists.deny_files),
            )
            for position, file in enumerate(files)
            for pattern in self._list_file(file, source, ("lists", key, position))
        )
        return to_policy(name, table, from_files=entries) if len(self._problems) == before else None

    def _effective(self, name: str) -> dict[str, Any] | None:
        """The data of a profile over that of what it extends. Tables are merged key by key, lists and values replaced, rules
        for attachments put before those inherited."""
        line = self._line(name)
        if line is None:
            return None
        data: dict[str, Any] = BUILT_IN
        for member in reversed(line):
            own = self._sources[member].data
            inherited = data["attachments"]["rules"]
            data = _merge(data, own)
            if "rules" in (own.get("attachments") or {}):
                data["attachments"]["rules"] = joined_rules(inherited, own["attachments"]["rules"])
        return data

    def _line(self, name: str) -> list[str] | None:
        """A profile, what it extends, and so on to the one that extends nothing; None when that ends nowhere.

        A wrong `extends` is told of once, where it is written, not for every profile that leads there.
        """
        line = [name]
        while base := self._sources[line[-1]].data.get("extends"):
            where = self._sources[name].where(("extends",))
            if base == name:
                self._problems.append(Problem(where, f"the profile extends itself: {' → '.join((*line, base))}"))
                return None
            if base in line:
                return None
            if base not in self._sources:
                written = (self._directory / f"{base}.yaml").is_file()  # then what is wrong with it is told already
                if len(line) == 1 and not written:
                    self._problems.append(
                        Problem(where, f"there is no profile {base!r}; {nearest(base, self._sources)}")
                    )
                return None
            line.append(base)
        return line

    def _list_file(self, file: str, source: Source, location: Location) -> tuple[str, ...]:
        if file not in self._list_files:
            self._list_files[file] = self._read_list(file, source, location)
        return self._list_files[file]

    def _read_list(self, file: str, source: Source, location: Location) -> tuple[str, ...]:
        try:
            lines = (self._directory / file).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            self._problems.append(Problem(source.where(location), f"{file!r} cannot be read: {error.strerror}"))
            return ()
        except UnicodeDecodeError:
            self._problems.append(Problem(file, "is not UTF-8"))
            return ()
        entries = []
        for number, line in enumerate(lines, start=1):
            text = line.partition("#")[0].strip().lower()
            if not text:
                continue
            try:
                parse_pattern(text)
            except ValueError as error:
                self._problems.append(Problem(f"{file}:{number}", f"{text!r} {error}"))
            else:
                entries.append(text)
        return tuple(entries)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
