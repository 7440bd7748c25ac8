"""How well mail is told apart: rates and curves by source, what it was decided by, and what went most wrong. Pure.

`online` has the other half: how much better it gets while it is told of its mistakes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mailguard.core.decision import Action
from mailguard.learning.scanning import CorpusMail, ScannedMail
from mailguard.learning.statistics import (
    Rate,
    RocPoint,
    area_above,
    area_above_interval,
    median,
    quantile,
    roc,
    tpr_at,
)
from mailguard.policy.conditions import STRICTNESS
from mailguard.policy.profile import Threshold

FPRS = (0.001, 0.01)
"""Shares of ham called spam at which it is told how much spam is caught."""
LABEL_FOLDERS = frozenset({"ham", "spam", "phish", "phishing"})
"""Names of folders that say what is in them, not where it is from."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How the mail of one source, family or class fared.

    `reached` is how much of it was treated at least as strictly as each action of the thresholds says, for whatever reason.
    `roca` is 1 − the area under the ROC curve of it against all mail of the other class, with its 95 % interval; `caught`
    how much of it is over the scores at which FPRS of all ham are; both are missing where there is nothing to compare with.
    """

    name: str
    spam: bool
    n: int
    reached: Mapping[Action, Rate]
    median: float
    roca: float = math.nan
    roca_interval: tuple[float, float] = (math.nan, math.nan)
    caught: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True)
class SymbolUse:
    """How often a symbol was seen, and what it weighs: the mean of its points where it was."""

    name: str
    check: str
    points: float
    ham: Rate
    spam: Rate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that is to be told of one run. `engine` names what judged."""

    engine: str
    thresholds: tuple[Threshold, ...]
    ham: Figures
    spam: Figures
    sources: tuple[Figures, ...]
    families: tuple[Figures, ...]
    """Named `source: family`, of sources that hold several."""
    curve: tuple[RocPoint, ...]
    symbols: tuple[SymbolUse, ...]
    false_positives: tuple[ScannedMail, ...]
    """Ham that was treated more strictly than delivery, the worst first."""
    false_negatives: tuple[ScannedMail, ...]
    """Spam that was delivered, the worst first."""
    cpu_median: float
    cpu_p99: float
    """In seconds."""
    problems: tuple[ScannedMail, ...]
    """What could not be judged; it counts nowhere."""


def evaluate(
    scanned: Sequence[ScannedMail], *, thresholds: Sequence[Threshold], engine: str = "mailguard", worst: int = 10
) -> Evaluation:
    """The figures of what was scanned; `worst` false positives and negatives are named."""
    thresholds = tuple(sorted(thresholds, key=lambda threshold: threshold.score))
    judged = [one for one in scanned if not one.problem]
    hams, spams = _by_class(judged)
    measure = _Measure(thresholds, hams, spams)
    both = bool(hams and spams)
    return Evaluation(
        engine=engine,
        thresholds=thresholds,
        ham=measure.figures("all ham", hams, spam=False),
        spam=measure.figures("all spam", spams, spam=True),
        sources=tuple(measure.grouped(judged, lambda mail: mail.source)),
        families=tuple(_families(measure, judged)),
        curve=tuple(roc(_scores(hams), _scores(spams))) if both else (),
        symbols=tuple(_symbols(hams, spams)),
        false_positives=_worst(hams, wrong=lambda one: one.action is not Action.DELIVER, sign=-1)[:worst],
        false_negatives=_worst(spams, wrong=lambda one: one.action is Action.DELIVER, sign=1)[:worst],
        cpu_median=median([one.cpu for one in judged]),
        cpu_p99=quantile([one.cpu for one in judged], 0.99),
        problems=tuple(one for one in scanned if one.problem),
    )


def family_of(mail: CorpusMail) -> str:
    """The folders between its source and it, without those that only say `ham` or `spam`; empty when there is none."""
    try:
        parts = mail.path.relative_to(mail.source).parent.parts
    except ValueError:
        return ""
    return "/".join([part for part in parts if part.lower() not in LABEL_FOLDERS] or parts)


