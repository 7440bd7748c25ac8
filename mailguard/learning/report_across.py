"""How well training went across sources, as Markdown: each source judged by what never saw its family."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mailguard.learning.fit import QUARANTINE, TAG
from mailguard.learning.statistics import clopper_pearson
from mailguard.learning.table import Table


def report(table: Table, scores: NDArray[np.float64]) -> str:
    """Shares of each source that reach the thresholds of tag and quarantine, with authentication and without."""
    return "\n".join(_lines(table, scores)) + "\n"


def _lines(table: Table, scores: NDArray[np.float64]) -> Iterator[str]:
    for title, rows in (
        ("With recorded authentication, where there is any", ~table.row_blank),
        ("Without authentication", table.row_blank | ~_with_both(table)),
    ):
        yield f"### {title}\n"
        yield f"| source | kind | n | ≥ {TAG:g} | ≥ {QUARANTINE:g} | 95 % of ≥ {QUARANTINE:g} | median |"
        yield "|---|---|---|---|---|---|---|"
        for number, source in enumerate(table.sources):
            found = scores[rows & (table.row_source == number)]
            if not len(found):
                continue
            tagged, quarantined = (int((found >= threshold).sum()) for threshold in (TAG, QUARANTINE))
            low, high = clopper_pearson(quarantined, len(found))
            yield (
                f"| {source.name} | {'spam' if source.spam else 'ham'} | {len(found)} | {tagged / len(found):.2%} "
                f"| {quarantined / len(found):.2%} | {low:.2%}–{high:.2%} | {np.median(found):.1f} |"
            )
        yield ""


def _with_both(table: Table) -> NDArray[np.bool_]:
    """Rows of mails that stand in the table in both ways."""
    blank = {path for path, is_blank in zip(table.paths, table.row_blank, strict=True) if is_blank}
    return np.array([path in blank for path in table.paths])
