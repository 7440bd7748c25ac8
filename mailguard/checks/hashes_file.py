"""policies/hashes/*.txt to KnownFiles: every error at its file and line; the last good lists stay.

A list starts with comments, among them `# source: …` and `# date: 2026-11-24`; then a line a file: its SHA-256 in hexadecimal,
and after blanks its name, by default the list's own.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np

from mailguard.checks.hashes import DIGEST, KnownFile, KnownFiles
from mailguard.config.reloading import OnProblems, ReloadedFiles, ignore_problems
from mailguard.core.errors import ConfigError, Problem

PROBLEMS = 20
"""Problems of one list that are told."""
_HEAD = re.compile(r"#\s*(source|date)\s*:\s*(.*\S)")
_LINE = re.compile(r"([0-9A-Fa-f]{64})(?:[ \t]+\*?([!-~][ -~]{0,99}?))?[ \t]*")


def load_hashes(directory: Path) -> KnownFiles:
    """The lists `*.txt` of a directory, which need not be there. A hash on several is the first list's. Raises ConfigError."""
    problems: list[Problem] = []
    reader = _Reader(problems)
    for path in sorted(directory.glob("*.txt")):
        try:
            text = path.read_bytes().decode("utf-8")
        except OSError as error:
            problems.append(Problem(path.name, f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError as error:
            problems.append(Problem(path.name, f"is not UTF-8 at octet {error.start}: save it as UTF-8"))
        else:
            reader.add(path, text)
    if problems:
        raise ConfigError(problems)
    return reader.known_files()


class _Reader:
    """Collects hashes and what is known of each."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._digests = bytearray()
        self._numbers = array("I")
        self._known: dict[KnownFile, int] = {}

    def add(self, path: Path, text: str) -> None:
        """One list."""
        problems: list[Problem] = []
        head: dict[str, str] = {}
        numbers: dict[str, int] = {}
        begun = False
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
            if found := _LINE.fullmatch(line):
                if not begun:
                    begun = True
                    problems += _head_problems(path.name, number, head)
                name = found[2] or path.stem
                if (known := numbers.get(name)) is None:
                    one = KnownFile(name, path.name, head.get("source", ""), head.get("date", ""))
                    known = numbers[name] = self._known.setdefault(one, len(self._known))
                self._digests += bytes.fromhex(found[1])
                self._numbers.append(known)
            elif line.startswith("#"):
                if not begun and (said := _HEAD.match(line)):
                    head.setdefault(said[1], said[2])
            elif line.strip() and len(problems) < PROBLEMS:
                message = "is no line `SHA-256  name`: 64 hexadecimal digits, blanks, and a name of at most 100 ASCII characters"
                problems.append(Problem(f"{path.name}:{number}", message))
        self._problems += problems[:PROBLEMS]

    def known_files(self) -> KnownFiles:
        """What was collected, sorted; of a hash that came twice the first."""
        # Big-endian words sort as the octets do.
        words = np.frombuffer(bytes(self._digests), dtype=">u8").reshape(-1, DIGEST // 8)
        order = np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0]))
        ordered = words[order]
        first = np.ones(len(ordered), dtype=bool)
        first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        numbers = array("I")
        if len(order):
            numbers.frombytes(np.frombuffer(self._numbers, dtype=np.uint32)[order][first].tobytes())
        return KnownFiles(ordered[first].tobytes(), numbers, tuple(self._known))


def _head_problems(name: str, line: int, head: dict[str, str]) -> list[Problem]:
    problems = []
    if "source" not in head:
        problems.append(
            Problem(f"{name}:{line}", "`# source: …` must stand before the first hash: where the list is from")
        )
    try:
        date.fromisoformat(head.get("date", ""))
    except ValueError:
        problems.append(
            Problem(f"{name}:{line}", "`# date: YYYY-MM-DD` must stand before the first hash: how old the list is")
        )
    return problems


class HashesFiles(ReloadedFiles):
    """The current lists of `directory`, which need not be there."""

    def __init__(self, directory: Path, *, on_problems: OnProblems = ignore_problems) -> None:
        super().__init__(on_problems=on_problems)
        self._directory = directory
        self._known = KnownFiles()

    @property
    def current(self) -> KnownFiles:
        """The last good lists; none before `load`."""
        return self._known

    def _paths(self) -> Iterable[Path]:
        return self._directory.glob("*.txt")

    def _take(self) -> None:
        try:
            self._known = load_hashes(self._directory)
        except ConfigError as error:
            raise ConfigError([Problem(f"hashes/{one.where}", one.message) for one in error.problems]) from None
