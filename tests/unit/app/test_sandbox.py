"""The sandbox as the relay builds it: from its settings, with log and metrics told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from mailguard.app.sandbox import build_sandbox
from mailguard.config import Settings, load_settings
from mailguard.core.errors import ConfigError
from mailguard.ops.metrics import Metrics
from mailguard.sandbox.values import Outcome, Protection
from tests.unit.checks.qr_mails import LINK, code, saved


@pytest.fixture(autouse=True)
def log_as_at_first() -> None:
    """Another test of this process may have configured it to show errors alone."""
    structlog.reset_defaults()


def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sandbox: str) -> Settings:
    (tmp_path / "mailguard.toml").write_text("")
    for name, value in sandbox.items():
        monkeypatch.setenv(f"MAILGUARD_SANDBOX__{name.upper()}", value)
    return load_settings(tmp_path / "mailguard.toml")


async def test_jobs_processes_and_protections_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics(CollectorRegistry())

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"mailguard_sandbox_{name}", labels)

    with capture_logs() as logged:
        pool = build_sandbox(settings(tmp_path, monkeypatch, time="60", cpu="30", memory="67108864"), metrics)
        good = await pool.run("codes.picture", saved(code(LINK)), {"pixels": 10**6})
        assert value("processes") == 1
        bomb = await pool.run("codes.drawing", bytes(500 * 500), {"width": 500, "across": 16, "down": 16})
        await pool.close()
    assert good.outcome is Outcome.OK
    assert bomb.outcome is Outcome.MEMORY
    assert value("processes") == 0
    assert value("jobs_total", function="codes.picture", result="ok") == 1
    assert value("jobs_total", function="codes.drawing", result="memory") == 1
    assert value("job_duration_seconds_count", function="codes.drawing") == 1
    assert value("processes_started_total", protection="limits") == 1
    events = [line["event"] for line in logged]
    assert events == ["sandbox_protected", "sandbox_job_not_done"]
    said = {*logged[0]["by"], *logged[0]["without"]}
    assert said == {one.value for one in Protection}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_that_is_not_there_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"sandbox\.user: there is no user 'nobody-at-all'"):
        build_sandbox(settings(tmp_path, monkeypatch, user="nobody-at-all"), None)
