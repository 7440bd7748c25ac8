"""Tricks with letters: those that only look as they do, invisible characters, other directions."""

from __future__ import annotations

from collections.abc import Iterator

from mailguard.message.normalise import Normalised
from mailguard.message.parse import Message


def letter_tricks(message: Message) -> Iterator[tuple[str, str]]:
    """(symbol, evidence) for the tricks with letters in the text, the Subject and From."""
    yield from _tricks("TEXT", message.shown, several=4)
    yield from _tricks("SUBJECT", message.shown_subject, several=1)
    yield from _tricks("FROM", message.shown_from, several=1)


def _tricks(place: str, shown: Normalised, *, several: int) -> Iterator[tuple[str, str]]:
    if shown.clean:
        return
    if shown.split_words >= several:
        yield f"{place}_SPLIT_WORDS", f"{shown.split_words} times"
    if shown.overrides:
        yield f"{place}_DIRECTION_OVERRIDE", f"{shown.overrides} times"
    if shown.marks >= 2 * several:
        yield f"{place}_MARKS", f"{shown.marks} marks"
    if shown.styled >= 3 * several:
        yield f"{place}_STYLED_LETTERS", f"{shown.styled} letters"
    if shown.mixed:
        yield f"{place}_MIXED_SCRIPTS", " ".join(shown.mixed[:3])
    if shown.spaced:
        yield f"{place}_SPACED_OUT", " ".join(shown.spaced[:3])
