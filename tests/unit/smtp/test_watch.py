"""One timer for many deadlines."""

from __future__ import annotations

import asyncio

from mailguard.smtp.watch import Watch


async def test_late_is_called_once_when_the_deadline_passes() -> None:
    loop = asyncio.get_running_loop()
    late = asyncio.Event()
    watch = Watch(loop)
    watch.expect(loop.time() + 0.02, late.set)
    await asyncio.wait_for(late.wait(), 2)


async def test_a_later_deadline_moves_without_a_new_timer() -> None:
    loop = asyncio.get_running_loop()
    calls: list[float] = []
    late = asyncio.Event()
    watch = Watch(loop)
    start = loop.time()
    watch.expect(start + 0.02, lambda: calls.append(0))
    watch.expect(start + 0.06, late.set)
    await asyncio.wait_for(late.wait(), 2)
    assert calls == []
    assert loop.time() - start >= 0.05


async def test_an_earlier_deadline_is_met() -> None:
    loop = asyncio.get_running_loop()
    late = asyncio.Event()
    watch = Watch(loop)
    watch.expect(loop.time() + 600, lambda: None)
    watch.expect(loop.time() + 0.02, late.set)
    await asyncio.wait_for(late.wait(), 2)


async def test_nothing_is_late_at_rest_or_when_stopped() -> None:
    loop = asyncio.get_running_loop()
    calls: list[str] = []
    resting, stopped = Watch(loop), Watch(loop)
    resting.expect(loop.time() + 0.01, lambda: calls.append("resting"))
    stopped.expect(loop.time() + 0.01, lambda: calls.append("stopped"))
    resting.rest()
    stopped.stop()
    marker = asyncio.Event()
    Watch(loop).expect(loop.time() + 0.05, marker.set)
    await asyncio.wait_for(marker.wait(), 2)
    assert calls == []
