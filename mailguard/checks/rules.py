"""Content rules: patterns over a mail's fields, text and links, all patterns of a place at once by RE2, and combinations of rules.

Rules are data (policies/rules/*.yaml, read by `rules_file`); this file only matches them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, get_args

import re2

from mailguard.checks.base import CheckContext
from mailguard.checks.identity_symbols import SYMBOLS
from mailguard.checks.rules_literals import branches
from mailguard.checks.rules_prefilter import Prefilter, Tables
from mailguard.checks.rules_scanner import Scanner
from mailguard.core.verdict import CheckResult, Symbol
from mailguard.message.normalise import normalise
from mailguard.message.parse import Message
from mailguard.message.urls import Link

TEXT_LIMIT = 512 * 1024
"""Octets of one place that are searched."""
EVIDENCE_LIMIT = 100
"""Characters of what a rule matched that are kept."""
FEW = 3
"""Patterns of one place up to which they are tried one by one without ado."""
FACTS = frozenset(SYMBOLS)
"""What rules may combine besides rules: the symbols of the identity check."""
MANY = 6_000
"""Patterns up to which a scanner is made of them: of these it has 20 MB, and takes 25 s and 330 MB to make."""

Place = Literal[
    "subject",
    "from",
    "header",
    "body",
    "hidden",
    "html",
    "raw",
    "url",
    "link_text",
    "mail_from",
    "helo",
    "attachment",
    "structure",
]
_SOURCES = frozenset({"html", "raw"})
"""Places that are large and say little: few patterns are looked for in them."""
PLACES: tuple[Place, ...] = get_args(Place)
"""What a pattern may be looked for in; `docs/checks/rules.md` says what each holds."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. It matches when any of `patterns` does in any of `places`; or, without patterns, as it combines others.

    A name with a leading underscore is a part of other rules and never reported. `places` are of PLACES, a header as
    `header:list-id`. All of `all_of`, at least one of `any_of` (if there are any) and none of `none_of` must match; these may also
    name FACTS, the symbols of the identity check.
    """

    name: str
    description: str
    score: float
    places: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    prior: float | None = None
    """The points that were set by hand, from which `score` was fitted; None: `score` was."""

    @property
    def hidden(self) -> bool:
        """Whether it is only a part of others."""
        return self.name.startswith("_")


def options(*, max_mem: int = 8 << 20) -> Any:
    """RE2's options for our patterns: UTF-8, no messages on standard error."""
    made = re2.Options()
    made.log_errors = False
    made.max_mem = max_mem
    return made


@dataclass(frozen=True, slots=True)
class Derived:
    """What is worked out from rules and takes long: the branches of each of their patterns, and the prefilters' tables."""

    branches: Mapping[str, Sequence[str]]
    text: Tables | None
    source: Tables | None


