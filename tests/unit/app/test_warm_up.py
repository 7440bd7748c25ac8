"""Warming up: it judges to the end with the checks that need nobody else, and leaves nothing that a fork must not take along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from mailguard.app.filter import FilterFiles
from mailguard.app.warm_up import WARMED, warm_up
from mailguard.checks.runner import Runner
from mailguard.config import load_settings
from mailguard.config.settings import CHECKS
from mailguard.core.verdict import CheckStatus, Findings

ROOT = Path(__file__).parents[3]


def held() -> Mapping[str, object]:
    return {
        "descriptors": {link.name for link in Path("/proc/self/fd").iterdir() if link.exists()},
        "threads": threading.active_count(),
        "tasks": len(list(Path("/proc/self/task").iterdir())),
    }


def test_two_mails_are_judged_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Findings] = []
    run = Runner.run

    async def noted(self: Runner, context: object) -> Findings:
        judged.append(await run(self, context))  # type: ignore[arg-type]
        return judged[-1]

    monkeypatch.setattr(Runner, "run", noted)
    environ = {"MAILGUARD_POLICIES__PATH": str(ROOT / "policies"), "MAILGUARD_STORAGE__PATH": str(tmp_path)}
    settings = load_settings(None, environ, search=())
    files = FilterFiles(settings)
    before = held()
    warm_up(settings, files)
    assert held() == before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert len(judged) == 2
    for findings in judged:
        assert {result.check for result in findings.results} == WARMED & set(settings.checks.enabled)
        assert not [result for result in findings.results if result.status is CheckStatus.TEMPERROR]
    symbols = {symbol.name for findings in judged for result in findings.results for symbol in result.symbols}
    assert {"SPF_PASS", "DKIM_INVALID"} <= symbols, symbols


def test_what_is_warmed_is_a_check() -> None:
    assert set(CHECKS) >= WARMED
