"""Which of many patterns may match a text, told at once by the four-octet pieces of the literals that each requires.

RE2's own automaton for many patterns at once takes milliseconds for each new text, as its states have to be made first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mailguard.checks.rules_literals import GROUPS_KEPT, Group, plain, required_literals

_BITS = 17
_THREE = np.uint32(0xFFFFFF)
_PIECES = 8
"""Pieces of one literal that are looked for; more tell no more."""
_COMMON = " etaoinsrhldcumfpgwybvk"
"""Letters of mail from the most to the less frequent: a piece of rare ones is looked for first."""
_RANKS = bytes(_COMMON.find(chr(octet)) % (len(_COMMON) + 1) for octet in range(256))


@dataclass(frozen=True, slots=True)
class Tables:
    """What a set of patterns requires. Arrays alone: `rules_cache` keeps them, all there are."""

    always: NDArray[np.intp]
    """Numbers of the patterns that require nothing that could be looked for."""
    numbers: NDArray[np.intp]
    """Numbers of the others."""
    groups: NDArray[np.intp]
    """GROUPS_KEPT rows: the groups that each of the others requires, the last one again when they are fewer."""
    group_of: NDArray[np.intp]
    """By literal, its group, in order; a literal of several groups is there for each."""
    pieces: NDArray[np.intp]
    """_PIECES rows: by literal, the place of its rarest piece, of the next rare, and so on."""


def tables_of(patterns: Sequence[str]) -> Tables:
    """Worked out from the patterns: some 50 µs each."""
    required = [required_literals(pattern) for pattern in patterns]
    groups: list[Group] = list(dict.fromkeys(group for some in required for group in some))
    literals = [literal for group in groups for literal in sorted(group)]
    places = {literal: _pieces_of(literal) for literal in dict.fromkeys(literals)}
    pieces = np.array([places[literal] for literal in literals], dtype=np.intp).reshape(-1, _PIECES)
    number_of = {group: number for number, group in enumerate(groups)}
    rows = [([number_of[group] for group in some] * GROUPS_KEPT)[:GROUPS_KEPT] for some in required if some]
    return Tables(
        always=np.array([number for number, some in enumerate(required) if not some], dtype=np.intp),
        numbers=np.array([number for number, some in enumerate(required) if some], dtype=np.intp),
        groups=np.ascontiguousarray(np.array(rows, dtype=np.intp).reshape(-1, GROUPS_KEPT).T),
        group_of=np.repeat(np.arange(len(groups), dtype=np.intp), [len(group) for group in groups]),
        pieces=np.ascontiguousarray(pieces.T),
    )


class Prefilter:
    """Made once for a set of patterns; `candidates` is quick for any text, and errs only in naming too many."""

    def __init__(self, patterns: Sequence[str], tables: Tables | None = None) -> None:
        """`tables` are those of the same patterns, if they were worked out before."""
        self.tables = tables or tables_of(patterns)
        self._always = self.tables.always.tolist()

    def candidates(self, text: bytes) -> list[int]:
        """Numbers of the patterns that may match a text, in order."""
        tables = self.tables
        if not len(tables.numbers):
            return list(self._always)
        has_group = np.zeros(len(tables.group_of), dtype=np.bool_)
        has_group[tables.group_of.take(self._literals_in(text))] = True
        may_match = has_group.take(tables.groups[0])
        for row in tables.groups[1:]:
            may_match &= has_group.take(row)
        return sorted([*self._always, *tables.numbers[may_match].tolist()])

    def _literals_in(self, text: bytes) -> NDArray[np.intp]:
        """Numbers of the literals that a text may hold: all their pieces are somewhere in it."""
        present = _present(plain(text))
        rarest, *others = self.tables.pieces
        # Few literals have their rarest piece in a text; of these alone the next is looked for, and so on.
        perhaps = np.flatnonzero(present.take(rarest))
        for places in others:
            perhaps = perhaps[present.take(places.take(perhaps))]
        return perhaps


def _present(text: bytes) -> NDArray[np.bool_]:
    """Which of the 2 ** _BITS places have a piece of three or four octets of a text."""
    octets = text + b"\0"  # so that the last three of the text begin a piece of four, too
    count = len(text) - 2
    present = np.zeros(1 << _BITS, dtype=np.bool_)
    if count > 0:
        pieces = np.empty(2 * count, dtype=np.uint32)
        for start in range(min(4, count)):
            # Those that begin at every fourth octet are numbers behind each other.
            fours = np.frombuffer(octets, dtype="<u4", count=(len(octets) - start) // 4, offset=start)
            pieces[start:count:4] = fours
        np.bitwise_and(pieces[:count], _THREE, out=pieces[count:])
        present[_hash(pieces)] = True
    return present


def _hash(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Where each piece, as a little-endian number, stands among 2 ** _BITS."""
    hashed: NDArray[np.uint32] = words * np.uint32(2_654_435_761) >> np.uint32(32 - _BITS)  # Knuth, TAOCP 3, 6.4
    return hashed


def _pieces_of(literal: str) -> list[int]:
    """_PIECES places of a literal's pieces, the rarest first, some repeated when it has fewer."""
    raw = literal.encode("utf-8", "replace")
    length = 3 if len(raw) == 3 else 4  # literals that have no more are looked for by three
    pieces = [int.from_bytes(raw[at : at + length], "little") for at in range(len(raw) - length + 1)]
    places = _hash(np.array(pieces, dtype=np.uint32)).tolist()
    by_rarity = sorted(range(len(places)), key=lambda at: -_rarity(raw[at : at + length]))
    chosen = [places[at] for at in by_rarity[:_PIECES]]
    return chosen + [chosen[0]] * (_PIECES - len(chosen))


def _rarity(piece: bytes) -> int:
    return sum(piece.translate(_RANKS))
