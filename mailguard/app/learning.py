"""What people teach, joined with what judges mail: the check that recalls it."""

from __future__ import annotations

from mailguard.core.clock import Clock
from mailguard.learning.recall import LearnedCheck, Memories
from mailguard.learning.scale import Scale
from mailguard.store.db import Database


def learned_check(db: Database, clock: Clock) -> LearnedCheck:
    """The check "learned" of one process."""
    return LearnedCheck(Memories(db), scale=Scale(), clock=clock)
