"""Scanned mails made up for tests."""

from __future__ import annotations

from pathlib import Path

from mailguard.core.decision import Action
from mailguard.core.verdict import Classification, ScoredSymbol
from mailguard.learning.evaluate import decided_anew
from mailguard.learning.scanning import CorpusMail, ScannedMail
from mailguard.policy.profile import Policy

THRESHOLDS = Policy().thresholds


def scanned(
    score: float,
    *,
    spam: bool,
    name: str = "x.eml",
    source: str = "set",
    symbols: tuple[ScoredSymbol, ...] = (),
    action: Action | None = None,
    features: bytes = b"",
    date: int = 0,
    problem: str = "",
) -> ScannedMail:
    """A mail in `source`/`name` as the thresholds decide of it, or for `action` for another reason."""
    mail = CorpusMail(Path(source, name), spam, source)
    known = Classification(score, "test", features) if features else None
    if action is not None:
        return ScannedMail(
            mail, score, action, "forbidden_attachment", symbols=symbols, classification=known, date=date
        )
    one = ScannedMail(mail, 0.0, symbols=symbols, classification=known, date=date, problem=problem, cpu=0.001)
    return decided_anew(one, score, THRESHOLDS)
