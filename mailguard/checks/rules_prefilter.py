"""Which of many patterns may match a text, told at once by the three-octet pieces of the literals that each requires.

RE2's own automaton for many patterns at once takes milliseconds for each new text, as its states have to be made first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mailguard.checks.rules_literals import Group, required_literals

_BITS = 16
_PIECES = 6
"""Pieces of one literal that are looked for; more tell no more."""


class Prefilter:
    """Made once for a set of patterns; `candidates` is quick for any text, and errs only in naming too many."""

    def __init__(self, patterns: Sequence[str]) -> None:
        required = [required_literals(pattern) for pattern in patterns]
        self._always = tuple(number for number, groups in enumerate(required) if not groups)
        filtered = [(number, groups) for number, groups in enumerate(required) if groups]
        self._numbers = np.array([number for number, _ in filtered], dtype=np.intp)
        groups: list[Group] = list(dict.fromkeys(group for _, some in filtered for group in some))
        literals = list(dict.fromkeys(literal for group in groups for literal in sorted(group)))
        number_of_literal = {literal: number for number, literal in enumerate(literals)}
        number_of_group = {group: number for number, group in enumerate(groups)}
        self._pieces, self._literal_starts = _flat(list(_pieces_of(literal)) for literal in literals)
        self._literals, self._group_starts = _flat(
            [number_of_literal[literal] for literal in sorted(group)] for group in groups
        )
        self._groups, self._pattern_starts = _flat([number_of_group[group] for group in some] for _, some in filtered)

    def candidates(self, text: bytes) -> list[int]:
        """Numbers of the patterns that may match a text, which is given in lower case."""
        if not len(self._numbers) or len(text) < 3:
            return list(self._always)
        octets = np.frombuffer(text, dtype=np.uint8).astype(np.uint32)
        present = np.zeros(1 << _BITS, dtype=np.bool_)
        present[_hash(octets[:-2], octets[1:-1], octets[2:])] = True
        has_literal = np.logical_and.reduceat(present[self._pieces], self._literal_starts)
        has_group = np.logical_or.reduceat(has_literal[self._literals], self._group_starts)
        may_match = np.logical_and.reduceat(has_group[self._groups], self._pattern_starts)
        return sorted([*self._always, *self._numbers[may_match].tolist()])


def _hash(first: NDArray[np.uint32], second: NDArray[np.uint32], third: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Where a piece of three octets stands among 2 ** _BITS."""
    hashed: NDArray[np.uint32] = (
        first * np.uint32(0x9E35) + second * np.uint32(0x0101) + third * np.uint32(0x5BD1)
    ) & np.uint32((1 << _BITS) - 1)
    return hashed


def _pieces_of(literal: str) -> Iterator[int]:
    octets = np.frombuffer(literal.encode("utf-8", "replace"), dtype=np.uint8).astype(np.uint32)
    hashed = _hash(octets[:-2], octets[1:-1], octets[2:])
    step = max(1, len(hashed) // _PIECES)
    yield from hashed[::step].tolist()


def _flat(rows: Iterator[list[int]] | Sequence[list[int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows behind each other, and where each begins."""
    values: list[int] = []
    starts: list[int] = []
    for row in rows:
        starts.append(len(values))
        values += row
    return np.array(values, dtype=np.intp), np.array(starts, dtype=np.intp)
