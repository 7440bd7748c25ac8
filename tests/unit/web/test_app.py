"""The endpoints over real HTTP: what a scraper and an orchestrator see when all is well, and when it is not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mailguard import __version__
from mailguard.core.errors import UnavailableError
from mailguard.ops.health import Health, Probe, storage_probe
from mailguard.ops.metrics import Metrics
from mailguard.ops.metrics_files import MULTIPROCESS_VARIABLE
from mailguard.web.app import Endpoints, make_app
from mailguard.web.server import HttpServer
from mailguard.web.state import KeptMail, QueueDepth, RelayState, ScannerState

STATE = RelayState(
    now=1_000_000.0,
    queue=(QueueDepth("acme", "forward", 3, 61.5),),
    kept=(KeptMail("acme", "quarantined", 2, 2048),),
    scanner=ScannerState(up=True, signature_version=27_500, signatures_at=996_400.0),
    storage_free=5_000,
    certificate_expires=2_000_000.0,
)


async def well() -> str:
    return "fine"


async def away() -> str:
    raise UnavailableError("connection refused")


async def hangs() -> str:
    await asyncio.Event().wait()
    return "never"


async def state() -> RelayState:
    return STATE


async def no_state() -> RelayState:
    raise UnavailableError("the database is away")


@dataclass
class Site:
    port: int
    metrics: Metrics

    async def get(self, path: str, accept: str = "") -> tuple[int, str, str]:
        return await asyncio.to_thread(self._get, path, accept)

    def _get(self, path: str, accept: str) -> tuple[int, str, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.headers["Content-Type"], response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read().decode()

    async def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        status, _, body = await self.get("/metrics")
        assert status == 200
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }


@asynccontextmanager
async def site(
    *,
    probes: dict[str, Probe] | None = None,
    read_state: Callable[[], Awaitable[RelayState]] = state,
    shared: Path | None = None,
) -> AsyncIterator[Site]:
    metrics = Metrics(CollectorRegistry())
    endpoints = Endpoints(
        health=Health(probes or {"database": well}, timeout=0.2),
        read_state=read_state,
        shared=shared,
        registry=None if shared else metrics.registry,
        state_timeout=0.3,
    )
    server = HttpServer(make_app(endpoints), host="127.0.0.1", port=0)
    await server.start()
    try:
        yield Site(server.port, metrics)
    finally:
        await server.stop()


async def test_healthz_is_alive_whatever_else_is_down() -> None:
    async with site(probes={"database": away}, read_state=no_state) as it:
        status, _, body = await it.get("/healthz")
    assert status == 200
    assert json.loads(body) == {"status": "ok", "version": __version__}


async def test_readyz_names_each_condition() -> None:
    async with site(probes={"database": well, "clamd": well}) as it:
        status, content_type, body = await it.get("/readyz")
    assert (status, content_type) == (200, "application/json")
    assert json.loads(body) == {
        "status": "ready",
        "checks": {"database": {"ok": True, "detail": "fine"}, "clamd": {"ok": True, "detail": "fine"}},
    }


async def test_readyz_says_what_is_away_and_what_hangs() -> None:
    async with site(probes={"database": well, "clamd": away, "storage": hangs}) as it:
        status, _, body = await it.get("/readyz")
    assert status == 503
    answer = json.loads(body)
    assert answer["status"] == "unready"
    assert answer["checks"]["database"]["ok"]
    assert answer["checks"]["clamd"] == {"ok": False, "detail": "connection refused"}
    assert answer["checks"]["storage"] == {"ok": False, "detail": "no answer within 0.2 s"}


async def test_metrics_show_counts_and_the_state_of_now() -> None:
    async with site() as it:
        it.metrics.smtp_sessions_open.inc(2)
        samples = await it.samples()
    assert samples["mailguard_smtp_sessions_open", ()] == 2
    assert samples["mailguard_database_up", ()] == 1
    assert samples["mailguard_queue_mails", (("purpose", "forward"), ("tenant", "acme"))] == 3
    assert samples["mailguard_queue_oldest_age_seconds", (("purpose", "forward"), ("tenant", "acme"))] == 61.5
    assert samples["mailguard_kept_mails", (("state", "quarantined"), ("tenant", "acme"))] == 2
    assert samples["mailguard_kept_bytes", (("state", "quarantined"), ("tenant", "acme"))] == 2048
    assert samples["mailguard_clamd_up", ()] == 1
    assert samples["mailguard_clamd_signature_version", ()] == 27_500
    assert samples["mailguard_clamd_signature_age_seconds", ()] == 3_600
    assert samples["mailguard_storage_free_bytes", ()] == 5_000


async def slow_state() -> RelayState:
    await asyncio.Event().wait()
    return STATE


@pytest.mark.parametrize("read_state", [no_state, slow_state])
async def test_metrics_outlive_the_database(read_state: Callable[[], Awaitable[RelayState]]) -> None:
    async with site(read_state=read_state) as it:
        samples = await it.samples()
    assert samples["mailguard_database_up", ()] == 0
    assert samples["mailguard_messages_received_total", ()] == 0
    assert not any(name.startswith("mailguard_queue_mails") for name, _ in samples)


async def test_a_scanner_that_is_down_has_no_signatures() -> None:
    async def down() -> RelayState:
        return RelayState(now=1.0, scanner=ScannerState(up=False))

    async with site(read_state=down) as it:
        names = {name for name, _ in await it.samples()}
    assert "mailguard_clamd_up" in names
    assert "mailguard_clamd_signature_version" not in names
    assert "mailguard_queue_mails" not in names


async def test_metrics_speak_openmetrics_when_asked() -> None:
    async with site() as it:
        _, plain, _ = await it.get("/metrics")
        _, content_type, body = await it.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert plain.startswith("text/plain")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


async def test_metrics_of_other_processes_are_summed(tmp_path: Path) -> None:
    count = "from mailguard.ops.metrics import Metrics; Metrics().messages_received.inc(5)"
    for _ in range(2):
        environment = os.environ | {MULTIPROCESS_VARIABLE: str(tmp_path)}
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", count], env=environment, check=True)
    async with site(shared=tmp_path) as it:
        assert (await it.samples())["mailguard_messages_received_total", ()] == 10


async def test_unknown_paths_and_methods_are_refused() -> None:
    async with site() as it:
        assert (await it.get("/etc/passwd"))[0] == 404
        status, _, body = await it.get("/")
        assert (status, "/readyz" in body) == (200, True)


async def test_a_taken_port_is_an_error_not_an_exit() -> None:
    async with site() as it:
        with pytest.raises(OSError, match="in use"):
            await HttpServer(make_app(_endpoints()), host="127.0.0.1", port=it.port).start()


def _endpoints() -> Endpoints:
    return Endpoints(health=Health({}), read_state=state, registry=CollectorRegistry())


def test_shared_directory_and_registry_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either"):
        Endpoints(health=Health({}), read_state=state)
    with pytest.raises(ValueError, match="either"):
        Endpoints(health=Health({}), read_state=state, shared=tmp_path, registry=CollectorRegistry())


@dataclass
class CountingProbe:
    asked: int = 0
    times: list[float] = field(default_factory=lambda: [0.0])

    async def __call__(self) -> str:
        self.asked += 1
        return str(self.asked)

    def monotonic(self) -> float:
        return self.times[-1]


async def test_many_askers_cost_one_probe() -> None:
    probe = CountingProbe()
    health = Health({"database": probe}, keep_for=1.0, monotonic=probe.monotonic)
    await asyncio.gather(*(health.check() for _ in range(20)))
    assert probe.asked == 1
    probe.times.append(1.0)
    readiness = await health.check()
    assert probe.asked == 2
    condition = readiness.condition("database")
    assert condition is not None and condition.detail == "2"
    assert readiness.condition("nothing") is None


async def test_what_is_known_to_have_changed_is_asked_for_anew() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    workers = 0

    async def probe() -> str:
        seen = str(workers)
        asked.set()
        await go_on.wait()
        return seen

    health = Health({"workers": probe}, keep_for=60.0)
    first = asyncio.create_task(health.check())
    await asked.wait()
    workers = 2
    health.forget()  # while the first answer is on its way
    go_on.set()
    assert [condition.detail for condition in (await first).conditions] == ["0"]
    assert [condition.detail for condition in (await health.check()).conditions] == ["2"]


async def test_storage_probe_writes_and_looks_at_free_space(tmp_path: Path) -> None:
    assert "bytes free" in await storage_probe(tmp_path, min_free_bytes=0)()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnavailableError, match="deferred"):
        await storage_probe(tmp_path, min_free_bytes=1 << 60)()
    readiness = await Health({"storage": storage_probe(tmp_path / "missing", min_free_bytes=0)}).check()
    assert not readiness.ready
