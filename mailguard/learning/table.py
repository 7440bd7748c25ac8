"""Labelled mail as a table of numbers: what training and fitting compute with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mailguard.checks import features
from mailguard.checks.features import Kind
from mailguard.learning.scanning import ScannedMail
from mailguard.learning.sources import Source

LENGTHS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.12, 0.12, 0.18, 0.12)
"""What the features of each kind weigh together: the form of a mail and the shape of its links tell the collection that it is
from more than what it is, so they weigh little. Found across sources.
"""
FEWEST = (16, 16, 64, 6, 24, 3, 4, 4, 4, 4)
"""Of each kind, the features that there must be for them to weigh all of that: with fewer, each weighs as one of so many.
A subject of one word says little; where it weighed as a whole one, honest mails of a line came near to being tagged.
"""
OWN = "own_"
"""How the names of families begin that are made from our own templates."""
LARGE = 1500
"""From how many mails on a source weighs no more."""
LARGE_OF_TEMPLATES = {"synth_": 100, OWN: 16}
"""The same of templates, which repeat themselves. Ours are many small families; at a hundred they were a third of all spam."""
TEMPLATES = tuple(LARGE_OF_TEMPLATES)
"""How the names of families begin that are made from templates."""


@dataclass(frozen=True)
class Table:
    """One row a mail and way of authentication. `texts` are the features' values, `symbols` which symbols were reported.

    `priors` are the points of the symbols that they have without fitting; `row_source` and `row_spam` go by row.
    """

    sources: tuple[Source, ...]
    row_source: NDArray[np.int32]
    row_spam: NDArray[np.bool_]
    row_blank: NDArray[np.bool_]
    """Rows for which authentication was taken as unknown although it was recorded."""
    texts: sparse.csr_matrix
    symbols: sparse.csr_matrix
    names: tuple[str, ...]
    priors: NDArray[np.float64]
    paths: tuple[str, ...]
    checks: tuple[str, ...]
    """Which check reports each symbol."""

    @property
    def families(self) -> NDArray[np.str_]:
        """The family of each row."""
        return np.array([source.family for source in self.sources])[self.row_source]

    @property
    def learnable(self) -> NDArray[np.bool_]:
        """Which rows may be learned from."""
        return np.array([source.learn for source in self.sources])[self.row_source]

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each row weighs: sources by the root of their size, spam and honest mail alike in sum; 1 on average."""
        weights = np.zeros(len(rows))
        for number in np.unique(self.row_source[rows]):
            mask = self.row_source[rows] == number
            family = self.sources[number].family
            limit = next((most for kind, most in LARGE_OF_TEMPLATES.items() if family.startswith(kind)), LARGE)
            weights[mask] = min(int(mask.sum()), limit) ** 0.5 / mask.sum()
        spam = self.row_spam[rows]
        for kind in (spam, ~spam):
            if kind.any():
                weights[kind] *= len(rows) / 2 / weights[kind].sum()
        return weights


@dataclass
class TableBuilder:
    """Gathers scanned mails into a Table."""

    sources: Sequence[Source]
    _rows: list[tuple[int, bool, str]] = field(default_factory=list)
    _ids: list[NDArray[np.uint32]] = field(default_factory=list)
    _symbols: list[list[int]] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)
    _priors: list[float] = field(default_factory=list)
    _checks: list[str] = field(default_factory=list)

    def add(self, source: int, scanned: ScannedMail, *, blank: bool) -> None:
        """One mail of the source with this number. Mail that could not be judged or classified is left out."""
        if scanned.problem or scanned.classification is None:
            return
        self._rows.append((source, blank, str(scanned.mail.path)))
        self._ids.append(np.frombuffer(scanned.classification.features, dtype=np.uint32))
        found = []
        for symbol in scanned.symbols:
            if symbol.name not in self._names:
                self._names[symbol.name] = len(self._names)
                self._priors.append(symbol.points)
                self._checks.append(symbol.check)
            found.append(self._names[symbol.name])
        self._symbols.append(found)

    def build(self) -> Table:
        """The table of all that was added."""
        number = np.array([row[0] for row in self._rows], dtype=np.int32)
        spam = np.array([source.spam for source in self.sources], dtype=bool)
        counts = [len(found) for found in self._symbols]
        symbols = sparse.csr_matrix(
            (
                np.ones(sum(counts), dtype=np.float64),
                np.array([one for found in self._symbols for one in found], dtype=np.int32),
                np.concatenate(([0], np.cumsum(counts))),
            ),
            shape=(len(self._rows), len(self._names)),
        )
        return Table(
            sources=tuple(self.sources),
            row_source=number,
            row_spam=spam[number],
            row_blank=np.array([row[1] for row in self._rows], dtype=bool),
            texts=texts_of(self._ids),
            symbols=symbols,
            names=tuple(self._names),
            priors=np.array(self._priors),
            paths=tuple(row[2] for row in self._rows),
            checks=tuple(self._checks),
        )


def texts_of(ids: Sequence[NDArray[np.uint32]]) -> sparse.csr_matrix:
    """The values of features: those of a kind together have the length that LENGTHS says, a smaller one where they are few."""
    values, bounds = [], [0]
    for one in ids:
        counts = np.diff(features.spans(one))
        each = np.array(
            [LENGTHS[kind] / max(int(counts[kind]), FEWEST[kind]) ** 0.5 for kind in Kind], dtype=np.float32
        )
        values.append(np.repeat(each, counts))
        bounds.append(bounds[-1] + len(one))
    return sparse.csr_matrix(
        (
            np.concatenate(values) if values else np.zeros(0, dtype=np.float32),
            np.concatenate(ids).astype(np.int32) if ids else np.zeros(0, dtype=np.int32),
            np.array(bounds),
        ),
        shape=(len(ids), features.SIZE),
    )
