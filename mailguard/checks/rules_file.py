"""policies/rules/*.yaml to Rules: every error at its path and line, each rule tried on its own examples; the last good ones stay.

Matching is in `rules`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import re2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mailguard.checks.rules import FACTS, PLACES, Place, Rule, Rules, options
from mailguard.checks.rules_cache import KeptRules
from mailguard.config.problems import Location, nearest, problems_of
from mailguard.config.reloading import OnProblems, ReloadedFiles, ignore_problems
from mailguard.config.yaml_source import Source, parse_octets, read_octets
from mailguard.core.errors import ConfigError, Problem

Name = Annotated[str, Field(pattern=r"^_?[A-Z][A-Z0-9_]{1,63}$")]
SCORE_LIMIT = 1_000.0


class RuleTable(BaseModel):
    """One rule as it is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    description: str = ""
    score: Annotated[float, Field(ge=-SCORE_LIMIT, le=SCORE_LIMIT)] = 0.0
    prior: Annotated[float, Field(ge=-SCORE_LIMIT, le=SCORE_LIMIT)] | None = None
    where: list[Place] = []
    header: str = ""
    patterns: list[str] = []
    case_sensitive: bool = False
    all_of: list[Name] = []
    any_of: list[Name] = []
    none_of: list[Name] = []
    hits: list[str] = []
    misses: list[str] = []

    @field_validator("where", "patterns", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class RulesTable(BaseModel):
    """A file of rules."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rules: list[RuleTable]


def load_rules(path: Path, kept: KeptRules | None = None) -> Rules:
    """The rules in `path`: a file, or all `*.yaml` of a directory in the order of their names. Raises ConfigError.

    With `kept` those that were read before from the same files, if they are there; what is read is kept for the next time.
    """
    problems: list[Problem] = []
    sources: dict[str, bytes] = {}
    for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
        octets = read_octets(file, file.name, problems)
        if octets is not None:
            sources[file.name] = octets
    if kept and not problems and (known := kept.get(sources)) is not None:
        return known
    rules = _read(sources, problems)
    if kept:
        kept.put(sources, rules)
    return rules


def _read(sources: Mapping[str, bytes], problems: list[Problem]) -> Rules:
    reader = _Reader(problems)
    digest = hashlib.sha256()
    for name, octets in sources.items():
        source = parse_octets(octets, name, problems)
        if source is not None:
            digest.update(repr(source.data).encode())
            reader.add(source)
    reader.check_references()
    if problems:
        raise ConfigError(problems)
    return Rules(reader.rules, hash=digest.hexdigest())


class _Reader:
    """Collects the rules of several files; names and references go across files."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._written: dict[str, str] = {}
        self._references: list[tuple[str, str, frozenset[str]]] = []
        self.rules: list[Rule] = []

    def add(self, source: Source) -> None:
        """One file."""
        if source.data is None:
            return
        try:
            table = RulesTable.model_validate(source.data)
        except ValidationError as error:
            self._problems += problems_of(error, RulesTable, source.where)
            return
        for i, entry in enumerate(table.rules):
            self._rule(entry, source, ("rules", i))

    def _rule(self, table: RuleTable, source: Source, at: Location) -> None:
        before = len(self._problems)

        def problem(message: str, *step: str | int) -> None:
            self._problems.append(Problem(source.where((*at, *step)), message))

        if table.name in self._written:
            problem(f"there is a rule {table.name} already, at {self._written[table.name]}", "name")
        if table.name in FACTS:
            problem(f"{table.name} is a symbol of the identity check: rules may combine it, not have its name", "name")
        combined = (*table.all_of, *table.any_of, *table.none_of)
        _check_form(table, combined, problem)
        patterns = tuple(_flags(table) + spaced(pattern) for pattern in table.patterns)
        compiled = [_compile(pattern, i, problem) for i, pattern in enumerate(patterns)]
        if len(self._problems) == before:
            _try_examples(table, [pattern for pattern in compiled if pattern], problem)
        earlier = frozenset(self._written)
        self._written.setdefault(table.name, source.where(at).partition(" ")[0])
        for key in ("all_of", "any_of", "none_of"):
            for i, name in enumerate(getattr(table, key)):
                self._references.append((source.where((*at, key, i)), name, earlier))
        places = tuple(f"header:{table.header.lower()}" if place == "header" else place for place in table.where)
        self.rules.append(
            Rule(
                table.name,
                table.description,
                table.score,
                places,
                patterns,
                tuple(table.all_of),
                tuple(table.any_of),
                tuple(table.none_of),
                table.prior,
            )
        )

    def check_references(self) -> None:
        """A combination names rules before it, or facts: so none can go in a circle, and one pass is enough."""
        for where, name, earlier in self._references:
            if name in earlier or name in FACTS:
                continue
            if name in self._written:
                self._problems.append(Problem(where, f"{name} must stand before the rules that combine it"))
            else:
                self._problems.append(Problem(where, f"there is no rule {name}; {nearest(name, earlier | FACTS)}"))


OnProblem = Callable[..., None]


def _check_form(table: RuleTable, combined: Sequence[str], problem: OnProblem) -> None:
    if bool(table.patterns) == bool(combined):
        problem("needs either patterns, or all_of, any_of or none_of")
    if bool(table.patterns) != bool(table.where):
        problem(f"patterns and where go together; where is of {', '.join(PLACES)}")
    if ("header" in table.where) != bool(table.header):
        problem("`where: header` and `header: NAME` go together")
    if not table.name.startswith("_") and not table.description:
        problem("needs a description: it explains the score to people", "name")
    if table.name.startswith("_") and table.score:
        problem("a rule with a leading underscore is a part of others and has no score", "score")
    if table.patterns and not table.hits:
        problem("needs `hits`: examples that its patterns must match")
    if not table.patterns and (table.hits or table.misses):
        problem("a combination has no examples of its own")


def spaced(pattern: str) -> str:
    """A pattern with its blanks standing for any white space: texts are broken into lines anywhere.

    Blanks in brackets, and escaped ones, stay what they are.
    """
    out: list[str] = []
    in_class = False
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            out.append(pattern[at : at + 2])
            at += 2
            continue
        if letter == "[" and not in_class:
            in_class = True
            # A bracket first in a class is one of its letters.
            first = 2 if pattern[at + 1 : at + 2] == "^" else 1
            if pattern[at + first : at + first + 1] == "]":
                out.append(pattern[at : at + first])
                at += first
                letter = "]"
                out.append(letter)
                at += 1
                continue
        elif letter == "]":
            in_class = False
        elif letter == " " and not in_class:
            quantified = pattern[at + 1 : at + 2] in ("?", "*", "+", "{")
            letter = r"\s" if quantified else r"\s+"
        out.append(letter)
        at += 1
    return "".join(out)


def _flags(table: RuleTable) -> str:
    return "(?m)" if table.case_sensitive else "(?im)"


def _compile(pattern: str, index: int, problem: OnProblem) -> Any | None:
    try:
        compiled = re2.compile(pattern, options())
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        problem(f"is not a pattern of RE2: {said}", "patterns", index)
        return None
    if compiled.search(b""):
        problem("matches the empty text, and so everything", "patterns", index)
    return compiled


def _try_examples(table: RuleTable, patterns: Sequence[Any], problem: OnProblem) -> None:
    for i, text in enumerate(table.hits):
        if not any(pattern.search(text.encode()) for pattern in patterns):
            problem(f"{text!r} should match, but does not", "hits", i)
    for i, text in enumerate(table.misses):
        if any(pattern.search(text.encode()) for pattern in patterns):
            problem(f"{text!r} should not match, but does", "misses", i)
    for i, pattern in enumerate(patterns):
        if len(patterns) > 1 and not any(pattern.search(text.encode()) for text in table.hits):
            problem("no example in `hits` matches it", "patterns", i)


class RulesFiles(ReloadedFiles):
    """The current rules of `path`: a file, or a directory of `*.yaml`. With `kept` they are read only when they have changed."""

    def __init__(self, path: Path, *, kept: KeptRules | None = None, on_problems: OnProblems = ignore_problems) -> None:
        super().__init__(on_problems=on_problems)
        self._path = path
        self._kept = kept
        self._rules = Rules()

    @property
    def current(self) -> Rules:
        """The last good rules; none before `load`."""
        return self._rules

    def _paths(self) -> Iterable[Path]:
        return self._path.glob("*.yaml") if self._path.is_dir() else [self._path]

    def _take(self) -> None:
        rules = load_rules(self._path, self._kept)
        scanner = self._kept.scanners.get(rules.patterns) if self._kept and rules.patterns else None
        self._rules = rules.scanned_by(scanner) if scanner else rules

    def hasten(self) -> None:
        """Have what makes the current rules cheaper made, and take it when it is there. For a worker, to be called now and then."""
        rules = self._rules
        if self._kept is None or rules.scanned or not rules.patterns:
            return
        scanner = self._kept.scanners.obtain(rules.patterns)
        if scanner is not None:
            self._rules = rules.scanned_by(scanner)
