"""A month that service levels are measured of, its rules, and probes in it."""

from __future__ import annotations

from datetime import UTC

from mailguard.billing import months
from mailguard.billing.sla import SlaRules
from mailguard.core.clock import MINUTE
from mailguard.store.probes import ProbeResult

NOVEMBER = months.month("2026-11", zone=UTC)
RULES = SlaRules(UTC, probe_minutes=5, notice_hours=24, maintenance_hours=8)
SLOT = 5 * MINUTE


def probe(minute: float, *, up: bool = True, place: str = "here") -> ProbeResult:
    return ProbeResult(2, NOVEMBER.start + round(minute * MINUTE), place, up)


EACH = [probe(minute) for minute in range(0, 60, 5)]
