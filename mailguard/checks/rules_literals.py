"""The literals that a pattern cannot match without: found by reading the pattern, so that most patterns need not be tried.

Understands what the patterns of rules are written with; of anything else it says that nothing is required. Literals are
as `plain` makes texts: lower case, every digit a 0, every run of white space one blank.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

MIN_LENGTH = 3
"""Octets of a literal, in UTF-8, that tells anything."""
EXACT_LIMIT = 24
"""Strings that an element may be spelt out in."""
GROUPS_KEPT = 2
"""Groups of one pattern that are looked for; more tell little more."""
GROUP_LIMIT = 400
"""Literals of which one is required, before they tell too little."""

Group = frozenset[str]
"""Literals in lower case, one of which must be there."""

_FLAGS = re.compile(r"\(\?[a-zA-Z]+\)")
_GROUP = re.compile(r"\((?:\?(?:P<\w+>|[a-zA-Z]*:))?")
_RUN = re.compile(r"(?:[ -~](?<![\\.^$*+?()\[\]{}|])(?![*+?{]))+")
"""Letters of ASCII that mean themselves, none of them repeated."""
_QUANTIFIER = re.compile(r"([*+?]|\{\d*,?\d*\})\??")
_ESCAPE = re.compile(r"\\(?:x\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|[pP]\{\w+\}|[pP]\w|.)", re.DOTALL)
_ZERO_WIDTH = frozenset("bBAz")
_BLANKS = re.compile(r"[ \t\n\r\f\v]+")
_DIGITS = re.compile("[0-9]")
_LOWER = bytes.maketrans(bytes(range(65, 91)) + b"123456789", bytes(range(97, 123)) + b"0" * 9)
_WRAPPED = re.compile(r"((?:\\b|\^)*)\(\?:")
_ZERO_WIDTHS = re.compile(r"(?:\\b|\$)*")


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a part of a pattern: all strings that it is (`exact`, if they are few), and what it requires."""

    exact: frozenset[str] | None
    required: tuple[Group, ...] = ()
    ends: bool = True
    """Whether what follows it follows directly: not after `[ :]+`, which begins as `exact` says and goes on."""


_ANYTHING = _Known(None)
_NOTHING = _Known(frozenset({""}))
_SPACE = _Known(frozenset({" "}))
_DIGIT = _Known(frozenset({"0"}))


@lru_cache(maxsize=8192)  # asked for the same branches twice, and for all again at each reload
def required_literals(pattern: str) -> tuple[Group, ...]:
    """Groups of literals; a text that lacks all of any group cannot match. Empty when nothing is known.

    They are in lower case, for a text in lower case.
    """
    flags = _FLAGS.match(pattern)
    try:
        known, end = _alternation(pattern, flags.end() if flags else 0)
    except (ValueError, IndexError):
        return ()
    if end != len(pattern):
        return ()
    groups = sorted(set(_flushed(known).required), key=_weight, reverse=True)
    return tuple(groups[:GROUPS_KEPT])


def plain(text: bytes) -> bytes:
    """A text as literals are looked for in it."""
    if text.isascii():
        lower = text.translate(_LOWER)
    else:  # lower case of all scripts, not of ASCII alone as octets have it
        lower = text.decode("utf-8", "replace").lower().encode("utf-8", "replace").translate(_LOWER)
    return b" %b " % b" ".join(lower.split())


def branches(pattern: str) -> list[str]:
    """Patterns of which one matches where `pattern` does: its alternatives, when it is little else and all require literals."""
    flags = _FLAGS.match(pattern)
    start = flags.end() if flags else 0
    try:
        some = [pattern[:start] + branch for branch in _split(pattern[start:])]
    except (ValueError, IndexError):
        return [pattern]
    return some if all(map(required_literals, some)) else [pattern]


def _split(body: str) -> list[str]:
    cuts = _alternatives(body, 0, len(body))
    if len(cuts) > 1:
        return [branch for cut in cuts for branch in _split(cut)]
    wrapped = _WRAPPED.match(body)
    if wrapped is None:
        return [body]
    _, end = _alternation(body, wrapped.end())
    rest = body[end + 1 :]
    if body[end : end + 1] != ")" or not _ZERO_WIDTHS.fullmatch(rest):
        return [body]
    inner = _alternatives(body, wrapped.end(), end)
    if len(inner) == 1:
        nested = inner[0].startswith("(?:") and (wrapped[1] or rest)
        if not nested and (wrapped[1] or rest):
            return [body]
        return _split(f"{wrapped[1]}{inner[0]}{rest}")
    return [f"{wrapped[1]}(?:{branch}){rest}" for branch in inner]


def _alternatives(body: str, at: int, end: int) -> list[str]:
    """The alternatives between `at` and `end`, which is where they end."""
    cuts: list[str] = []
    while True:
        _, stop = _sequence(body, at)
        cuts.append(body[at:stop])
        if stop >= end:
            break
        if body[stop] != "|":
            raise ValueError("no alternative ends here")
        at = stop + 1
    return cuts


def _telling(literals: Iterable[str]) -> Group | None:
    """The group of these literals; None when one of them is too short to be looked for."""
    group = frozenset(_plain(literal) for literal in literals)
    if len(group) > GROUP_LIMIT or any(len(literal.encode()) < MIN_LENGTH for literal in group):
        return None
    return group


def _plain(literal: str) -> str:
    return _BLANKS.sub(" ", _DIGITS.sub("0", literal.lower()))