def decided_anew(one: ScannedMail, score: float, thresholds: Iterable[Threshold]) -> ScannedMail:
    """The same mail with another score: what the thresholds then say, unless something stricter than a score decided."""
    action = Action.DELIVER if one.reason in ("spam_score", "clean", "") else one.action
    for threshold in thresholds:
        if score >= threshold.score and STRICTNESS[threshold.action] > STRICTNESS[action]:
            action = threshold.action
    return replace(one, score=score, action=action)


class _Measure:
    """Measures groups of mail against all of both classes."""

    def __init__(
        self, thresholds: Sequence[Threshold], hams: Sequence[ScannedMail], spams: Sequence[ScannedMail]
    ) -> None:
        self._actions = tuple(dict.fromkeys(threshold.action for threshold in thresholds))
        self._hams, self._spams = _scores(hams), _scores(spams)
        self._limits: tuple[float, ...] = ()
        if hams and spams:
            curve = roc(self._hams, self._spams)
            self._limits = tuple(tpr_at(curve, fpr).threshold for fpr in FPRS)

    def figures(self, name: str, mails: Sequence[ScannedMail], *, spam: bool) -> Figures:
        scores = _scores(mails)
        reached = {action: Rate(sum(_reaches(one, action) for one in mails), len(mails)) for action in self._actions}
        found = Figures(name, spam, len(mails), reached, median(scores))
        ham_side, spam_side = (self._hams, scores) if spam else (scores, self._spams)
        if not ham_side or not spam_side:
            return found
        return replace(
            found,
            roca=area_above(ham_side, spam_side),
            roca_interval=area_above_interval(ham_side, spam_side),
            caught=tuple(Rate(sum(score >= limit for score in scores), len(scores)) for limit in self._limits),
        )

    def grouped(self, mails: Iterable[ScannedMail], name: Callable[[CorpusMail], str]) -> list[Figures]:
        groups: dict[tuple[bool, str], list[ScannedMail]] = defaultdict(list)
        for one in mails:
            groups[one.mail.spam, name(one.mail)].append(one)
        return [self.figures(group, members, spam=spam) for (spam, group), members in groups.items()]


def _families(measure: _Measure, judged: Sequence[ScannedMail]) -> list[Figures]:
    families: dict[tuple[bool, str], set[str]] = defaultdict(set)
    for one in judged:
        families[one.mail.spam, one.mail.source].add(family_of(one.mail))
    several = [one for one in judged if len(families[one.mail.spam, one.mail.source]) > 1]
    return measure.grouped(several, lambda mail: f"{mail.source}: {family_of(mail) or '(top)'}")


def _reaches(one: ScannedMail, action: Action) -> bool:
    return STRICTNESS[one.action] >= STRICTNESS[action]


def _by_class(judged: Iterable[ScannedMail]) -> tuple[list[ScannedMail], list[ScannedMail]]:
    hams: list[ScannedMail] = []
    spams: list[ScannedMail] = []
    for one in judged:
        (spams if one.mail.spam else hams).append(one)
    return hams, spams


def _scores(mails: Iterable[ScannedMail]) -> list[float]:
    return [one.score for one in mails]


def _worst(mails: Iterable[ScannedMail], *, wrong: Callable[[ScannedMail], bool], sign: int) -> tuple[ScannedMail, ...]:
    return tuple(sorted(filter(wrong, mails), key=lambda one: (sign * STRICTNESS[one.action], sign * one.score)))


def _symbols(hams: Sequence[ScannedMail], spams: Sequence[ScannedMail]) -> list[SymbolUse]:
    """The symbols that tell most apart first: by how far their shares of ham and spam are from each other."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    points: dict[str, list[float]] = defaultdict(list)
    checks: dict[str, str] = {}
    for side, mails in enumerate((hams, spams)):
        for one in mails:
            for symbol in one.symbols:
                counts[symbol.name][side] += 1
                points[symbol.name].append(symbol.points)
                checks[symbol.name] = symbol.check
    found = [
        SymbolUse(
            name,
            checks[name],
            math.fsum(points[name]) / len(points[name]),
            Rate(of_ham, len(hams)),
            Rate(of_spam, len(spams)),
        )
        for name, (of_ham, of_spam) in counts.items()
    ]
    return sorted(found, key=lambda use: (-abs(_share(use.spam) - _share(use.ham)), use.name))


def _share(rate: Rate) -> float:
    return rate.share if rate.n else 0.0
