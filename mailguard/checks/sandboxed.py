"""What checks report of jobs that the sandbox did not finish: a file that exceeds a limit or kills its parser is a fact about it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mailguard.core.verdict import Symbol
from mailguard.sandbox.values import Answer, Outcome

INLINE_LIMIT = 256 * 1024
"""Octets of a mail up to which its files are chosen and read on the spot; more goes to a thread, so that the event loop goes on."""
KILLS = 2
"""Jobs of one mail that may exceed a limit before the rest of its files is left alone."""
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


def is_enough(unfinished: Sequence[Unfinished]) -> bool:
    """Whether the rest of a mail's files is left alone: nobody is free to look, or its files kill who looks."""
    return any(one.answer.outcome.is_ours for one in unfinished) or len(unfinished) >= KILLS


T = TypeVar("T")


class Remembered(Generic[T]):
    """What was seen in the last `limit` files, by keys of their content."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: OrderedDict[bytes, T] = OrderedDict()

    def get(self, key: bytes) -> T | None:
        """What was seen, if it is still known."""
        found = self._seen.get(key)
        if found is not None:
            self._seen.move_to_end(key)
        return found

    def put(self, key: bytes, seen: T) -> None:
        """Remember it, and forget what was not asked for the longest."""
        self._seen[key] = seen
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._seen.clear()


def symbols_of(unfinished: Sequence[Unfinished]) -> tuple[Symbol, ...]:
    """The symbols of the files that exceeded a limit, and of those that made their process crash."""
    found: dict[str, dict[str, None]] = {}
    for one in unfinished:
        if one.answer.outcome.is_limit or one.answer.outcome is Outcome.CRASH:
            name = "SANDBOX_LIMIT" if one.answer.outcome.is_limit else "SANDBOX_CRASH"
            found.setdefault(name, {})[f"{one.name}: {one.answer.detail}"] = None
    return tuple(Symbol(name, *SYMBOLS[name], tuple(found[name])[:EVIDENCE_LIMIT]) for name in SYMBOLS if name in found)
