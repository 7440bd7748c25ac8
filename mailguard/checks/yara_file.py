"""policies/yara/*.yar, compiled: every error at its file, line and column; the last good rules stay. They run in the sandbox.

A rule has `description` and `score` (points from 0 to 5) in its meta, and becomes the symbol YARA_<NAME>.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from mailguard.config.reloading import OnProblems, ReloadedFiles, ignore_problems
from mailguard.core.errors import ConfigError, Problem

PREFIX = "YARA_"
"""What the symbols of rules start with."""
SCORE_LIMIT = 5.0
"""Points that a rule gives at most."""
NAME_LIMIT = 59
"""Letters of a rule's name: with YARA_ a symbol has 64 at most."""
DESCRIPTION_LIMIT = 200
"""Letters of a description that are kept."""
FILE_LIMIT = 16 * 1024 * 1024
"""Octets of a file of rules."""


@dataclass(frozen=True, slots=True)
class YaraRules:
    """Rules as the sandbox takes them, and their symbols: name to points and description."""

    compiled: bytes = field(default=b"", repr=False)
    symbols: Mapping[str, tuple[float, str]] = field(default_factory=lambda: MappingProxyType({}))
    hash: str = ""
    """SHA-256 of the sources, in hexadecimal."""

    def __len__(self) -> int:
        return len(self.symbols)


def load_yara(directory: Path) -> YaraRules:
    """The rules in `*.yar` and `*.yara` of a directory, which need not be there. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    sources = {path.name: text for path in _files(directory) if (text := _read(path, problems)) is not None}
    if not sources and not problems:
        return YaraRules()
    compiled, symbols = _compile(sources, problems)
    if problems:
        raise ConfigError(problems)
    digest = hashlib.sha256(repr(sorted(sources.items())).encode("utf-8", "surrogatepass")).hexdigest()
    return YaraRules(compiled, MappingProxyType(symbols), digest)


def _files(directory: Path) -> list[Path]:
    return sorted((*directory.glob("*.yar"), *directory.glob("*.yara")))


def _read(path: Path, problems: list[Problem]) -> str | None:
    try:
        if path.stat().st_size > FILE_LIMIT:
            problems.append(Problem(path.name, f"is larger than {FILE_LIMIT >> 20} MiB: split it"))
            return None
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        problems.append(Problem(path.name, f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        problems.append(Problem(path.name, f"is not UTF-8 at octet {error.start}: save it as UTF-8"))
    return None


def _compile(sources: Mapping[str, str], problems: list[Problem]) -> tuple[bytes, dict[str, tuple[float, str]]]:
    import yara_x  # large, and of use only where there are rules

    compiler = yara_x.Compiler(error_on_slow_pattern=True, includes_enabled=False)
    for name, text in sources.items():
        compiler.new_namespace(name)
        try:
            compiler.add_source(text, origin=name)
        except yara_x.CompileError:
            continue  # told by `errors`, with all others
    for error in compiler.errors():
        labels = error.get("labels") or [{}]
        said = ": ".join(filter(None, (error.get("title", ""), labels[0].get("text", ""))))
        origin = labels[0].get("code_origin") or ", ".join(sources)
        problems.append(Problem(f"{origin}:{error.get('line', 1)}:{error.get('column', 1)}", said))
    rules = compiler.build()
    symbols: dict[str, tuple[float, str]] = {}
    for rule in rules:
        line, column, private = _place(sources[rule.namespace], rule.identifier)
        if private:
            continue
        at = f"{rule.namespace}:{line}:{column}"
        name = PREFIX + rule.identifier.upper()
        if name in symbols:
            problems.append(Problem(at, f"there is a rule with the symbol {name} already: give it another name"))
        symbols[name] = _symbol(rule.identifier, dict(rule.metadata), partial(Problem, at), problems)
    if not problems:
        for rule in yara_x.Scanner(rules).scan(b"").matching_rules:
            line, column, _ = _place(sources[rule.namespace], rule.identifier)
            at = f"{rule.namespace}:{line}:{column}"
            problems.append(Problem(at, f"rule {rule.identifier} matches an empty file, and so says nothing"))
    out = io.BytesIO()
    rules.serialize_into(out)
    return out.getvalue(), symbols


def _symbol(
    rule: str, meta: Mapping[str, object], problem: Callable[[str], Problem], problems: list[Problem]
) -> tuple[float, str]:
    """Points and description from a rule's meta."""
    score, description = meta.get("score"), meta.get("description")
    if len(rule) > NAME_LIMIT:
        problems.append(problem(f"rule {rule} has a name of more than {NAME_LIMIT} letters"))
    if not isinstance(description, str) or not description.strip():
        problems.append(problem(f'rule {rule} needs `description = "…"` in its meta: it explains the score to people'))
        description = ""
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= SCORE_LIMIT:
        problems.append(problem(f"rule {rule} needs `score = …` in its meta, points from 0 to {SCORE_LIMIT:g}"))
        score = 0.0
    return float(score), description.strip()[:DESCRIPTION_LIMIT]


def _place(source: str, rule: str) -> tuple[int, int, bool]:
    """Line and column at which a rule's name stands, and whether the rule is private, a part of others."""
    found = re.search(rf"((?:\b(?:private|global)\s+)*)\brule\s+({re.escape(rule)})\b", source)
    if found is None:
        return 1, 1, False
    before = source[: found.start(2)]
    return before.count("\n") + 1, len(before) - before.rfind("\n"), "private" in found[1]


class YaraFiles(ReloadedFiles):
    """The current rules of `directory`, which need not be there."""

    def __init__(self, directory: Path, *, on_problems: OnProblems = ignore_problems) -> None:
        super().__init__(on_problems=on_problems)
        self._directory = directory
        self._rules = YaraRules()

    @property
    def current(self) -> YaraRules:
        """The last good rules; none before `load`."""
        return self._rules

    def _paths(self) -> Iterable[Path]:
        return _files(self._directory)

    def _take(self) -> None:
        try:
            self._rules = load_yara(self._directory)
        except ConfigError as error:
            raise ConfigError(
                [Problem(f"yara/{problem.where}", problem.message) for problem in error.problems]
            ) from None
