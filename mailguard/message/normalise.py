"""Text as its reader takes it: without invisible characters, lookalike letters, spaced-out words and digits for letters.

What was undone is counted, since the tricks tell more than the text. Linear time, within NORMALISE_LIMIT; text without
tricks is returned as it is, which one pass of RE2 finds out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import re2

from mailguard.message.lookalikes import FOLDED, STYLED, TO_CYRILLIC

NORMALISE_LIMIT = 256 * 1024
"""Characters of a text that are normalised; what follows stays as it is."""
WORD_LIMIT = 8
"""Words with tricks that are kept as evidence."""
WORD_LENGTH = 40
"""Characters of such a word that are kept."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text without its tricks, and how many of each there were."""

    text: str
    split_words: int = 0
    """Invisible characters between two Latin letters: they part a word for programs alone."""
    overrides: int = 0
    """U+202D and U+202E, which make text be read in another order than it is stored in."""
    marks: int = 0
    """Combining marks that make no letter of any language."""
    styled: int = 0
    """Letters of mathematics, circles and small capitals that pass for ordinary ones."""
    mixed: tuple[str, ...] = ()
    """Words of Latin letters with lookalikes of other scripts among them, as they were written."""
    spaced: tuple[str, ...] = ()
    """Words whose letters stood apart, joined."""

    @property
    def clean(self) -> bool:
        """Whether there was none of the tricks that no honest mail program makes."""
        return not (self.split_words or self.overrides or self.marks or self.styled or self.mixed or self.spaced)


def _class(*ranges: str) -> str:
    return "[" + "".join(ranges) + "]"


_INVISIBLE = _class(
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5",
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f",
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef",
)
_MARKS = _class("\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f")
_STYLED = "[" + "".join(map(re.escape, STYLED)) + "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff]"
_LOOKALIKE = "[" + "".join(FOLDED) + "]"
_SEPARATOR = r"[ .\-_*]"

_SPACED, _LEET, _HIDDEN, _MARKED, _FANCY, _MIXED = range(6)
_PATTERNS = (
    rf"(?:^|[^\pL\pN])\pL(?:{_SEPARATOR}\pL){{3,}}(?:[^\pL\pN]|$)",
    r"[A-Za-z][01345@$][A-Za-z]",
    _INVISIBLE,
    _MARKS,
    _STYLED,
    rf"[A-Za-z]{_LOOKALIKE}|{_LOOKALIKE}[A-Za-z]",
)


def _prescan(patterns: Sequence[str]) -> Any:
    made = re2.Set.SearchSet()
    for pattern in patterns:
        made.Add(pattern)
    made.Compile()
    return made


_PRESCAN = _prescan(_PATTERNS)
_PRESCAN_ASCII = _prescan(_PATTERNS[:_HIDDEN])

_INVISIBLE_RE = re.compile(_INVISIBLE + "+")
_SPLIT_RE = re.compile(r"(?<=[A-Za-z])[\u034f\u115f\u1160\u200b-\u200f\u2060-\u2064\ufeff\u3164\uffa0]+(?=[A-Za-z])")
_MARKS_RE = re.compile(_MARKS + "+")
_STYLED_RE = re.compile(_STYLED + "+")
_FULL_WIDTH = re.compile("[\uff10-\uff5a]")
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORD_RE = re.compile(r"[^\W\d_]+")
_LOOKALIKE_RE = re.compile(_LOOKALIKE)
_LATIN_RE = re.compile(r"[A-Za-z]")
_SPACED_RE = re.compile(rf"(?<!\w)[^\W\d_](?P<separator>{_SEPARATOR})[^\W\d_](?:(?P=separator)[^\W\d_]){{2,60}}(?!\w)")
_LEET_RE = re.compile(
    r"(?<![\w@.$/\-])[A-Za-z]{1,20}[01345@$][A-Za-z]{1,20}(?:[01345@$][A-Za-z]{0,20})?(?![\w@$/\-]|\.\w)"
)
_LEET_SIGN = re.compile(r"[01345@$](?<=[A-Za-z].)(?=[A-Za-z])")
_LETTERS_RE = re.compile(r"[A-Za-z]+")
_HEXADECIMAL = re.compile(r"[0-9a-f]+", re.IGNORECASE)
_TO_LATIN = str.maketrans({**FOLDED, **STYLED})
_TO_CYRILLIC = str.maketrans(dict(TO_CYRILLIC))
_LETTER_OF = {"0": "o", "3": "e", "4": "a", "5": "s", "@": "a", "$": "s"}


