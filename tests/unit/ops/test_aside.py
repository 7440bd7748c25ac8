"""Computing beside the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from mailguard.ops.aside import SWITCH_SECONDS, compute_aside
from tests.servers.ports import wait_until

SHORT = pytest.approx(SWITCH_SECONDS)


@pytest.fixture
def usual() -> Iterator[float]:
    """An interval that is neither ours nor the interpreter's own."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.003)
    yield sys.getswitchinterval()
    sys.setswitchinterval(before)


async def test_a_computing_thread_gives_way_soon_and_only_while_it_computes(usual: float) -> None:
    assert await compute_aside(sys.getswitchinterval) == SHORT
    assert sys.getswitchinterval() == usual


async def test_arguments_and_errors_go_through(usual: float) -> None:
    assert await compute_aside(int, "11", base=2) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        await compute_aside(int, "not a number")
    assert sys.getswitchinterval() == usual


async def test_the_last_of_several_sets_the_interval_back(usual: float) -> None:
    begun, first, second = threading.Barrier(3), threading.Event(), threading.Event()

    def compute(until: threading.Event) -> None:
        begun.wait(10)
        until.wait(10)

    one, other = (asyncio.create_task(compute_aside(compute, until)) for until in (first, second))
    await asyncio.to_thread(begun.wait, 10)
    first.set()
    await one
    assert sys.getswitchinterval() == SHORT
    second.set()
    await other
    assert sys.getswitchinterval() == usual


async def test_a_thread_that_nobody_awaits_any_more_still_gives_way(usual: float) -> None:
    begun, end = threading.Event(), threading.Event()

    def compute() -> None:
        begun.set()
        end.wait(10)

    task = asyncio.create_task(compute_aside(compute))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sys.getswitchinterval() == SHORT
    end.set()
    await asyncio.to_thread(wait_until, lambda: sys.getswitchinterval() == usual, what="the usual interval")
