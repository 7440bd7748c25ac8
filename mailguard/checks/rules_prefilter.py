"""Which of many patterns may match a text, told at once by the four-octet pieces of the literals that each requires.

RE2's own automaton for many patterns at once takes milliseconds for each new text, as its states have to be made first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mailguard.checks.rules_literals import Group, plain, required_literals

_BITS = 17
_PIECES = 8
"""Pieces of one literal that are looked for; more tell no more."""
_COMMON = " etaoinsrhldcumfpgwybvk"
"""Letters of mail from the most to the less frequent: a piece of rare ones is looked for first."""


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
        self._pieces = np.array([_pieces_of(literal) for literal in literals], dtype=np.intp).reshape(-1, _PIECES)
        self._first = np.ascontiguousarray(self._pieces[:, 0])
        self._literals, self._group_starts = _flat(
            [number_of_literal[literal] for literal in sorted(group)] for group in groups
        )
        self._groups, self._pattern_starts = _flat([number_of_group[group] for group in some] for _, some in filtered)

    def candidates(self, text: bytes) -> list[int]:
        """Numbers of the patterns that may match a text."""
        if not len(self._numbers):
            return list(self._always)
        present = np.zeros(1 << _BITS, dtype=np.bool_)
        octets = np.frombuffer(plain(text), dtype=np.uint8).astype(np.uint32)
        present[_fours(octets)] = True
        present[_threes(octets)] = True
        # Few literals have their rarest piece in a text; only of these the others are looked for.
        perhaps = np.flatnonzero(present.take(self._first))
        has_literal = np.zeros(len(self._first), dtype=np.bool_)
        has_literal[perhaps] = present.take(self._pieces.take(perhaps, axis=0)).all(axis=1)
        has_group = np.logical_or.reduceat(has_literal.take(self._literals), self._group_starts)
        may_match = np.logical_and.reduceat(has_group.take(self._groups), self._pattern_starts)
        return sorted([*self._always, *self._numbers[may_match].tolist()])


def _fours(octets: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Where each piece of four octets stands among 2 ** _BITS."""
    return _hash(
        octets[:-3] | octets[1:-2] << np.uint32(8) | octets[2:-1] << np.uint32(16) | octets[3:] << np.uint32(24)
    )


def _threes(octets: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The same of three octets, for literals that have no more."""
    return _hash(octets[:-2] | octets[1:-1] << np.uint32(8) | octets[2:] << np.uint32(16))


def _hash(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    hashed: NDArray[np.uint32] = words * np.uint32(2_654_435_761) >> np.uint32(32 - _BITS)  # Knuth, TAOCP 3, 6.4
    return hashed


def _pieces_of(literal: str) -> list[int]:
    """_PIECES places of a literal's pieces, the rarest first, some repeated when it has fewer."""
    raw = literal.encode("utf-8", "replace")
    octets = np.frombuffer(raw, dtype=np.uint8).astype(np.uint32)
    length = 3 if len(raw) == 3 else 4
    places = (_threes(octets) if length == 3 else _fours(octets)).tolist()
    by_rarity = sorted(range(len(places)), key=lambda at: -_rarity(raw[at : at + length]))
    chosen = [places[at] for at in by_rarity[:_PIECES]]
    return chosen + [chosen[0]] * (_PIECES - len(chosen))


def _rarity(piece: bytes) -> int:
    return sum(_COMMON.find(chr(octet)) % (len(_COMMON) + 1) for octet in piece)


def _flat(rows: Iterable[list[int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows behind each other, and where each begins."""
    values: list[int] = []
    starts: list[int] = []
    for row in rows:
        starts.append(len(values))
        values += row
    return np.array(values, dtype=np.intp), np.array(starts, dtype=np.intp)
