"""How another filter's report becomes one symbol of ours."""

from __future__ import annotations

import asyncio

import pytest

from mailguard.checks.base import CheckContext
from mailguard.checks.engines import EVIDENCE_LIMIT, EngineCheck, ScoreMapping
from mailguard.core.verdict import CheckStatus
from mailguard.net.engine import EngineReport, EngineSymbol
from tests.unit.checks.contexts import context

MAPPING = ScoreMapping(scale=0.4, limit=6.0, credit=1.0)


def check(report: EngineReport, **more: int) -> EngineCheck:
    async def ask(given: CheckContext) -> EngineReport:
        return report

    return EngineCheck("rspamd", ask, mapping=MAPPING, max_size=more.pop("max_size", 1000), **more)


@pytest.mark.parametrize(("theirs", "ours"), [(0, 0), (5, 2), (15, 6), (1e6, 6), (-2, -0.8), (-50, -1)])
def test_points_are_scaled_and_capped(theirs: float, ours: float) -> None:
    assert MAPPING.points(theirs) == ours


async def test_their_symbols_are_the_evidence_the_gravest_first() -> None:
    symbols = tuple(EngineSymbol(f"S{i}", float(i), "seen" if i == 19 else "") for i in range(20))
    result = await check(EngineReport(7.5, 15, symbols)).run(context(), {})
    (symbol,) = result.symbols
    assert (symbol.name, symbol.score, len(symbol.evidence)) == ("RSPAMD_SCORE", 3.0, EVIDENCE_LIMIT)
    assert symbol.evidence[:2] == ("S19 19 (seen)", "S18 18")
    assert "7.5" in symbol.description


async def test_large_mail_is_not_handed_over() -> None:
    result = await check(EngineReport(7.5, 15), max_size=10).run(context(), {})
    assert (result.status, result.symbols) == (CheckStatus.SKIPPED, ())


async def test_few_at_a_time() -> None:
    running = most = 0

    async def ask(given: CheckContext) -> EngineReport:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return EngineReport(0, 15)

    limited = EngineCheck("spamd", ask, mapping=MAPPING, max_size=1000, concurrency=2)
    await asyncio.gather(*(limited.run(context(), {}) for _ in range(10)))
    assert most == 2