class _Patterns:
    """All patterns, each with the places that it is looked for in. One that stands in no text's literals costs nothing."""

    def __init__(self, rules: Sequence[Rule], derived: Derived | None) -> None:
        known = derived or Derived({p: branches(p) for rule in rules for p in rule.patterns}, None, None)
        wanted: dict[tuple[str, str], dict[str, None]] = {}
        for rule in rules:
            for pattern in rule.patterns:
                for branch in known.branches[pattern]:
                    wanted.setdefault((rule.name, branch), {}).update(dict.fromkeys(rule.places))
        self._rules = tuple(name for name, _ in wanted)
        self._patterns = tuple(branch for _, branch in wanted)
        self._places = tuple(tuple(places) for places in wanted.values())
        places = list(enumerate(self._places))
        self._source = _Group(self._patterns, [n for n, where in places if set(where) & _SOURCES], known.source)
        self._text = _Group(self._patterns, [n for n, where in places if set(where) - _SOURCES], known.text)
        self.derived = Derived(known.branches, self._text.tables, self._source.tables)
        self.places = tuple(dict.fromkeys(place for places in self._places for place in places))
        # Compiled when first needed: most branches are of languages and themes that a given relay never meets.
        self._compiled: dict[int, Any] = {}

    @property
    def of_text(self) -> Sequence[str]:
        """The patterns that a scanner is made of; none when they are too few or too many for one."""
        numbers = self._text.numbers
        return [self._patterns[number] for number in numbers] if FEW < len(numbers) <= MANY else ()

    def matches(self, texts: Mapping[str, bytes], scanner: Scanner | None) -> Iterator[tuple[str, str]]:
        """(rule, what it matched) for every rule of which a pattern is in one of its places. `scanner`: of `of_text`."""
        source = [place for place in texts if place in _SOURCES]
        shown = [place for place in texts if place not in _SOURCES]
        found: set[tuple[str, str]] = set()
        for group, places, of_group in ((self._text, shown, scanner), (self._source, source, None)):
            for number in group.candidates([texts[place] for place in places], of_group):
                name = self._rules[number]
                for place in self._places[number]:
                    if place not in places or not texts[place] or (name, place) in found:
                        continue
                    match = self._search(number, texts[place])
                    if match:
                        found.add((name, place))
                        yield name, " ".join(match.group(0).decode("utf-8", "replace").split())[:EVIDENCE_LIMIT]

    def _search(self, number: int, text: bytes) -> Any:
        compiled = self._compiled.get(number)
        if compiled is None:
            compiled = self._compiled[number] = re2.compile(self._patterns[number], options())
        return compiled.search(text)


class _Group:
    """Patterns that are looked for in the same texts."""

    def __init__(self, patterns: Sequence[str], numbers: Sequence[int], tables: Tables | None) -> None:
        self.numbers = list(numbers)
        some = [patterns[number] for number in numbers]
        self._prefilter = Prefilter(some, tables) if len(some) > FEW else None
        self.tables = self._prefilter.tables if self._prefilter else None

    def candidates(self, texts: Sequence[bytes], scanner: Scanner | None) -> list[int]:
        """Numbers of the patterns that may match one of the texts, as the scanner of these patterns tells, or else the prefilter."""
        if not texts or not self.numbers:
            return []
        finder = scanner or self._prefilter
        if finder is None:
            return list(self.numbers)
        return [self.numbers[n] for n in finder.candidates(b"\n".join(texts))]


