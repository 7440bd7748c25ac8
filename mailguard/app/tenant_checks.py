"""The checks that look with a tenant's eyes: what it was taught, whom it knows, how senders stand with it. They ask the database."""

from __future__ import annotations

from mailguard.app.learning import learned_check
from mailguard.checks.base import TenantCheck
from mailguard.checks.history import HistoryCheck
from mailguard.checks.reputation import ReputationCheck
from mailguard.config import Settings
from mailguard.core.clock import Clock
from mailguard.store.db import Database
from mailguard.store.history import History
from mailguard.store.reputation import Reputations


def tenant_checks(
    settings: Settings,
    db: Database | None,
    *,
    clock: Clock,
    history: History | None = None,
    reputations: Reputations | None = None,
) -> list[TenantCheck]:
    """Those that the settings enable. `history` and `reputations` are what the process has of them already.

    Without a database nothing was taught and nobody is a correspondent; a tenant's VIPs and own names come with the tenant.
    """
    if db is None:
        return [HistoryCheck(None, clock=clock)] if settings.history.enabled else []
    checks: list[TenantCheck] = []
    if settings.learning.enabled:
        checks.append(learned_check(db, clock))
    if settings.history.enabled:
        checks.append(HistoryCheck(history or History(db, days=settings.history.days), clock=clock))
    if settings.reputation.enabled:
        checks.append(ReputationCheck(reputations or Reputations(db), clock=clock))
    return checks
