"""Foreign text without what cannot be seen or printed: the ground that each writer stands on before it escapes for its sink."""

from __future__ import annotations

import unicodedata

_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_JOINERS = "\u200c\u200d"  # letters of Persian and of Indian scripts depend on them
_MARKS = 4


def plain(text: str, *, limit: int = 0) -> str:
    """`text` as one line: no control, direction, private or unassigned characters, no piles of accents, single spaces.

    With a `limit`, cut to that many characters, the last one an ellipsis.
    """
    kept: list[str] = []
    marks = 0
    for character in text[: limit * 4] if limit else text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if character.isspace():
            kept.append(" ")
        elif (category not in _DROPPED or character in _JOINERS) and marks <= _MARKS:
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line[: limit - 1].rstrip() + "…" if limit and len(line) > limit else line
