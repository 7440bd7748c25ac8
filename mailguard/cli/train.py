"""`mailguard train`: makes the classifier's model and the points of all symbols anew from collections of labelled mail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailguard.cli.context import cli_of
from mailguard.cli.terminal import complain, say
from mailguard.core.errors import ConfigError, Problem


def train(
    context: typer.Context,
    *,
    corpora: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the unpacked collections lie.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where the model and the points go. Default: into the package."),
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules/--no-rules", help="Write the rules' points into policies/rules.")
    ] = True,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Where to write how each source is told apart.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Processes that read mail.")] = 2,
) -> None:
    """Train the classifier and fit the points of all symbols. Each source is judged by what never saw it.

    Needs scikit-learn (pip install 'mailguard[train]').
    """
    cli = cli_of(context)
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ConfigError([Problem("train", "needs scikit-learn: pip install 'mailguard[train]'")]) from None
    from mailguard.app import training
    from mailguard.checks import points
    from mailguard.checks.model import SHIPPED
    from mailguard.learning.report_across import report as across

    place = out or Path(points.__file__).parent / "data"
    if not place.is_dir():
        raise ConfigError([Problem("--out", f"{place} is no folder")])
    outcome = training.run(corpora, cli.settings, jobs=jobs, on_progress=complain)
    fitted = dict(outcome.fitted.points)
    of_rules = {
        name
        for name, check in zip(outcome.table.names, outcome.table.checks, strict=True)
        if check == "rules" and name in fitted
    }
    (place / SHIPPED).write_bytes(outcome.model.to_bytes())
    training.write_points(place / points.FILE, {name: value for name, value in fitted.items() if name not in of_rules})
    if rules:
        for file in sorted((cli.settings.policies.path / "rules").glob("*.yaml")):
            training.write_rules(file, {name: fitted[name] for name in of_rules})
    if report:
        report.write_text(across(outcome.table, outcome.fitted), encoding="utf-8")
    say(f"model {outcome.model.name}, {len(fitted)} symbols; written to {place}")
