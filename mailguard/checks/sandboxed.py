"""What checks report of jobs that the sandbox did not finish: a file that exceeds a limit or kills its parser is a fact about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailguard.core.verdict import Symbol
from mailguard.sandbox.values import Answer, Outcome

EVIDENCE_LIMIT = 5

SYMBOLS: Mapping[str, tuple[float, str]] = {
    "SANDBOX_LIMIT": (1.0, "a file needs more time or memory to be looked into than any honest one"),
    "SANDBOX_CRASH": (1.5, "a file makes the program crash that looks into it"),
}
"""Symbols with their default points, and what they mean."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file, and how looking into it ended."""

    name: str
    answer: Answer


def symbols_of(unfinished: Sequence[Unfinished]) -> tuple[Symbol, ...]:
    """The symbols of the files that exceeded a limit, and of those that made their process crash."""
    found: dict[str, dict[str, None]] = {}
    for one in unfinished:
        if one.answer.outcome.is_limit or one.answer.outcome is Outcome.CRASH:
            name = "SANDBOX_LIMIT" if one.answer.outcome.is_limit else "SANDBOX_CRASH"
            found.setdefault(name, {})[f"{one.name}: {one.answer.detail}"] = None
    return tuple(Symbol(name, *SYMBOLS[name], tuple(found[name])[:EVIDENCE_LIMIT]) for name in SYMBOLS if name in found)
