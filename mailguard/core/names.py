"""Names of people as display names write them: the key by which one is found again, and whether two mean the same person.

Case, accents, titles, order (`Smith, John`), initials, lookalike letters and what stands in brackets do not matter. Pure.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from mailguard.core.lookalike import edits, skeleton

NAME_LIMIT = 128
"""Characters of a display name that are looked at, and of a key."""
EXTRA_WORDS = 3
"""Words that may stand beside a name: a middle name, a title, the firm."""
_CACHED = 16_384


class Likeness(StrEnum):
    """How two names come to mean the same person."""

    SAME = "same"
    """All words of the one are among those of the other."""
    SIMILAR = "similar"
    """One word is an initial, or a letter away."""


_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>|\b(?:via|on behalf of|c/o)\b.*", re.IGNORECASE)
_ADDRESS = re.compile(r"\S*@\S*")
_WORDS = re.compile(r"[^\W_]+(?:['’ʼ´`][^\W_]+)*")
_APOSTROPHES = re.compile("['’ʼ´`]")
_LETTER = re.compile(r"[^\W\d_]")
_IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_TITLE_WORDS = """
    mr mrs ms miss mx dr prof professor sir madam herr frau monsieur madame mme mlle senor senora sr sra don dona ing dipl phd
    md mba msc bsc esq jr ii iii ceo cfo cto coo cio president director chairman chair
"""
_SENDER_WORDS = """
    team support service services info information sales news newsletter noreply reply notification notifications alert alerts
    customer account accounts billing office admin administrator help helpdesk desk marketing shop store online group security
    update updates mail mailer daemon webmaster postmaster company the and of for from your with inc ltd llc gmbh ag corp
"""
_TITLES = frozenset(map(skeleton, _TITLE_WORDS.split()))
_NO_PERSON = frozenset(map(skeleton, _SENDER_WORDS.split()))
"""Words of senders that are no people."""


@lru_cache(maxsize=_CACHED)
def name_words(name: str) -> tuple[str, ...]:
    """The words of a name, folded by their looks and sorted; titles go while two words are left without them.

    Folded words are for comparison alone, and never shown.
    """
    plain = _ADDRESS.sub(" ", _BRACKETS.sub(" ", _INVISIBLE.sub("", name)[:NAME_LIMIT]))
    words = [_APOSTROPHES.sub("", word) for word in _WORDS.findall(plain)]
    folded = [skeleton(word) for word in words if _LETTER.search(word)]
    named = [word for word in folded if word not in _TITLES]
    return tuple(sorted(named if len(named) >= 2 else folded))


@lru_cache(maxsize=_CACHED)
def name_key(name: str) -> str:
    """What a person's display name is found again by; empty of what is no full name of a person (`Sales`, `Joe`)."""
    words = name_words(name)
    if not _is_full(words) or len(words) > 4 or any(word in _NO_PERSON for word in words):
        return ""
    return " ".join(words)[:NAME_LIMIT]


def is_full_name(name: str) -> bool:
    """Whether a name has enough to it to tell a person by: two words, one of them more than an initial."""
    return _is_full(name_words(name))


def _is_full(words: tuple[str, ...]) -> bool:
    if len(words) == 1:  # written without spaces, as in Chinese
        return len(words[0]) >= 2 and _IDEOGRAPHS.search(words[0]) is not None
    return len(words) >= 2 and sum(map(len, words)) >= 5 and max(map(len, words)) >= 3


@lru_cache(maxsize=_CACHED)
def same_person(shown: str, known: str) -> Likeness | None:
    """Whether the display name `shown` would be read as the person `known`; None: no.

    Every word of `known` must be in `shown` (or the other way round, of two words at least), and not more than EXTRA_WORDS
    beside them. At most one of them may be an initial or a letter away, the others whole.
    """
    seen, own = name_words(shown), name_words(known)
    if not _is_full(own) or not _is_full(seen):
        return None
    shorter, longer = sorted((seen, own), key=len)
    if len(longer) - len(shorter) > EXTRA_WORDS:
        return None
    left = list(longer)
    odd = []
    for word in shorter:
        if word in left:
            left.remove(word)
        else:
            odd.append(word)
    if not odd:
        return Likeness.SAME
    if len(odd) > 1 or len(shorter) < 2 or max((len(word) for word in shorter if word not in odd), default=0) < 3:
        return None
    return Likeness.SIMILAR if any(_close(odd[0], word) for word in left) else None


def _close(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) == 1:
        return longer.startswith(shorter)
    return len(longer) >= 4 and edits(one, other, limit=1) == 1
