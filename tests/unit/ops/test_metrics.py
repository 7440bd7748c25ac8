"""The metrics: names by Prometheus's conventions, bounded labels, and one sum over several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from mailguard.core.decision import Action
from mailguard.core.events import State
from mailguard.core.verdict import CheckStatus
from mailguard.ops.metrics import AttemptPurpose, AttemptResult, ErrorKind, Metrics
from mailguard.ops.metrics_files import MULTIPROCESS_VARIABLE, RESERVED, clear_shared, forget_process

WORKER = """
from prometheus_client import CollectorRegistry
from mailguard.core.events import State
from mailguard.ops.metrics import Metrics
metrics = Metrics(CollectorRegistry())
metrics.smtp_sessions_open.inc()
metrics.moved("acme", State.DELIVERED, 1000)
metrics.message_duration.observe(0.02)
import os; print(os.getpid())
"""


def test_names_follow_the_conventions() -> None:
    for family in Metrics(CollectorRegistry()).families():
        name = family._name
        assert name.startswith("mailguard_")
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_milliseconds"))
        assert family._documentation.endswith(".")
        if isinstance(family, Histogram):
            assert name.endswith(("_seconds", "_bytes")), name
        assert isinstance(family, Counter | Gauge | Histogram)


def test_a_move_counts_the_mail_and_its_bytes() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.moved("acme", State.FORWARDING, 500)
    metrics.moved("acme", State.DELIVERED, 500)
    labels = {"tenant": "acme", "disposition": "delivered"}
    assert metrics.registry.get_sample_value("mailguard_dispositions_total", labels) == 1
    assert metrics.registry.get_sample_value("mailguard_disposition_bytes_total", labels) == 500
    forwarding = {"tenant": "acme", "disposition": "forwarding"}
    assert metrics.registry.get_sample_value("mailguard_dispositions_total", forwarding) is None


def test_a_failed_check_is_an_error_too() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.checked("clamav", CheckStatus.TEMPERROR, 5.0)
    metrics.checked("spf", CheckStatus.OK, 0.01)
    assert metrics.registry.get_sample_value("mailguard_errors_total", {"kind": "check"}) == 1
    assert metrics.registry.get_sample_value("mailguard_check_duration_seconds_count", {"check": "clamav"}) == 1


def test_attempts_and_decisions_count_by_closed_sets() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.attempted("acme", AttemptPurpose.CUT_THROUGH, AttemptResult.TEMPORARY, 0.2)
    metrics.decided(Action.QUARANTINE, "malware")
    labels = {"tenant": "acme", "purpose": "cut_through", "result": "temporary"}
    assert metrics.registry.get_sample_value("mailguard_delivery_attempts_total", labels) == 1
    assert metrics.registry.get_sample_value("mailguard_decisions_total", {"action": "quarantine", "reason": "malware"})


def test_series_of_closed_sets_start_at_zero() -> None:
    metrics = Metrics(CollectorRegistry())
    for kind in ErrorKind:
        assert metrics.registry.get_sample_value("mailguard_errors_total", {"kind": kind.value}) == 0


def test_several_processes_add_up_and_a_dead_ones_gauges_go(tmp_path: Path) -> None:
    clear_shared(tmp_path)
    environment = os.environ | {MULTIPROCESS_VARIABLE: str(tmp_path)}
    pids = [
        int(subprocess.run([sys.executable, "-c", WORKER], env=environment, check=True, capture_output=True).stdout)
        for _ in range(2)
    ]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))  # type: ignore[no-untyped-call]
    labels = {"tenant": "acme", "disposition": "delivered"}
    assert registry.get_sample_value("mailguard_dispositions_total", labels) == 2
    assert registry.get_sample_value("mailguard_message_duration_seconds_count") == 2
    assert registry.get_sample_value("mailguard_smtp_sessions_open") == 2
    assert b"# TYPE mailguard_dispositions_total counter" in generate_latest(registry)
    forget_process(tmp_path, pids[0])
    assert registry.get_sample_value("mailguard_smtp_sessions_open") == 1
    assert registry.get_sample_value("mailguard_dispositions_total", labels) == 2
    clear_shared(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_process_takes_the_room_for_its_values_before_it_keeps_any(tmp_path: Path) -> None:
    environment = os.environ | {MULTIPROCESS_VARIABLE: str(tmp_path)}
    subprocess.run([sys.executable, "-c", WORKER], env=environment, check=True, capture_output=True)
    taken = {file.name.rpartition("_")[0]: file.stat().st_blocks * 512 for file in tmp_path.iterdir()}
    assert taken.keys() == RESERVED.keys()
    assert all(taken[kind] >= octets for kind, octets in RESERVED.items())


FULL = """
import errno, os
def full(*_): raise OSError(errno.ENOSPC, "No space left on device")
os.posix_fallocate = full
"""


def test_on_a_full_disk_a_process_counts_for_itself_rather_than_die(tmp_path: Path) -> None:
    environment = os.environ | {MULTIPROCESS_VARIABLE: str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", FULL + WORKER], env=environment, check=True, capture_output=True, text=True
    )
    assert "metrics_not_shared" in ran.stdout + ran.stderr
    assert not list(tmp_path.iterdir())
