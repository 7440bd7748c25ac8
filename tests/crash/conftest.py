"""The surroundings of the tests, and their figures at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from tests.crash.account import Account
from tests.crash.scene import Scene, open_scene
from tests.dns_server import DnsServer
from tests.e2e.conftest import dns_server
from tests.servers.clamd import installed
from tests.servers.postgres import postgres

__all__ = ["dns_server", "postgres"]

SEED = int(os.environ.get("MAILGUARD_CRASH_SEED", "0")) or time.time_ns() % 1_000_000
FIGURES = "account"
"""The property of a test's report that has an account: its text, and its figures."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
    ]
    found = [value for report in reports for name, value in report.user_properties if name == FIGURES]
    if not found:
        return
    terminalreporter.section("kills under load")
    for text, _figures in found:
        terminalreporter.write_line(text)
    total = ", ".join(f"{sum(one[what] for _text, one in found):,} {what}" for what in found[0][1])
    terminalreporter.write_line(f"in all: {total}")


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str, Account], None]:
    """Has an account printed at the end of the run, whichever process ran the test."""
    return lambda name, account: record_property(
        FIGURES, (f"{name} (MAILGUARD_CRASH_SEED={SEED}): {account}", account.summary())
    )


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str:
    """Which database it runs on."""
    return str(request.param)


@pytest.fixture(scope="module")
def scene(
    database: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, dns_server: DnsServer
) -> Iterator[Scene]:
    """A running relay with all it depends on."""
    if not installed():
        pytest.fail("clamd is not installed: `make test` installs what the tests need")
    server = request.getfixturevalue("postgres") if database == "postgres" else None
    with open_scene(tmp_path_factory.mktemp("scene"), dns=dns_server.address, server=server, seed=SEED) as made:
        yield made
