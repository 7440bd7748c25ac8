"""Fits the points of all symbols together with the classifier: how much each adds to what the others already say.

Logistic regression with the points that were set by hand as the centre (a Gaussian prior): what is seldom seen in training
stays as it was set, what is seen often moves to what it is worth, and nothing changes its sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit

from mailguard.checks.classifier import BASELINE, CLASSIFIED_HAM, CLASSIFIED_SPAM
from mailguard.checks.model import Calibration
from mailguard.learning.table import OWN, Table
from mailguard.learning.train import OnProgress, alone_of, folds_of

TRUST = 40.0
"""Mails (of average weight) that a symbol must be seen in before its points move more than they stay."""
LEAST, MOST = -6.0, 6.0
"""Logits of the classifier beyond which it says nothing more."""
TAG, QUARANTINE = 5.0, 8.0
"""The thresholds of the default profile, which the points are for."""
MODERN, OLD = (0.02, 0.005), (0.2, 0.1)
"""Shares of honest mail of sources never seen that may reach them, each source weighing alike: of modern mail, and of the old
collections, whose senders nothing vouches for and whose newsletters are of their time. Where they differ, the stricter one counts.
"""
CLOSEST = 1.5
"""Logits that at least lie between the two thresholds. The closer, the less honest mail of which little is known is tagged;
closer than a symbol weighs, a single one would go from nothing to quarantine.
"""
LARGEST = CLOSEST
"""Logits that one symbol weighs at most, either way."""
NOT_FITTED = ("_TEMPERROR", "CLAMAV_", "GTUBE", "LEARNED_", "REPUTATION_", "RSPAMD", "SPAMD")


@dataclass(frozen=True)
class Fitted:
    """Points by symbol, and the classifier's calibration. `scores` are those of the rows by fits that never saw their family.

    `alone` are the same, but where a family holds several collections only the row's own one was left out.
    """

    points: Mapping[str, float]
    calibration: Calibration
    scores: NDArray[np.float64]
    alone: NDArray[np.float64]
    hits: Mapping[str, tuple[float, float]]
    """By symbol, which shares of honest mail and of spam have it, each source weighing alike."""


@dataclass(frozen=True, slots=True)
class _Problem:
    """The inputs: one column a fitted symbol, the last one the classifier's logit. `prior` and bounds are in logits."""

    inputs: sparse.csr_matrix
    spam: NDArray[np.bool_]
    weights: NDArray[np.float64]
    prior: NDArray[np.float64]
    precision: NDArray[np.float64]
    bounds: list[tuple[float | None, float | None]]


def fit(table: Table, logits: NDArray[np.float64], alone: NDArray[np.float64], on_progress: OnProgress) -> Fitted:
    """The points. `logits` are the classifier's for each row, by one that never saw its family; `alone` for rows of alone_of."""
    columns = _columns(table)
    inputs = _inputs(table, columns, logits)
    learn = table.learnable
    priors = table.priors[columns]
    raw, raw_alone = np.zeros(len(logits)), np.zeros(len(logits))
    for folds, found, said in (
        (folds_of(table), raw, inputs),
        (alone_of(table), raw_alone, _inputs(table, columns, alone)),
    ):
        for name, left_out in folds.items():
            found[left_out] = said[left_out] @ _solve(table, inputs, priors, np.flatnonzero(learn & ~left_out))
            on_progress(f"fitted without {name}")
    in_several = np.any([*alone_of(table).values(), np.zeros(len(raw), dtype=bool)], axis=0)
    raw_alone = np.where(in_several, raw_alone, raw)
    solution = _solve(table, inputs, priors, np.flatnonzero(learn))
    slope, offset = _scale(table, raw, learn)
    on_progress(f"{slope:.3f} points a logit, {offset:+.2f} for every mail")
    calibration = Calibration(
        slope=round(float(solution[-2]) * slope, 4),
        baseline=round(float(solution[-1]) * slope + offset, 2),
        least=round(float(solution[-2]) * LEAST * slope, 2),
        most=round(float(solution[-2]) * MOST * slope, 2),
    )
    points = {
        table.names[column]: round(float(weight) * slope, 1) + 0.0
        for column, weight in zip(columns, solution[:-2], strict=True)
    }
    return Fitted(points, calibration, raw * slope + offset, raw_alone * slope + offset, _hits(table, learn))


