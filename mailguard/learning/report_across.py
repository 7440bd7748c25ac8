"""How well training went across sources, as Markdown: each source judged by what never saw its family."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mailguard.learning.fit import QUARANTINE, TAG, Fitted
from mailguard.learning.statistics import area_above, area_above_interval, clopper_pearson
from mailguard.learning.table import OWN, Table

_Rows = NDArray[np.bool_]
_Scores = NDArray[np.float64]


def report(table: Table, fitted: Fitted) -> str:
    """The arms of modern mail, the old collections, and each source with authentication and without."""
    lines = [*_modern(table, fitted.scores), *_old(table, fitted), *_sources(table, fitted.scores)]
    return "\n".join(lines) + "\n"


def _modern(table: Table, scores: _Scores) -> Iterator[str]:
    """Modern honest mail of the collections against phishing that is only measured on."""
    modern = _of(table, [source.modern and not source.family.startswith(OWN) for source in table.sources])
    real = _of(table, [source.family.startswith("real_") for source in table.sources])
    honest, phishing = modern & ~table.row_spam, modern & table.row_spam & ~table.learnable
    if not (honest.any() and phishing.any()):
        return
    known, blank = ~table.row_blank, table.row_blank | ~_with_both(table)
    passing = phishing & _has(table, "DMARC_PASS")
    arms = (
        ("(a) with recorded authentication", honest & known, phishing & known, 0.005),
        ("(b) the same, phishing that passes DMARC alone", honest & known, passing & known, 0.01),
        ("(c) authentication blanked", honest & blank, phishing & blank, 0.02),
    )
    yield "### Modern mail\n"
    yield "| arm | honest mail tagged or more | quarantined | real alone | worst family | phishing quarantined | tagged or more | 1-ROCA % |"
    yield "|---|---|---|---|---|---|---|---|"
    at_goals = []
    for name, ham, spam, share in arms:
        if not (ham.any() and spam.any()):
            continue
        yield (
            f"| {name} | {np.mean(scores[ham] >= TAG):.1%} | {_rate(scores[ham])} | {_rate(scores[ham & real])} "
            f"| {_worst(table, scores, ham)} | {_rate(scores[spam])} | {np.mean(scores[spam] >= TAG):.1%} "
            f"| {_area(scores[ham], scores[spam])} |"
        )
        caught = float(np.mean(scores[spam] > np.quantile(scores[ham], 1 - share)))
        at_goals.append(f"{name[:3]} {caught:.1%} at {share:.1%}")
    yield f"\nWith thresholds put where that share of the honest mail is over them: {'; '.join(at_goals)}.\n"


def _old(table: Table, fitted: Fitted) -> Iterator[str]:
    """The old collections by both ways to leave out: the whole family, and the collection alone."""
    old = _of(table, [not source.modern for source in table.sources]) & ~table.row_blank
    honest, spam = old & ~table.row_spam, old & table.row_spam
    if not (honest.any() and spam.any()):
        return
    yield "### Old collections\n"
    yield "| source | family left out: tagged or more | quarantined | collection alone left out: tagged or more | quarantined |"
    yield "|---|---|---|---|---|"
    both = (fitted.scores, fitted.alone)
    rows = [(source.name, old & (table.row_source == at)) for at, source in enumerate(table.sources)]
    rows += [("all honest mail", honest), ("all spam", spam)]
    for name, mask in rows:
        if mask.any():
            yield f"| {name} | " + " | ".join(f"{np.mean(s[mask] >= TAG):.2%} | {_rate(s[mask])}" for s in both) + " |"
    family, alone = (_area(s[honest], s[spam]) for s in both)
    yield f"\n1-ROCA % of all honest mail against all spam: family left out {family}, collection alone {alone}.\n"


def _sources(table: Table, scores: _Scores) -> Iterator[str]:
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


def _of(table: Table, wanted: list[bool]) -> _Rows:
    return np.array(wanted, dtype=bool)[table.row_source]


def _has(table: Table, name: str) -> _Rows:
    if name not in table.names:
        return np.zeros(len(table.row_source), dtype=bool)
    return np.asarray(table.symbols[:, [table.names.index(name)]].toarray().ravel() > 0)


def _rate(scores: _Scores) -> str:
    """How many are quarantined, with the exact interval."""
    if not len(scores):
        return "none"
    count = int((scores >= QUARANTINE).sum())
    low, high = clopper_pearson(count, len(scores))
    return f"{count / len(scores):.2%} ({count} of {len(scores)}; {low:.2%}–{high:.2%})"


def _worst(table: Table, scores: _Scores, rows: _Rows) -> str:
    """The family of which the largest share is quarantined."""
    shares = []
    for name in np.unique(table.families[rows]):
        found = scores[rows & (table.families == name)]
        shares.append((float(np.mean(found >= QUARANTINE)), str(name), len(found)))
    share, name, count = max(shares)
    return f"{name.partition('_')[2]} {share:.1%} of {count}" if share else "none"


def _area(ham: _Scores, spam: _Scores) -> str:
    """1-ROCA % with its interval."""
    low, high = area_above_interval(ham.tolist(), spam.tolist())
    return f"{100 * area_above(ham.tolist(), spam.tolist()):.2f} ({100 * low:.2f}–{100 * high:.2f})"


def _with_both(table: Table) -> _Rows:
    """Rows of mails that stand in the table in both ways."""
    blank = {path for path, is_blank in zip(table.paths, table.row_blank, strict=True) if is_blank}
    return np.array([path in blank for path in table.paths])
