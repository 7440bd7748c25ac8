"""`mailguard evaluate`: how well labelled mail is told apart, by the same judge as at the door, and beside other filters."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, cli_of
from mailguard.cli.terminal import complain, print_json, say
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from mailguard.learning.evaluate import Evaluation
    from mailguard.learning.leaks import LeakyFields
    from mailguard.learning.online import Feedback, OnlineRun
    from mailguard.learning.scanning import CorpusMail, OpenScanner, ScannedMail
    from mailguard.policy.profile import Policy, Threshold

DEFAULT_RUN_MAILS = 1000


class Engine(StrEnum):
    """Filters that can be compared with."""

    RSPAMD = "rspamd"
    SPAMD = "spamd"


@dataclass(frozen=True, slots=True)
class Told:
    """All that a run has to tell."""

    intro: tuple[str, ...]
    runs: tuple[Evaluation, ...]
    online: OnlineRun | None
    scanned: tuple[ScannedMail, ...]


def evaluate(
    context: typer.Context,
    *,
    ham: Annotated[
        list[Path] | None, typer.Option("--ham", metavar="DIR...", help="Folders of legitimate mail.")
    ] = None,
    spam: Annotated[list[Path] | None, typer.Option("--spam", metavar="DIR...", help="Folders of spam.")] = None,
    envelope: Annotated[
        list[Path] | None,
        typer.Option("--envelope", metavar="FILE...", help="What mail came with, as for `mailguard scan --envelope`."),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Leave recorded envelopes and authentication out.")
    ] = False,
    dmarc_pass_only: Annotated[
        bool, typer.Option("--dmarc-pass-only", help="Count only spam of which it is recorded that it passed DMARC.")
    ] = False,
    keep_leaks: Annotated[
        bool, typer.Option("--keep-leaks", help="Keep header fields that tell the answer; by default they are dropped.")
    ] = False,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="FIELD...", help="Keep these of them, such as 'List-*'.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="FIELD...", help="Drop these fields too, such as Received.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="PROFILE", help="Profile to decide by. Default: default.")
    ] = None,
    baseline: Annotated[
        list[Engine] | None, typer.Option("--baseline", help="Have this filter judge the same mail for a comparison.")
    ] = None,
    rspamd_address: Annotated[
        str, typer.Option("--rspamd-address", metavar="HOST:PORT", help="Where rspamd's normal worker listens.")
    ] = "127.0.0.1:11333",
    spamd_address: Annotated[
        str, typer.Option("--spamd-address", metavar="HOST:PORT", help="Where spamd listens.")
    ] = "127.0.0.1:783",
    online: Annotated[
        bool, typer.Option("--online", help="Judge the mail by date, and learn from feedback (TREC's protocol).")
    ] = False,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="FILE", help="With --online: lines `spam|ham PATH`, in this order, as TREC's."),
    ] = None,
    feedback_share: Annotated[
        float, typer.Option("--feedback-share", min=0, max=1, help="With --online: of how much mail it is told.")
    ] = 1.0,
    feedback_delay: Annotated[
        str,
        typer.Option("--feedback-delay", metavar="N", help="With --online: how many mails later, or after `1d`, `6h`."),
    ] = "0",
    only_mistakes: Annotated[
        bool, typer.Option("--only-mistakes", help="With --online: it is told only of what it got wrong.")
    ] = False,
    block: Annotated[
        int, typer.Option("--block", min=1, help="With --online: mails for each line of the course.")
    ] = DEFAULT_RUN_MAILS,
    seed: Annotated[int, typer.Option("--seed", help="With --online: which mail it is told of.")] = 1,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Only so many mails of each folder, evenly chosen; 0: all.")
    ] = 0,
    worst: Annotated[int, typer.Option("--worst", min=0, help="Mistakes to show of each kind.")] = 10,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Processes that scan.")] = 2,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw the ROC curves there.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write report.md, report.json, scores.tsv and roc.svg there."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how well mail is told apart: error rates at the policy's thresholds, ROC, symbols, the worst mistakes.

    Nothing is sent, recorded or looked up. Fields that tell the answer are dropped first, as docs/evaluate.md says.
    """
    from mailguard.cli.scan import profile_of

    cli = cli_of(context)
    profile = _policy(cli, profile_of(cli, policy) or "default")
    leaks = _leaks(keep_leaks, keep or (), drop or ())
    feedback = _feedback(online, feedback_share, feedback_delay, only_mistakes, seed)
    _check_online(online, index, ham, spam)
    mails = _mails(ham or (), spam or (), envelope or (), index, sample)
    if dmarc_pass_only:
        mails = _passing_dmarc(mails)
    if no_auth:
        mails = [replace(mail, recorded=None) for mail in mails]
    engines = [
        (engine, {Engine.RSPAMD: rspamd_address, Engine.SPAMD: spamd_address}[engine]) for engine in baseline or ()
    ]
    told = _run(
        cli,
        profile,
        mails,
        leaks,
        engines=engines,
        feedback=feedback,
        in_order=index is not None,
        block=block,
        worst=worst,
        jobs=jobs,
    )
    told = replace(told, intro=_intro(profile, mails, leaks, no_auth=no_auth, dmarc_pass_only=dmarc_pass_only))
    _tell(told, json=json, plot=plot, out=out)