def _columns(table: Table) -> NDArray[np.int64]:
    """The symbols that are fitted."""
    return np.array(
        [
            column
            for column, name in enumerate(table.names)
            if name not in (CLASSIFIED_HAM, CLASSIFIED_SPAM, BASELINE) and not any(part in name for part in NOT_FITTED)
        ],
        dtype=np.int64,
    )


def _inputs(table: Table, columns: NDArray[np.int64], logits: NDArray[np.float64]) -> sparse.csr_matrix:
    symbols = table.symbols[:, columns].copy()
    symbols.data = np.ones_like(symbols.data)  # a symbol that two parts of a mail report counts once
    said = np.column_stack((np.clip(logits, LEAST, MOST), np.ones(len(logits))))
    return sparse.hstack((symbols, said), format="csr")


def _solve(
    table: Table, inputs: sparse.csr_matrix, priors: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    count = inputs.shape[1]
    prior = np.concatenate((priors, [0.8, 0.0]))
    precision = np.full(count, TRUST)
    precision[-2:] = 0.01
    bounds: list[tuple[float | None, float | None]] = [
        (0.0, LARGEST) if points > 0 else (-LARGEST, 0.0) if points < 0 else (-LARGEST, LARGEST) for points in priors
    ]
    bounds += [(0.0, None), (None, None)]
    problem = _Problem(inputs[rows], table.row_spam[rows], table.weights(rows), prior, precision, bounds)
    found = minimize(
        _loss,
        np.clip(prior, -3, 3),
        args=(problem,),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 300},
    )
    return np.asarray(found.x, dtype=np.float64)


def _loss(solution: NDArray[np.float64], problem: _Problem) -> tuple[float, NDArray[np.float64]]:
    """The negative log of the posterior, and its gradient."""
    margin = problem.inputs @ solution
    signed = np.where(problem.spam, margin, -margin)
    apart = solution - problem.prior
    loss = float(problem.weights @ np.logaddexp(0, -signed)) + 0.5 * float(problem.precision @ apart**2)
    pull = problem.weights * (expit(margin) - problem.spam)
    return loss, problem.inputs.T @ pull + problem.precision * apart


def _scale(table: Table, raw: NDArray[np.float64], learn: NDArray[np.bool_]) -> tuple[float, float]:
    """Points a logit, and points for every mail, so that no more of honest mail reaches the thresholds than may.

    Of the collections' honest mail: much of ours was written to look like spam, and is no measure of how often mail does.
    """
    modern = np.array([source.modern for source in table.sources])[table.row_source]
    honest = learn & ~table.row_spam & ~_ours(table)
    groups = [(np.flatnonzero(honest & kind), shares) for kind, shares in ((modern, MODERN), (~modern, OLD))]
    tag, quarantine = (
        max(_reached_by(table, raw, rows, shares[number]) for rows, shares in groups if len(rows)) for number in (0, 1)
    )
    slope = (QUARANTINE - TAG) / max(quarantine - tag, CLOSEST)
    return slope, QUARANTINE - quarantine * slope


def _ours(table: Table) -> NDArray[np.bool_]:
    """Rows of mail from our own templates."""
    return np.array([source.family.startswith(OWN) for source in table.sources])[table.row_source]


def _reached_by(table: Table, raw: NDArray[np.float64], rows: NDArray[np.int64], share: float) -> float:
    """The value that this share of rows exceeds, each source weighing alike."""
    order = rows[np.argsort(raw[rows])]
    weights = table.weights(order)
    above = 1 - np.cumsum(weights) / weights.sum()
    return float(raw[order[np.searchsorted(-above, -share)]])


def _hits(table: Table, learn: NDArray[np.bool_]) -> dict[str, tuple[float, float]]:
    shares = []
    for spam in (False, True):
        rows = np.flatnonzero(learn & (table.row_spam == spam))
        weights = table.weights(rows)
        shares.append(np.asarray((table.symbols[rows] > 0).T @ weights).ravel() / weights.sum())
    return {name: (float(shares[0][at]), float(shares[1][at])) for at, name in enumerate(table.names)}
