"""How an evaluation is told: as Markdown for people and for docs, and as JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mailguard.cli.terminal import safe
from mailguard.learning.evaluate import FPRS, Evaluation, Figures, SymbolUse
from mailguard.learning.statistics import Rate

if TYPE_CHECKING:
    from mailguard.learning.online import Block, OnlineRun
    from mailguard.learning.scanning import ScannedMail

SYMBOLS_SHOWN = 60
SYMBOLS_OF_ONE = 12
"""Symbols of one mail that are named."""


def markdown(found: Evaluation) -> Iterator[str]:
    """The report, line by line."""
    yield f"## {found.engine}"
    yield ""
    yield "### Legitimate mail: how much is treated as spam"
    yield ""
    ham = [*(one for one in found.sources if not one.spam), found.ham]
    yield from _table(("source", "n", *_over(found), "median score", "1-ROCA %"), map(_ham_row, ham))
    yield ""
    yield "### Spam: how much is caught"
    yield ""
    spam = [*(one for one in found.sources if one.spam), found.spam]
    at = [f"at {share * 100:g} % FPR" for share in FPRS]
    yield from _table(("source", "n", *_over(found), "median score", "1-ROCA %", *at), map(_spam_row, spam))
    if found.families:
        yield ""
        yield "### Families"
        yield ""
        yield from _table(("family", "n", *_over(found), "median score", "1-ROCA %"), map(_ham_row, found.families))
    yield ""
    yield "Shares with their count and exact 95 % intervals (Clopper–Pearson); 1-ROCA with DeLong's."
    if not math.isnan(found.cpu_median) and found.cpu_median:
        yield f"CPU: median {found.cpu_median * 1000:.2f} ms a message, p99 {found.cpu_p99 * 1000:.1f} ms."
    if found.problems:
        yield ""
        yield f"{len(found.problems)} could not be judged and count nowhere, such as {_mail(found.problems[0])}"
    yield from _mistakes("False positives, the worst first", found.false_positives)
    yield from _mistakes("False negatives, the worst first", found.false_negatives)
    yield ""
    yield f"### Symbols, those that tell most apart first ({min(len(found.symbols), SYMBOLS_SHOWN)} of {len(found.symbols)})"
    yield ""
    yield from _table(
        ("symbol", "check", "points", "in ham", "in spam"), map(_symbol_row, found.symbols[:SYMBOLS_SHOWN])
    )


def online_markdown(run: OnlineRun) -> Iterator[str]:
    """The course of learning, block by block, and both runs as a whole."""
    yield "## Learning from feedback"
    yield ""
    yield f"Told of {run.told:,} of {run.static.ham.n + run.static.spam.n:,} mails. In each cell: without learning → with."
    yield ""
    actions = [threshold.action for threshold in run.static.thresholds]
    heads = [f"{word} {action}" for action in actions for word in ("ham ≥", "spam <")]
    yield from _table(("mails", "ham", "spam", *heads, "1-ROCA %"), map(_block_row, run.blocks))
    yield ""
    for engine in (run.static, run.learned):
        yield from markdown(engine)
        yield ""


def _block_row(block: Block) -> list[str]:
    static, learned = block.static, block.learned
    cells = [f"{block.first}–{block.first + static.ham.n + static.spam.n - 1}", str(static.ham.n), str(static.spam.n)]
    for threshold in static.thresholds:
        action = threshold.action
        cells.append(f"{_short(static.ham.reached[action])} → {_short(learned.ham.reached[action])}")
        cells.append(
            f"{_short(_missed(static.spam.reached[action]))} → {_short(_missed(learned.spam.reached[action]))}"
        )
    return [*cells, f"{_percent(static.spam.roca)} → {_percent(learned.spam.roca)}"]


def _missed(rate: Rate) -> Rate:
    return Rate(rate.n - rate.count, rate.n)


def _over(found: Evaluation) -> list[str]:
    return [f"{threshold.action} ({threshold.score:g})" for threshold in found.thresholds]


def _ham_row(one: Figures) -> list[str]:
    return [
        _code(one.name),
        f"{one.n:,}",
        *(_rate(rate) for rate in one.reached.values()),
        "" if math.isnan(one.median) else f"{one.median:.1f}",
        _roca(one),
    ]


def _spam_row(one: Figures) -> list[str]:
    return [*_ham_row(one), *([_rate(rate) for rate in one.caught] or [""] * len(FPRS))]


def _symbol_row(use: SymbolUse) -> list[str]:
    return [f"`{use.name}`", use.check, f"{use.points:+.2f}", _short(use.ham), _short(use.spam)]


def _mistakes(title: str, mails: Sequence[ScannedMail]) -> Iterator[str]:
    if not mails:
        return
    yield ""
    yield f"### {title}"
    yield ""
    for one in mails:
        why = f" ({one.reason})" if one.reason else ""
        yield f"- {one.score:.1f} {one.action}{why} {_mail(one)}"
        weighty = sorted(one.symbols, key=lambda symbol: -abs(symbol.points))[:SYMBOLS_OF_ONE]
        for symbol in weighty:
            seen = f": {safe(', '.join(symbol.evidence), limit=100)}" if symbol.evidence else ""
            yield f"    - {symbol.points:+.2f} {symbol.name}{seen}"


def _mail(one: ScannedMail) -> str:
    path = safe(os.fsencode(one.mail.path).decode("utf-8", "backslashreplace"))
    return f"`{path}`" + (f": {safe(one.problem, limit=200)}" if one.problem else "")


def _rate(rate: Rate) -> str:
    if not rate.n:
        return ""
    low, high = rate.interval
    return f"{_percent(rate.share)} % ({rate.count:,}; {_percent(low)}–{_percent(high)})"


def _short(rate: Rate) -> str:
    return f"{_percent(rate.share)} %" if rate.n else ""


def _roca(one: Figures) -> str:
    if math.isnan(one.roca):
        return ""
    low, high = one.roca_interval
    return f"{_percent(one.roca, 3)} ({_percent(low, 3)}–{_percent(high, 3)})"


def _percent(share: float, places: int = 2) -> str:
    return "" if math.isnan(share) else f"{share * 100:.{places}f}"


def _code(text: str) -> str:
    return safe(text).replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def as_json(found: Evaluation) -> dict[str, object]:
    """The same as a value for JSON; what is not known is null."""
    return {
        "engine": found.engine,
        "thresholds": {threshold.action: threshold.score for threshold in found.thresholds},
        "ham": _figures_json(found.ham),
        "spam": _figures_json(found.spam),
        "sources": [_figures_json(one) for one in found.sources],
        "families": [_figures_json(one) for one in found.families],
        "symbols": [
            {
                "name": use.name,
                "check": use.check,
                "points": round(use.points, 4),
                "ham": _rate_json(use.ham),
                "spam": _rate_json(use.spam),
            }
            for use in found.symbols
        ],
        "false_positives": [_mail_json(one) for one in found.false_positives],
        "false_negatives": [_mail_json(one) for one in found.false_negatives],
        "cpu_ms": {"median": _number(found.cpu_median * 1000), "p99": _number(found.cpu_p99 * 1000)},
        "problems": [{"path": os.fspath(one.mail.path), "problem": one.problem} for one in found.problems],
    }


def online_json(run: OnlineRun) -> dict[str, object]:
    """The same of a run with feedback."""
    return {
        "told": run.told,
        "static": as_json(run.static),
        "learned": as_json(run.learned),
        "blocks": [
            {
                "first": block.first,
                **{
                    name: {"ham": _figures_json(side.ham), "spam": _figures_json(side.spam)}
                    for name, side in (("static", block.static), ("learned", block.learned))
                },
            }
            for block in run.blocks
        ],
    }


def _figures_json(one: Figures) -> dict[str, object]:
    return {
        "name": one.name,
        "label": "spam" if one.spam else "ham",
        "n": one.n,
        "reached": {action: _rate_json(rate) for action, rate in one.reached.items()},
        "median_score": _number(one.median),
        "roca_percent": _number(one.roca * 100),
        "roca_percent_interval": [_number(end * 100) for end in one.roca_interval],
        "tpr_at_fpr": {f"{share:g}": _rate_json(rate) for share, rate in zip(FPRS, one.caught, strict=False)},
    }


def _rate_json(rate: Rate) -> dict[str, object]:
    low, high = rate.interval
    return {"count": rate.count, "n": rate.n, "share": _number(rate.share), "interval": [_number(low), _number(high)]}


def _mail_json(one: ScannedMail) -> dict[str, object]:
    return {
        "path": os.fspath(one.mail.path),
        "source": one.mail.source,
        "score": one.score,
        "action": one.action,
        "reason": one.reason,
        "symbols": [
            {"name": symbol.name, "points": symbol.points, "evidence": list(symbol.evidence)} for symbol in one.symbols
        ],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) or math.isinf(value) else round(value, 6)


def marks(found: Evaluation) -> list[tuple[str, float, float]]:
    """Where the thresholds are on the curve, by the score alone: (action, share of ham, share of spam)."""
    placed = []
    for threshold in found.thresholds:
        over = [point for point in found.curve if point.threshold >= threshold.score]
        if over:
            placed.append((f"{threshold.action} {threshold.score:g}", over[-1].fpr, over[-1].tpr))
    return placed