# --- arguments -------------------------------------------------------------------------------------------------------


def _policy(cli: Cli, name: str) -> Policy:
    from mailguard.policy.files import PolicyFiles

    files = PolicyFiles(cli.settings.policies.path)
    files.load()
    return files.find(name)


def _leaks(keep_all: bool, keep: Sequence[str], drop: Sequence[str]) -> LeakyFields | None:
    from mailguard.learning.leaks import ALL_LEAKS, LeakyFields

    if keep_all:
        if keep:
            raise ConfigError([Problem("--keep", "goes without --keep-leaks, which keeps all of them")])
        return LeakyFields(tuple(drop)) if drop else None
    return LeakyFields((*ALL_LEAKS.drop, *drop), tuple(keep))


def _feedback(online: bool, share: float, delay: str, mistakes: bool, seed: int) -> Feedback | None:
    if not online:
        return None
    from mailguard.cli.when import span
    from mailguard.learning.online import Feedback

    if delay.isascii() and delay.isdigit():
        return Feedback(share, int(delay), mistakes=mistakes, seed=seed)
    seconds = span(delay, option="--feedback-delay") // 1000
    return Feedback(share, seconds, in_seconds=True, mistakes=mistakes, seed=seed)


def _check_online(online: bool, index: Path | None, ham: object, spam: object) -> None:
    if index is not None and not online:
        raise ConfigError([Problem("--index", "goes with --online")])
    if index is not None and (ham or spam):
        raise ConfigError([Problem("--index", "names all mail; give no --ham and --spam beside it")])
    if index is None and not (ham or spam):
        raise ConfigError([Problem("--ham", "give folders of legitimate mail by --ham, of spam by --spam, or both")])


def _mails(
    ham: Sequence[Path], spam: Sequence[Path], envelope: Sequence[Path], index: Path | None, sample: int
) -> list[CorpusMail]:
    from mailguard.learning.envelopes import read_envelopes
    from mailguard.learning.online import read_index
    from mailguard.learning.scanning import find_mails

    envelopes = read_envelopes(envelope)
    for note in envelopes.notes:
        complain(f"note: {note}")
    if index is not None:
        return [replace(mail, recorded=envelopes.of(mail.path)) for mail in read_index(index)]
    found = [
        mail
        for folders, is_spam in ((ham, False), (spam, True))
        for folder in folders
        for mail in _sampled(find_mails([folder], spam=is_spam, envelopes=envelopes), sample)
    ]
    if envelope and not any(mail.recorded for mail in found):
        raise ConfigError([Problem("--envelope", "names none of these messages: its paths are relative to its folder")])
    return found


