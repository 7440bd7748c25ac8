"""Patterns of RE2 as patterns over octets, for Vectorscan: each matches wherever its original does, and in a few places more.

Compiling them takes 5 s where Vectorscan's own UTF-8 takes 21: a class that holds letters outside ASCII becomes any octets
outside ASCII, as many as its letters may have. Of what is not understood here nothing is made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache

import re2

ANYTHING = r"[\x00-\xff]"
"""Matches every text but the empty one."""
COUNTED_TO = 16
"""Octets outside ASCII to which a repetition is counted; a longer one is any number, which costs much less to compile."""
LONGEST = 4
"""Octets of a letter in UTF-8."""

_BEYOND = r"\x80-\xff"
_FLAGS = re.compile(r"\(\?([im]+)\)")
_QUANTIFIER = re.compile(r"([*+?]|\{\d+(?:,\d*)?\})\??")
_HEX = re.compile(r"\\x(?:\{([0-9a-fA-F]+)\}|([0-9a-fA-F]{2}))")
_CONTROLS = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11}
_DIGITS = frozenset(b"0123456789")
_WORD = _DIGITS | frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAMED = {"d": _DIGITS, "w": _WORD, "s": frozenset(b"\t\n\f\r ")}
_ASCII = frozenset(range(128))
_FOLDED_FROM_BEYOND = frozenset(b"kKsS")
"""Letters that one outside ASCII equals when case does not matter: the Kelvin sign and the long s."""
_ZERO_WIDTH = {"b": r"\b", "B": r"\B", "A": "^", "z": "$"}


class _UnknownError(Exception):
    """Something that is not understood here."""


def octet_pattern(pattern: str) -> str:
    """A pattern over octets that matches where `pattern` does, in a text without ſ and K; ANYTHING, when there is none.

    It begins as all patterns of rules do, with `(?m)` or `(?im)`; those are flags of the whole, and not in what is returned. `^` may be at
    the end of a text only where a line feed follows.
    """
    flags = _FLAGS.match(pattern)
    if flags is None or "m" not in flags[1]:
        return ANYTHING
    try:
        return "".join(_elements(pattern, flags.end(), caseless="i" in flags[1]))
    except (_UnknownError, IndexError, ValueError):
        return ANYTHING


def _elements(pattern: str, at: int, *, caseless: bool) -> Iterator[str]:
    """What stands for each element of a pattern, its quantifier included."""
    while at < len(pattern):
        letter = pattern[at]
        zero_width = letter if letter in "^$" else _ZERO_WIDTH.get(pattern[at + 1 : at + 2]) if letter == "\\" else None
        if zero_width is not None:
            at += 1 if letter in "^$" else 2
            quantifier = _QUANTIFIER.match(pattern, at)
            # To leave one out matches more, and Vectorscan takes none that is repeated.
            at, text = (quantifier.end(), "") if quantifier else (at, zero_width)
        elif letter == "(":
            if pattern[at + 1] == "?" and pattern[at + 2] != ":":
                raise _UnknownError("a group of its own kind")
            at, text = at + (3 if pattern[at + 1] == "?" else 1), "(?:"
        elif letter in "|)":
            at, text = at + 1, letter
        elif letter in "*+?{":
            quantifier = _QUANTIFIER.match(pattern, at)
            if quantifier is None:
                raise _UnknownError("a brace of its own kind")
            at, text = quantifier.end(), quantifier[1]
        else:
            at, text = _letters(pattern, at, caseless=caseless)
        yield text


def _letters(pattern: str, at: int, *, caseless: bool) -> tuple[int, str]:
    """One letter or class at a place: where it ends, and what stands for it; its quantifier too, if it is of many octets."""
    if pattern[at] == "[":
        end = _end_of_class(pattern, at)
        octets, beyond = _class(pattern[at + 1 : end - 1], caseless=caseless)
    elif pattern[at] == ".":
        end, octets, beyond = at + 1, _ASCII - {10}, True
    else:
        member, end = _member(pattern, at)
        if isinstance(member, int) and member >= 128:
            return end, _spelt(chr(member), caseless=caseless)
        octets, beyond = _of_member(member)
    if not beyond:
        return end, _set(octets) if len(octets) > 1 else _written(octets)
    quantifier = _QUANTIFIER.match(pattern, end)
    return (quantifier.end() if quantifier else end), f"{_set(octets, beyond)}{_widened(quantifier)}"


def _end_of_class(pattern: str, at: int) -> int:
    end = at + 2 if pattern[at + 1] == "^" else at + 1
    if pattern[end] == "]":  # a bracket that comes first is one of the letters
        end += 1
    while pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end + 1


def _class(body: str, *, caseless: bool) -> tuple[frozenset[int], bool]:
    """The octets of ASCII in a class, and whether it holds letters beyond."""
    negated = body.startswith("^")
    at = 1 if negated else 0
    octets: set[int] = set()
    beyond = False
    while at < len(body):
        if body.startswith("[:", at):
            raise _UnknownError("a class by its name")
        member, at = _member(body, at)
        if isinstance(member, int) and body[at : at + 1] == "-" and at + 1 < len(body):
            last, at = _member(body, at + 1)
            if not isinstance(last, int):
                raise _UnknownError("a range to a class")
            octets.update(range(member, min(last, 127) + 1))
            beyond |= last > 127
        else:
            some, far = _of_member(member)
            octets |= some
            beyond |= far
    if caseless:
        octets |= {octet ^ 32 for octet in octets if chr(octet).isalpha()}
        octets |= _FOLDED_FROM_BEYOND if beyond and not negated else frozenset()
    return (_ASCII - octets, True) if negated else (frozenset(octets), beyond)


def _member(text: str, at: int) -> tuple[int | str, int]:
    """A letter, as its number, or the name of a class (`d`, `W`), and where it ends."""
    if text[at] != "\\":
        return ord(text[at]), at + 1
    spelt = _HEX.match(text, at)
    if spelt:
        return int(spelt[1] or spelt[2], 16), spelt.end()
    name = text[at + 1]
    if name in _CONTROLS:
        return _CONTROLS[name], at + 2
    if name.lower() in _NAMED:
        return name, at + 2
    if name.isalnum():
        raise _UnknownError("an escape of its own kind")
    return ord(name), at + 2


def _of_member(member: int | str) -> tuple[frozenset[int], bool]:
    if isinstance(member, int):
        return (frozenset({member}), False) if member < 128 else (frozenset(), True)
    some = _NAMED[member.lower()]
    return (some, False) if member.islower() else (_ASCII - some, True)


def _set(octets: frozenset[int], beyond: bool = False) -> str:
    return f"[{_written(sorted(octets))}{_BEYOND if beyond else ''}]"


def _written(octets: Iterable[int]) -> str:
    return "".join(f"\\x{octet:02x}" for octet in octets)


def _widened(quantifier: re.Match[str] | None) -> str:
    """So many letters of up to LONGEST octets, as a number of octets."""
    if quantifier is None:
        return f"{{1,{LONGEST}}}"
    if quantifier[1] in ("*", "+"):
        return quantifier[1]
    if quantifier[1] == "?":
        return f"{{0,{LONGEST}}}"
    least, comma, most = quantifier[1][1:-1].partition(",")
    if not comma:
        most = least
    few = min(int(least), COUNTED_TO // LONGEST)
    return f"{{{few},{int(most) * LONGEST}}}" if most and int(most) * LONGEST <= COUNTED_TO else f"{{{few},}}"


def _spelt(letter: str, *, caseless: bool) -> str:
    """A letter outside ASCII, octet by octet."""
    letters = _cases(letter) if caseless else {letter}
    return f"(?:{'|'.join(_written(one.encode()) for one in sorted(letters))})"


@lru_cache(maxsize=4096)
def _cases(letter: str) -> frozenset[str]:
    """The letters that RE2 takes for the same when case does not matter: it knows some that Python does not."""
    options = re2.Options()
    options.literal, options.case_sensitive, options.log_errors = True, False, False
    return frozenset(re2.compile(letter, options).findall(_cased())) | {letter}


@lru_cache(maxsize=1)
def _cased() -> str:
    """All letters that have several cases."""
    letters = (chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number < 0xE000)
    return "".join(one for one in letters if not one == one.lower() == one.upper() == one.title() == one.casefold())
