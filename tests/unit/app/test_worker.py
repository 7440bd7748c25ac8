"""A worker before it takes mail."""

from __future__ import annotations

import socket
import sys
from collections.abc import Coroutine, Iterator
from unittest.mock import create_autospec

import pytest
import uvloop

from mailguard.app.filter import FilterFiles
from mailguard.app.worker import SWITCH_SECONDS, run_worker
from mailguard.config.settings import Settings
from mailguard.net.tls_contexts import TlsContexts


@pytest.fixture
def switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_its_threads_give_way_to_its_event_loop_soon(monkeypatch: pytest.MonkeyPatch, switching: None) -> None:
    seen: list[float] = []

    def run(main: Coroutine[object, object, None]) -> None:
        seen.append(sys.getswitchinterval())
        main.close()

    monkeypatch.setattr(uvloop, "run", run)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert (
            run_worker(
                Settings.model_validate({}),
                create_autospec(FilterFiles, instance=True),
                TlsContexts(),
                theirs,
                "a worker",
            )
            == 0
        )
    assert seen == [pytest.approx(SWITCH_SECONDS)]