def _sampled(mails: Sequence[CorpusMail], most: int) -> Iterator[CorpusMail]:
    if not most or len(mails) <= most:
        return iter(mails)
    return (mails[number * len(mails) // most] for number in range(most))


def _passing_dmarc(mails: Sequence[CorpusMail]) -> list[CorpusMail]:
    kept = [mail for mail in mails if not mail.spam or (mail.recorded is not None and mail.recorded.passed_dmarc)]
    if not any(mail.spam for mail in kept):
        raise ConfigError([Problem("--dmarc-pass-only", "of no spam is it recorded (--envelope) that it passed DMARC")])
    return kept


# --- work ------------------------------------------------------------------------------------------------------------


def _run(
    cli: Cli,
    policy: Policy,
    mails: Sequence[CorpusMail],
    leaks: LeakyFields | None,
    *,
    engines: Sequence[tuple[Engine, str]],
    feedback: Feedback | None,
    in_order: bool,
    block: int,
    worst: int,
    jobs: int,
) -> Told:
    from mailguard.app.corpus import CorpusScanner
    from mailguard.learning.evaluate import evaluate as measure
    from mailguard.learning.scanning import scan_corpus

    ours = CorpusScanner(cli.settings, policy.name, leaks=leaks, features=feedback is not None)
    scanned = list(scan_corpus(mails, ours, jobs=jobs))
    run = None
    if feedback is not None:
        from mailguard.app.learning import scale
        from mailguard.learning.online import TenantLearner, chronological, run_online

        stream = scanned if in_order else chronological(scanned)
        run = run_online(
            stream, TenantLearner(scale()), thresholds=policy.thresholds, feedback=feedback, block=block, worst=worst
        )
    runs = [measure(scanned, thresholds=policy.thresholds, worst=worst)] if run is None else []
    for engine, address in engines:
        opened, thresholds = _baseline(engine, address, leaks)
        judged = list(scan_corpus(mails, opened, jobs=jobs))
        if all(one.problem for one in judged):
            raise ConfigError([Problem(f"--{engine}-address", judged[0].problem)])
        runs.append(measure(judged, thresholds=thresholds, engine=engine, worst=worst))
    return Told((), tuple(runs), run, tuple(scanned))


def _baseline(engine: Engine, address: str, leaks: LeakyFields | None) -> tuple[OpenScanner, tuple[Threshold, ...]]:
    from mailguard.app.baseline import THRESHOLDS, Baseline, BaselineScanner

    which = Baseline(engine.value)
    return BaselineScanner(which, address, leaks), THRESHOLDS[which]


# --- output ----------------------------------------------------------------------------------------------------------


def _intro(
    policy: Policy, mails: Sequence[CorpusMail], leaks: LeakyFields | None, *, no_auth: bool, dmarc_pass_only: bool
) -> tuple[str, ...]:
    from mailguard import __version__

    recorded = sum(mail.recorded is not None for mail in mails)
    how = (
        "blanked for all mail"
        if no_auth
        else f"as recorded of {recorded:,} of {len(mails):,} mails, of the others none"
        if recorded
        else "none is recorded"
    )
    fields = "all header fields are kept"
    if leaks is not None:
        kept = f", but {', '.join(leaks.keep)} kept" if leaks.keep else ""
        fields = f"header fields that tell the answer are dropped{kept}"
    return (
        "# Accuracy",
        "",
        f"mailguard {__version__}, profile {policy.name} {policy.hash[:12]}. Authentication: {how}; {fields}."
        + (" Of spam, only what passed DMARC counts." if dmarc_pass_only else ""),
        "",
    )


def _tell(told: Told, *, json: bool, plot: Path | None, out: Path | None) -> None:
    from mailguard.cli.evaluate_shown import as_json, markdown, online_json, online_markdown

    lines = list(told.intro)
    if told.online is not None:
        lines += online_markdown(told.online)
    for run in told.runs:
        lines += [*markdown(run), ""]
    value = {
        "about": told.intro[2],
        "runs": [as_json(run) for run in told.runs],
        "online": online_json(told.online) if told.online is not None else None,
    }
    if plot is not None:
        _write(plot, _plot(told))
    if out is not None:
        _write_all(out, told, lines, value)
    if json:
        print_json(value)
    else:
        for line in lines:
            say(line)


def _write_all(out: Path, told: Told, lines: Sequence[str], value: object) -> None:
    from json import dumps

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([Problem("--out", f"{out} cannot be made: {error.strerror}")]) from None
    _write(out / "report.md", "\n".join(lines))
    _write(out / "report.json", dumps(value, indent=2, default=str) + "\n")
    _write(out / "roc.svg", _plot(told))
    rows = [
        "\t".join(
            (
                os.fspath(one.mail.path).translate({9: "\\t", 10: "\\n", 13: "\\r"}),
                one.mail.source,
                "spam" if one.mail.spam else "ham",
                f"{one.score:.3f}",
                one.action,
                " ".join(symbol.name for symbol in one.symbols),
            )
        )
        for one in told.scanned
        if not one.problem
    ]
    _write(out / "scores.tsv", "\n".join(["path\tsource\tlabel\tscore\taction\tsymbols", *rows, ""]))


def _plot(told: Told) -> str:
    from mailguard.cli.evaluate_shown import marks
    from mailguard.learning.roc_plot import Curve, roc_svg

    runs = list(told.runs)
    if told.online is not None:
        runs = [told.online.static, told.online.learned, *runs]
    curves = [Curve(run.engine, run.curve, marks(run)) for run in runs if run.curve]
    return roc_svg(curves, title="Spam caught over ham called spam")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be written: {error.strerror}")]) from None
