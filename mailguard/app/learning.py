"""What people teach, joined with what judges mail: the check that recalls it, and what takes reports."""

from __future__ import annotations

from collections.abc import Callable

from mailguard.config import Settings
from mailguard.core.clock import Clock
from mailguard.core.tenant import Directory
from mailguard.learning.recall import LearnedCheck, Memories
from mailguard.learning.scale import Scale
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.pipeline.feedback import Feedback
from mailguard.pipeline.judge import Judge
from mailguard.store.db import Database


def scale() -> Scale:
    """Where spam begins, and how far what was learned may move a score."""
    return Scale()


def learned_check(db: Database, clock: Clock) -> LearnedCheck:
    """The check "learned" of one process."""
    return LearnedCheck(Memories(db), scale=scale(), clock=clock)


def feedback_of(
    settings: Settings,
    *,
    judge: Judge,
    db: Database,
    directory: Callable[[], Directory],
    log: MailLog,
    metrics: Metrics,
) -> Feedback:
    """What takes the mail that users report."""
    return Feedback(
        judge=judge,
        db=db,
        directory=directory,
        scale=scale(),
        spam_address=settings.learning.spam_address,
        ham_address=settings.learning.ham_address,
        log=log,
        metrics=metrics,
    )
