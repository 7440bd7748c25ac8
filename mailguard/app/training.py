"""Training as one piece of work: scan the collections, train the classifier, fit the points, and write all three kinds of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from mailguard.app.corpus import CorpusScanner
from mailguard.checks.model import Model, quantised
from mailguard.checks.rules_file import load_rules
from mailguard.learning.envelopes import read_envelopes
from mailguard.learning.scanning import CorpusMail, find_mails, scan_corpus
from mailguard.learning.sources import Source, find_sources, mended
from mailguard.learning.written import written

if TYPE_CHECKING:
    from mailguard.config import Settings
    from mailguard.learning.fit import Fitted
    from mailguard.learning.table import Table

MOST_MAILS = 3_000
"""Mails that are read of one source, spread over it evenly."""
POINTS_HEADER = """\
# Points of checks' symbols in place of those that their code suggests: fitted with the classifier by `make fit`.
# A profile's `symbols` may set others. Symbols of rules have their points in policies/rules.
"""
_NAME = re.compile(r"^ *(?:- )?name: *([A-Z0-9_]+) *$")
_SCORE = re.compile(r"^( +)score: *(-?[0-9.]+) *$")


@dataclass(frozen=True)
class Outcome:
    """What training came to. `scores` are of rows of `table`, by a classifier and points that never saw the row's family."""

    model: Model
    fitted: Fitted
    table: Table


def run(folder: Path, settings: Settings, *, jobs: int, on_progress: Callable[[str], None]) -> Outcome:
    """Train and fit on the collections below `folder`. Raises ConfigError when there is none."""
    from mailguard.learning.fit import fit
    from mailguard.learning.table import FEWEST, LENGTHS
    from mailguard.learning.train import across, alone_of, train

    with TemporaryDirectory(prefix="mailguard-train-") as work:
        sources = (*find_sources(folder), *written(Path(work) / "own"))
        table = _scan(sources, settings, Path(work), jobs=jobs, on_progress=on_progress)
    table = replace(table, priors=_priors(table, settings))
    trained = train(table, np.flatnonzero(table.learnable))
    on_progress("trained on all")
    logits = across(table, trained, on_progress)
    fitted = fit(table, logits, across(table, trained, on_progress, folds=alone_of(table)), on_progress)
    weights, scales = quantised(trained.weights)
    counts = {
        source.name: int(((table.row_source == at) & ~table.row_blank).sum())
        for at, source in enumerate(sources)
        if source.learn
    }
    about = {"trained": datetime.now(UTC).date().isoformat(), "sources": counts}
    model = Model(weights, scales, LENGTHS, trained.bias, fitted.calibration, about, FEWEST)
    return Outcome(model, fitted, table)


def _scan(
    sources: tuple[Source, ...], settings: Settings, work: Path, *, jobs: int, on_progress: Callable[[str], None]
) -> Table:
    from mailguard.learning.table import TableBuilder

    builder = TableBuilder(sources)
    scanner = CorpusScanner(settings, features=True, fitted=False)
    for number, source in enumerate(sources):
        for mails, blank in _ways(mended(source, work) if source.defanged else source):
            for scanned in scan_corpus(mails, scanner, jobs=jobs):
                builder.add(number, scanned, blank=blank)
        on_progress(f"read {source.name}")
    return builder.build()


def _ways(source: Source) -> Iterator[tuple[list[CorpusMail], bool]]:
    """A source's mails, and once more without authentication those of which it is recorded."""
    recorded = source.path.parent / "envelope.jsonl"
    envelopes = read_envelopes([recorded]) if recorded.exists() else None
    mails = find_mails([source.path], spam=source.spam, envelopes=envelopes)
    if len(mails) > MOST_MAILS:
        mails = [mails[at * len(mails) // MOST_MAILS] for at in range(MOST_MAILS)]
    yield mails, False
    with_envelope = [replace(mail, recorded=None) for mail in mails if mail.recorded is not None]
    if with_envelope:
        yield with_envelope, True


def _priors(table: Table, settings: Settings) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The points to begin with: of rules those that were set by hand."""
    by_hand = {
        rule.name: rule.score if rule.prior is None else rule.prior
        for rule in load_rules(settings.policies.path / "rules").rules
    }
    return np.array([by_hand.get(name, prior) for name, prior in zip(table.names, table.priors, strict=True)])


def write_points(path: Path, points: Mapping[str, float]) -> None:
    """Points of checks' symbols, a line each, in the order of their names."""
    lines = "".join(f"{name}: {value:g}\n" for name, value in sorted(points.items()))
    path.write_text(POINTS_HEADER + (lines or "{}\n"), encoding="utf-8")


def write_rules(path: Path, points: Mapping[str, float]) -> set[str]:
    """Put fitted points into the rules of a file, all else as it is; what was set by hand stays as `prior`. Returns their names."""
    name, out, changed = "", [], set()
    lines = path.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        if found := _NAME.match(line):
            name = found[1]
        score = _SCORE.match(line)
        if score and name in points:
            changed.add(name)
            out.append(f"{score[1]}score: {points[name]:g}")
            if not (at + 1 < len(lines) and lines[at + 1].lstrip().startswith("prior:")):
                out.append(f"{score[1]}prior: {score[2]}")
        else:
            out.append(line)
    path.write_text("\n".join(out) + "\n", encoding="utf-8")
    return changed
