"""Trains the classifier on a Table: logistic regression over the hashed features, also with each family left out in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from mailguard.learning.table import TEMPLATES, Table

STRENGTH = 20.0
"""The inverse of the regularisation (L2), found across sources."""
TURNS = 60
FOLDS = 4
"""Into how many parts the families of templates are put, theirs and ours apart, each to be left out together."""

OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """A weight for each feature id, and the bias."""

    weights: NDArray[np.float64]
    bias: float


def train(table: Table, rows: NDArray[np.int64]) -> Trained:
    """What the texts of these rows teach. A mail that stands in the table twice counts once."""
    rows = rows[~table.row_blank[rows]]
    learner = LogisticRegression(C=STRENGTH, max_iter=TURNS, tol=1e-3)
    texts = table.texts[rows]
    used = np.unique(texts.indices)
    learner.fit(texts[:, used], table.row_spam[rows], sample_weight=table.weights(rows))
    weights = np.zeros(texts.shape[1])
    weights[used] = learner.coef_[0]
    return Trained(weights, float(learner.intercept_[0]))


def logits(table: Table, rows: NDArray[np.int64], trained: Trained) -> NDArray[np.float64]:
    """What the classifier says of these rows."""
    return np.asarray(table.texts[rows] @ trained.weights + trained.bias, dtype=np.float64)


def folds_of(table: Table) -> dict[str, NDArray[np.bool_]]:
    """Which rows are left out together, by a name: each family; templates in FOLDS parts, since there are many."""
    families = table.families
    part: dict[str, str] = {}
    for kind in TEMPLATES:
        templates = sorted({str(family) for family in families if family.startswith(kind)})
        part |= {family: f"{kind}{number % FOLDS + 1}" for number, family in enumerate(templates)}
    names = np.array([part.get(str(family), str(family)) for family in families])
    return {str(name): names == name for name in np.unique(names)}


def alone_of(table: Table) -> dict[str, NDArray[np.bool_]]:
    """Which rows are left out together when each collection is left out alone: of families that hold several, by collection."""
    archives = np.array([source.archive for source in table.sources])[table.row_source]
    families = table.families
    found: dict[str, NDArray[np.bool_]] = {}
    for family in np.unique(families):
        members = np.unique(archives[families == family])
        if len(members) > 1:
            found |= {str(name): archives == name for name in members}
    return found


def across(
    table: Table, whole: Trained, on_progress: OnProgress, *, folds: Mapping[str, NDArray[np.bool_]] | None = None
) -> NDArray[np.float64]:
    """The logit of each row by a classifier that never saw its family. With other `folds`, of their rows; 0 for all else.

    `whole` is what all rows that may be learned from teach; it judges the families that are only measured on.
    """
    found = np.zeros(len(table.row_source))
    for name, left_out in (folds_of(table) if folds is None else folds).items():
        learned = bool((table.learnable & left_out).any())
        trained = train(table, np.flatnonzero(table.learnable & ~left_out)) if learned else whole
        rows = np.flatnonzero(left_out)
        found[rows] = logits(table, rows, trained)
        on_progress(f"left out {name}: {len(rows)} rows")
    return found
