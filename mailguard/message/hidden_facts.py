"""Which of the text that HTML hides from its reader is there to deceive: previews and variants for other screens are not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailguard.message.hidden import Hidden, HiddenBy
from mailguard.message.text import Rendered

PREVIEW_LIMIT = 500
"""Characters of a hidden text that is the preview which mail programs show in their lists."""
PREVIEW_START = 250
"""Characters within which a preview begins."""
SHORT = 40
"""Characters of hidden text up to which it may be an accident of the template."""
MUCH = 400
"""Characters of hidden text from which on it is there for programs."""
REPEATED = 0.7
"""Share of a hidden text's words that are visible, too: a variant for other screens."""
EVIDENCE = 80

_FILLERS = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2060-\u206f\u3164\ufeff\u00a0\u2007\u2800\U0001d173-\U0001d17a"
_FILLER = re.compile(rf"[\s{_FILLERS}]+")
_ANY_FILLER = re.compile(f"[{_FILLERS}]")


def hidden_text(rendered: Rendered) -> Iterator[tuple[str, str]]:
    """(symbol, evidence) for what HTML hides, previews and variants for other screens apart."""
    if not rendered.hidden:
        return
    visible = frozenset(rendered.visible.split())
    counted: list[tuple[Hidden, str]] = []
    for at, hidden in enumerate(rendered.hidden):
        # Its white space is single blanks already.
        text = (_FILLER.sub(" ", hidden.text) if _ANY_FILLER.search(hidden.text) else hidden.text).strip()
        if not text:
            continue
        if hidden.within_word and text.isalnum():
            yield "HIDDEN_WITHIN_WORDS", text[:EVIDENCE]
        elif at <= 1 and _is_preview(hidden, text, rendered.text):
            yield "HIDDEN_PREVIEW", text[:EVIDENCE]
        elif hidden.by is not HiddenBy.CLASS and not _is_repeated(text, visible):
            counted.append((hidden, text))
    yield from _amounts(counted, len(rendered.visible))


def _is_preview(hidden: Hidden, text: str, whole: str) -> bool:
    return len(text) <= PREVIEW_LIMIT and 0 <= whole.find(hidden.text[:SHORT]) <= PREVIEW_START


def _is_repeated(text: str, visible: frozenset[str]) -> bool:
    words = text.split()
    return sum(map(visible.__contains__, words)) >= REPEATED * len(words)


def _amounts(counted: list[tuple[Hidden, str]], shown: int) -> Iterator[tuple[str, str]]:
    total = sum(len(text) for _, text in counted)
    if total < SHORT:
        return
    longest = max((text for _, text in counted), key=len)[:EVIDENCE]
    yield "HIDDEN_TEXT", longest
    if total >= MUCH and total > shown:
        yield "HIDDEN_TEXT_MOSTLY", f"{total} characters hidden, {shown} shown"
    for symbol, by in (("HIDDEN_TEXT_TINY", HiddenBy.SIZE), ("HIDDEN_TEXT_COLOUR", HiddenBy.COLOUR)):
        texts = [text for hidden, text in counted if hidden.by is by]
        if sum(map(len, texts)) >= SHORT:
            yield symbol, max(texts, key=len)[:EVIDENCE]