def normalise(text: str) -> Normalised:
    """`text` as its reader takes it. Normalising once more changes nothing."""
    if not text:
        return Normalised("")
    if len(text) > NORMALISE_LIMIT:
        first = normalise(text[:NORMALISE_LIMIT])
        return replace(first, text=first.text + text[NORMALISE_LIMIT:])
    prescan = _PRESCAN_ASCII if text.isascii() else _PRESCAN
    found = prescan.Match(text.encode("utf-8", "replace"))
    return _undo(text, frozenset(found)) if found else Normalised(text)


def _undo(text: str, found: frozenset[int]) -> Normalised:
    split = overrides = marks = styled = 0
    spaced: dict[str, None] = {}
    mixed: dict[str, None] = {}
    if _HIDDEN in found:
        overrides = text.count("\u202d") + text.count("\u202e")
        split = len(_SPLIT_RE.findall(text))
        text = _INVISIBLE_RE.sub("", text)
    if _MARKED in found:
        text = unicodedata.normalize("NFC", text)
        marks = sum(map(len, _MARKS_RE.findall(text)))
        text = unicodedata.normalize("NFC", _MARKS_RE.sub("", text))
    if _FANCY in found:
        letters = _STYLED_RE.findall(text)
        styled = sum(map(len, letters))
        if _EAST_ASIAN.search(text):  # where full width is an ordinary way to write
            styled -= sum(len(_FULL_WIDTH.findall(run)) for run in letters)
        text = _STYLED_RE.sub(_plain, text)
    # What the steps above took away may have hidden what the steps below look for.
    if found & {_SPACED, _HIDDEN, _MARKED, _FANCY}:
        text = _SPACED_RE.sub(lambda match: _joined(match, spaced), text)
    if not text.isascii():
        text = _WORD_RE.sub(lambda match: _one_script(match[0], mixed), text) if _LOOKALIKE_RE.search(text) else text
    text = _without_leet(text)
    return Normalised(text, split, overrides, marks, styled, _words(mixed), _words(spaced))


def _without_leet(text: str) -> str:
    """What _LEET_RE finds, in letters. It is looked for where a sign stands between letters, for few words have one."""
    out: list[str] = []
    done = 0
    for sign in _LEET_SIGN.finditer(text):
        at = sign.start()
        if at < done:
            continue
        letters = _LETTERS_RE.match(text[max(0, at - 21) : at][::-1])
        match = _LEET_RE.match(text, at - letters.end()) if letters else None
        if match and match.start() >= done:
            out += (text[done : match.start()], _letters(match))
            done = match.end()
    out.append(text[done:])
    return "".join(out)


def _words(found: dict[str, None]) -> tuple[str, ...]:
    return tuple(word[:WORD_LENGTH] for word in list(found)[:WORD_LIMIT])


def _plain(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0].translate(_TO_LATIN))


def _joined(match: re.Match[str], spaced: dict[str, None]) -> str:
    word = match[0][::2]
    if len(set(word)) > 2:
        spaced[word] = None
    return word


def _one_script(word: str, mixed: dict[str, None]) -> str:
    """A word that mixes Latin letters with lookalikes in one script, Latin if it can be; any other word as it is.

    Science writes Greek letters into Latin words (NFκB): words of few letters are no trick, though folded too.
    """
    if word.isascii() or not _LATIN_RE.search(word) or not _LOOKALIKE_RE.search(word):
        return word
    folded = word.translate(_TO_LATIN)
    if not folded.isascii():
        folded = word.translate(_TO_CYRILLIC)
        if _LATIN_RE.search(folded):
            return word
    if len(word) >= 5:
        mixed[word] = None
    return folded


def _letters(match: re.Match[str]) -> str:
    """A word with digits and signs among its letters, in letters, when it is written as one word."""
    word = match[0]
    letters = [letter for letter in word if letter.isalpha()]
    bare = "".join(letters)
    if len(letters) < 4 or _HEXADECIMAL.fullmatch(word):
        return word
    if not (bare.islower() or bare.isupper() or bare.istitle()):
        return word
    last = len(word) - 1
    plain = "".join(
        letter if letter.isalpha() else ("l" if at == last else "i") if letter == "1" else _LETTER_OF[letter]
        for at, letter in enumerate(word)
    )
    return plain.upper() if bare.isupper() else plain