class Rules:
    """A set of rules, compiled. Combinations come after what they combine; `hash` identifies the text of all.

    Raises re2.error for a pattern that is none, and KeyError for a combination of rules that are not before it:
    `rules_file.load_rules` checks both with the line they stand in. `derived` is that of the same rules, made before.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        hash: str = "",  # noqa: A002 - the word of Policy
        derived: Derived | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.hash = hash
        self._scanner: Scanner | None = None
        self._patterns = _Patterns(self.rules, derived)
        self.derived = self._patterns.derived
        self._combinations = tuple(
            (rule, frozenset(rule.all_of), frozenset(rule.any_of), frozenset(rule.none_of))
            for rule in self.rules
            if not rule.patterns
        )
        self._shown = {rule.name: (number, rule) for number, rule in enumerate(self.rules) if not rule.hidden}

    def __len__(self) -> int:
        return len(self.rules)

    @property
    def patterns(self) -> Sequence[str]:
        """What a scanner of these rules is made of (`rules_scanner`); nothing when it is not worth one."""
        return self._patterns.of_text

    @property
    def scanned(self) -> bool:
        """Whether a scanner tells which of them may match."""
        return self._scanner is not None

    def scanned_by(self, scanner: Scanner) -> Rules:
        """The same rules, which match the same at less cost: `scanner` is of their `patterns`."""
        other = copy(self)
        other._scanner = scanner
        return other

    def match(self, context: CheckContext, facts: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
        """The names of all rules that match, hidden ones too, each with what it matched. `facts`: those of FACTS that hold."""
        found: dict[str, dict[str, None]] = {name: {} for name in facts}
        texts = {place: text_of(place, context)[:TEXT_LIMIT] for place in self._patterns.places}
        for name, evidence in self._patterns.matches(texts, self._scanner):
            found.setdefault(name, {})[evidence] = None
        for rule, all_of, any_of, none_of in self._combinations:
            if (
                all_of.issubset(found)
                and not (any_of and any_of.isdisjoint(found))
                and (not none_of or none_of.isdisjoint(found))
            ):
                parts = [found[name] for name in (*rule.all_of, *rule.any_of) if name in found]
                found[rule.name] = {evidence: None for part in parts for evidence in list(part)[:1]}
        return {name: tuple(filter(None, evidence))[:3] for name, evidence in found.items() if name not in facts}

    def symbols(self, context: CheckContext, facts: Collection[str] = ()) -> tuple[Symbol, ...]:
        """The symbols of the rules that match a mail, in the order of the rules."""
        found = self.match(context, facts)
        shown = sorted((self._shown[name] for name in found if name in self._shown), key=itemgetter(0))
        return tuple(Symbol(rule.name, rule.score, rule.description, found[rule.name]) for _, rule in shown)


class RulesCheck:
    """Reports the symbols of the content rules. `rules` gives those that are current: they are reloaded while we run.

    Where the identity check does not run, or fails, none of FACTS holds.
    """

    name = "rules"
    needs = ("identity",)
    waits = False

    def __init__(self, rules: Callable[[], Rules]) -> None:
        self._rules = rules

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        rules = self._rules()
        identity = results.get("identity")
        facts = [symbol.name for symbol in identity.symbols if symbol.name in FACTS] if identity else []
        return CheckResult(self.name, symbols=rules.symbols(context, facts), detail=f"{len(rules)} rules")


def text_of(place: str, context: CheckContext) -> bytes:
    """What a mail has in a place; several values (URLs, fields of one name) stand on a line each."""
    message = context.message
    if place == "raw":
        return message.raw[message.body : message.body + TEXT_LIMIT]
    if place.startswith("header:"):
        text = "\n".join(message.get_all(place[7:]))
    elif place == "mail_from":
        text = context.envelope.mail_from
    elif place == "helo":
        text = context.session.helo
    else:
        text = _TEXTS[place](message)
    # Two letters of which case makes ASCII: nobody needs them, and patterns over octets (`rules_octets`) cannot know them.
    return text.replace("ſ", "s").replace("\u212a", "k").encode("utf-8", "replace")


def _structure(message: Message) -> str:
    """What can be said of a mail's form, a line each: `defect:…`, `missing:…`, `repeated:…`, `html-only`."""
    lines = [f"defect:{defect}" for defect in message.defects]
    for name in ("from", "date", "message-id", "subject", "to"):
        count = len(message.fields(name))
        if count != 1:
            lines.append(f"{'repeated' if count else 'missing'}:{name}")
    if len(message.from_mailboxes) > 1:
        lines.append("several:from")
    elif message.fields("from") and not message.from_mailboxes:
        lines.append("no-address:from")
    types = {part.content_type for part in message.parts if part.is_text}
    if types == {"text/html"}:
        lines.append("html-only")
    if not message.plain.strip() and not message.rendered.text:
        lines.append("no-text")
    if message.html and not message.rendered.complete:
        lines.append("html-too-complex")
    return "\n".join(lines)


def _body(message: Message) -> str:
    """What the mail shows, and what its attached pages do."""
    if not message.pages:
        return message.visible_text
    return "\n".join([message.visible_text, *(normalise(page.rendered.visible).text for page in message.pages)])


def _links(message: Message) -> Sequence[Link]:
    return [*message.links, *(link for page in message.pages for link in page.rendered.links)]


_TEXTS: Mapping[str, Callable[[Message], str]] = {
    "subject": lambda message: message.shown_subject.text,
    "from": lambda message: message.shown_from.text,
    "body": _body,
    "hidden": lambda message: message.hidden_text,
    "html": lambda message: message.html,
    "url": lambda message: "\n".join(link.url for link in _links(message)),
    "link_text": lambda message: normalise("\n".join(link.text for link in _links(message) if link.text)).text,
    "attachment": lambda message: "\n".join(name for part in message.attachments for name in part.names),
    "structure": _structure,
}