def _flushed(known: _Known) -> _Known:
    """What is required, when its strings are not to be joined to what follows."""
    if known.exact is None:
        return known
    group = _telling(known.exact)
    return _Known(None, (*known.required, group) if group else known.required)


def _alternation(pattern: str, at: int) -> tuple[_Known, int]:
    branches: list[_Known] = []
    while True:
        branch, at = _sequence(pattern, at)
        branches.append(branch)
        if pattern[at : at + 1] != "|":
            break
        at += 1
    if len(branches) == 1:
        return branches[0], at
    if all(branch.exact is not None and not branch.required for branch in branches):
        exact = frozenset[str]().union(*(branch.exact or () for branch in branches))
        if len(exact) <= EXACT_LIMIT:
            return _Known(exact), at
    # One of the branches matches: so does the most telling group of one of them.
    chosen: set[str] = set()
    for branch in branches:
        groups = _flushed(branch).required
        if not groups:
            return _ANYTHING, at
        chosen |= sorted(groups, key=_weight)[-1]
    return _Known(None, (frozenset(chosen),) if len(chosen) <= GROUP_LIMIT else ()), at


def _weight(group: Group) -> float:
    """How telling a group is: by its shortest literal, and by how many there are."""
    return float(min(len(literal.encode()) for literal in group)) - 0.02 * len(group)


def _sequence(pattern: str, at: int) -> tuple[_Known, int]:
    exact: frozenset[str] | None = frozenset({""})
    whole = True
    required: list[Group] = []

    def flush(strings: frozenset[str] | None) -> None:
        group = _telling(strings) if strings else None
        if group:
            required.append(group)

    while at < len(pattern) and pattern[at] not in "|)":
        run = _RUN.match(pattern, at)
        if run and exact is not None:  # letters as they are, many at once
            exact, at = frozenset(one + run[0].lower() for one in exact), run.end()
            continue
        known, at = _quantified(pattern, at)
        required.extend(known.required)
        if known.exact is not None and exact is not None and len(exact) * len(known.exact) <= EXACT_LIMIT:
            exact = frozenset(one + other for one, other in product(exact, known.exact))
        else:
            flush(exact)
            whole = False
            exact = known.exact if known.exact is not None else frozenset({""})
        if not known.ends:
            flush(exact)
            whole = False
            exact = frozenset({""})
    if whole:
        return _Known(exact, tuple(required)), at
    flush(exact)
    return _Known(None, tuple(required)), at


def _quantified(pattern: str, at: int) -> tuple[_Known, int]:
    known, at = _element(pattern, at)
    match = _QUANTIFIER.match(pattern, at)
    if match is None:
        return known, at
    at = match.end()
    least, most = _bounds(match[1])
    exact = known.exact
    if exact == _SPACE.exact:  # of any number of blanks one is left
        return (known if least else _Known(frozenset({"", " "}))), at
    if least == 0:
        return (_Known(exact | {""}) if most == 1 and exact is not None and not known.required else _ANYTHING), at
    if (least, most) == (1, 1):
        return known, at
    if exact is not None and not known.required and len(exact) == 1:
        return _Known(frozenset({next(iter(exact)) * min(least, 12)}), ends=least == most and least <= 12), at
    return _Known(exact, known.required, ends=False), at


def _bounds(quantifier: str) -> tuple[int, int | None]:
    if quantifier in ("*", "+", "?"):
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[quantifier]
    least, comma, most = quantifier[1:-1].partition(",")
    return int(least or 0), (int(most) if most else None) if comma else int(least)


def _element(pattern: str, at: int) -> tuple[_Known, int]:
    letter = pattern[at]
    if letter == "(":
        opening = _GROUP.match(pattern, at)
        assert opening is not None
        known, end = _alternation(pattern, opening.end())
        if pattern[end : end + 1] != ")":
            raise ValueError("an unclosed group")
        return known, end + 1
    if letter == "[":
        return _class(pattern, at)
    if letter == "\\":
        match = _ESCAPE.match(pattern, at)
        if match is None or match[0][1] in "QEC":
            raise ValueError("an escape of its own kind")
        code = match[1] or match[2]
        if code:
            return _Known(frozenset({chr(int(code, 16)).lower()})), match.end()
        if match[0][1] in _ZERO_WIDTH:
            return _NOTHING, match.end()
        if match[0][1] in "stnrf":
            return _SPACE, match.end()
        if match[0][1] == "d":
            return _DIGIT, match.end()
        if match[0][1].isalnum():
            return _ANYTHING, match.end()
        return _Known(frozenset({match[0][1]})), match.end()
    if letter in "*+?{":
        raise ValueError("a quantifier of nothing")
    if letter in "^$":
        return _NOTHING, at + 1
    return (_ANYTHING if letter == "." else _Known(frozenset({letter.lower()}))), at + 1


def _class(pattern: str, at: int) -> tuple[_Known, int]:
    negated = pattern[at + 1] == "^"
    first = at + (2 if negated else 1)
    end = first + 1 if pattern[first] != "\\" else first + 2  # a bracket that comes first is one of the letters
    while pattern[end] != "]":
        if pattern.startswith("[:", end):
            end = pattern.index(":]", end) + 1
        end += 2 if pattern[end] == "\\" else 1
    letters = pattern[first:end]
    if letters in ("0-9", r"\d") and not negated:
        return _DIGIT, end + 1
    plain = not negated and "\\" not in letters and "[" not in letters and "-" not in letters[1:-1]
    if plain and len(letters) <= 6:
        return _Known(frozenset(map(_plain, letters))), end + 1
    return _ANYTHING, end + 1
