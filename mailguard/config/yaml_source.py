"""YAML as data with the line of every value: what PyYAML's own loading drops. Knows nothing of what the data means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mailguard.config.problems import Location, dotted
from mailguard.core.errors import Problem

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NODE_LIMIT = 200_000
"""Values in one file; aliases of aliases grow beyond any file's size."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file, read: its data and the line (from 1) of each key and entry."""

    name: str
    data: Any
    lines: dict[Location, int]

    def where(self, location: Location) -> str:
        """`default.yaml:12 thresholds[0].score`; the line is that of the nearest thing that is written."""
        known = next((location[:end] for end in range(len(location), -1, -1) if location[:end] in self.lines), ())
        return f"{self.name}:{self.lines.get(known, 1)} {dotted(location)}".rstrip()


def read(path: Path, name: str, problems: list[Problem]) -> Source | None:
    """The file at `path`, called `name` in what is said of it; None when it cannot be read. Adds to `problems`."""
    octets = read_octets(path, name, problems)
    return None if octets is None else parse_octets(octets, name, problems)


def read_octets(path: Path, name: str, problems: list[Problem]) -> bytes | None:
    """What stands in the file; None when it cannot be read. Adds to `problems`."""
    try:
        return path.read_bytes()
    except OSError as error:
        problems.append(Problem(name, f"cannot be read: {error.strerror}"))
        return None


def parse_octets(octets: bytes, name: str, problems: list[Problem]) -> Source | None:
    """`parse` of what was read."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        problems.append(Problem(name, "is not UTF-8"))
        return None
    return parse(text, name, problems)


def parse(text: str, name: str, problems: list[Problem]) -> Source | None:
    """`text` as data with lines; None when it is not YAML. A key given twice is a problem: one of the two would be lost."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            walk = _Walk(loader, name, problems)
            data = walk.value(node, ()) if node is not None else None
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = ": ".join(part for place in ("context", "problem") if (part := getattr(error, place, None))) or str(
            error
        )
        problems.append(Problem(f"{name}:{mark.line + 1}" if mark else name, f"is not YAML: {said}"))
        return None
    except ValueError as error:  # a date or number in YAML's form that is none, such as 2026-13-45
        problems.append(Problem(name, f"is not YAML: {error}"))
        return None
    return Source(name, data, walk.lines)


class _Walk:
    """One pass over the nodes of a file."""

    def __init__(self, loader: Any, name: str, problems: list[Problem]) -> None:
        self.loader = loader
        self.name = name
        self.problems = problems
        self.lines: dict[Location, int] = {}
        self._within: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, location: Location) -> Any:
        self.lines.setdefault(location, node.start_mark.line + 1)
        self._count += 1
        if id(node) in self._within or self._count > NODE_LIMIT:
            raise yaml.constructor.ConstructorError(
                None, None, "an alias holds itself, or the file is too large", node.start_mark
            )
        self._within.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, location)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(entry, (*location, i)) for i, entry in enumerate(node.value)]
            return self.loader.construct_object(node)
        finally:
            self._within.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(f"{self.name}:{line}", "a key must be a word"))
                continue
            # As written: `on`, `no` and 25 are keys like any other, not a truth value or a number.
            key = str(key_node.value)
            inner = (*location, key)
            if key in result:
                first = self.lines[inner]
                message = f"is given twice, first in line {first}"
                self.problems.append(Problem(f"{self.name}:{line} {dotted(inner)}", message))
                continue
            self.lines[inner] = line
            result[key] = self.value(value_node, inner)
        return result
