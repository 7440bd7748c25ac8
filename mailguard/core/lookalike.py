"""Names made to be taken for another: what a name looks like (`skeleton`), and how near one name is to one that is known.

For labels of domain names without their public suffix (`paypal` of `paypal.com`) and for single words of display names. Pure,
deterministic, standard library alone; no list of names lives here.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from functools import lru_cache

LABEL_LIMIT = 63
"""Characters of a label (RFC 1035 §2.3.4); what is longer is looked at as far as that."""
_CACHED = 8_192
"""Words that are remembered: each costs 200 octets, and subjects never stop bringing new ones."""


class Lookalike(StrEnum):
    """How a name comes near another, the plainest deceit first."""

    HOMOGLYPH = "homoglyph"
    """It looks the same: letters of other scripts, accents, digits for letters, `rn` for `m`."""
    EDIT = "edit"
    """It is a letter or two away: typed wrongly, doubled, left out, swapped."""
    HYPHEN = "hyphen"
    """It differs in hyphens alone."""
    WORDS = "words"
    """It has words added: `secure-acme`, `acmelogin`."""


def _table(*rows: tuple[str, str]) -> dict[int, str]:
    """`letters` that look like the character before them. Of each pair the first is what is left."""
    return {ord(letter): latin for latin, letters in rows for letter in letters}


# Small letters alone: names are folded before. By their looks in common fonts, after the kinds of Unicode TR 39 (confusables).
_LETTERS = _table(
    ("a", "аαɑ@ӕа"),
    ("b", "ЬьƅɓЪвβ6"),
    ("c", "сϲçƈ¢ⅽ"),
    ("d", "ԁɗđðժⅾ"),
    ("e", "еєҽəɛęё3℮"),
    ("f", "ƒքẝ"),
    ("g", "ɡցɢǥ9"),
    ("h", "һհħн"),
    ("j", "јϳյʝ"),
    ("k", "кκĸқҡ"),
    ("l", "1ıiііӏļłɩιاⅼⅰ|!ƚἰ"),
    ("m", "мⅿɱ"),
    ("n", "пηոռŋɴ"),
    ("o", "0оοσօøɵө٥هഠ๐"),
    ("p", "рρϼþҏ"),
    ("q", "ԛզգ"),
    ("r", "гᴦɼɾʀя"),
    ("s", "ѕ5$ƽʂ"),
    ("t", "тτŧ7ƭț"),
    ("u", "υսʋцʉ"),
    ("v", "νѵⅴ"),
    ("w", "ԝωѡшщɯա"),
    ("x", "хχ×ⅹҳ"),
    ("y", "уγүұʏɣყ"),
    ("z", "ʐƶᴢ2"),
)
_TOGETHER = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_MARKS = re.compile("[\u0300-\u036f\u200b-\u200f\u2060\ufeff\u00ad]")
_AFFIXES = """
    access account accounts admin alert alerts app auth bank bill billing care cloud confirm connect corp customer
    customers delivery direct docs email finance form gift global group help helpdesk home hr id inc info invoice invoices it
    legal limited llc login logon ltd mail mailer me members mfa my net news notice office official online order orders pay
    payment payments payroll portal post prime profile purchase recovery refund refunds reset review safe safety sales secure
    secured security server service services share shop signin sso staff status store support team the track tracking transfer
    update updates user users validate verification verify vpn wallet web webmail www
"""
AFFIXES = frozenset(_AFFIXES.split())
"""Words that stand before or behind a name without a hyphen, and make it look like a part of the firm."""


def unicode_label(label: str) -> str:
    """A label as it is shown, in small letters: A-labels (`xn--…`, RFC 5890) decoded; what is none stays as it is."""
    lowered = label[:LABEL_LIMIT].lower()
    if not lowered.startswith("xn--"):
        return lowered
    try:
        return lowered[4:].encode("ascii").decode("punycode").lower()
    except (UnicodeError, OverflowError):
        return lowered


@lru_cache(maxsize=_CACHED)
def skeleton(label: str) -> str:
    """What a label looks like: two that look alike have one skeleton. It is for comparison alone, and never shown.

    Case, accents, widths and styles of letters go (NFKD); letters of other scripts and digits become the Latin letters they
    pass for; then `rn` becomes `m`, `vv` `w` and `cl` `d`.
    """
    text = unicode_label(label)
    if not text.isascii():
        # Before too: NFKD makes other letters of some that are in the table, such as a sigma of the lunate one.
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold())
    text = text.translate(_LETTERS)
    for pair, one in _TOGETHER:
        text = text.replace(pair, one)
    return text


@lru_cache(maxsize=_CACHED)
def near(label: str, name: str) -> Lookalike | None:
    """How `label` comes near `name`, both without their public suffix; None: not at all, or it is `name` itself.

    Of names under four letters only what looks the same counts, and under six letters only a swap or a doubled letter is an
    edit: short words are near each other by chance.
    """
    shown, own = unicode_label(label), unicode_label(name)
    if shown == own or len(own) < 2 or not shown:
        return None
    seen, known = skeleton(shown), skeleton(own)
    if seen == known:
        # `ln` and `in` look the same, but are words of their own, or chance.
        return Lookalike.HOMOGLYPH if len(own) >= 4 or not shown.isascii() else None
    if len(own) < 4:
        return None
    if seen.replace("-", "") == known.replace("-", ""):
        return Lookalike.HYPHEN
    if _edited(seen, known):
        return Lookalike.EDIT
    return Lookalike.WORDS if _has_words(seen, known) else None


def edits(one: str, other: str, *, limit: int = 2) -> int:
    """Letters to add, drop, change or swap (neighbours) between two texts; `limit` + 1 when it is more than `limit`.

    Optimal string alignment: no part is edited twice.
    """
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before = above
    return min(row[-1], limit + 1)


def _edited(seen: str, known: str) -> bool:
    if len(known) < 6:
        return (sorted(seen) == sorted(known) and edits(seen, known, limit=1) == 1) or _doubled(seen, known)
    # The first letter is seldom wrong, and two edits of a short word make another word.
    allowed = 2 if len(known) >= 10 and seen[:1] == known[:1] else 1
    return edits(seen, known, limit=allowed) <= allowed


def _doubled(seen: str, known: str) -> bool:
    """Whether one has a letter twice that the other has once."""
    longer, shorter = (seen, known) if len(seen) > len(known) else (known, seen)
    if len(longer) != len(shorter) + 1:
        return False
    return any(longer[i] == longer[i - 1] and longer[:i] + longer[i + 1 :] == shorter for i in range(1, len(longer)))


def _has_words(seen: str, known: str) -> bool:
    """Whether the name stands in it as a word of its own, or beside a word that firms put there."""
    if f"-{known}-" in f"-{seen}-":
        return True
    if seen.startswith(known):
        return seen[len(known) :].strip("-") in _LOOKS
    return seen.endswith(known) and seen[: -len(known)].strip("-") in _LOOKS


_LOOKS = frozenset(map(skeleton, AFFIXES))
