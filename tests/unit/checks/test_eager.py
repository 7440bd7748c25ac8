"""Coroutines that are started on the spot: no task without need, and in every other way as in a task."""

from __future__ import annotations

import asyncio

import pytest

from mailguard.checks.eager import Ended, outcomes, start, together


async def at_once(value: int) -> int:
    return value


async def after(event: asyncio.Event, value: int) -> int:
    await event.wait()
    await asyncio.sleep(0)
    return value


async def failing(event: asyncio.Event | None = None) -> int:
    if event:
        await event.wait()
    raise LookupError("no")


async def test_what_never_waits_has_its_result_and_no_task() -> None:
    before = asyncio.all_tasks()
    begun = start(at_once(3))
    assert isinstance(begun, Ended)
    assert begun.value == 3
    assert asyncio.all_tasks() == before
    with pytest.raises(LookupError):
        start(failing())


async def test_what_waits_goes_on_in_a_task() -> None:
    event = asyncio.Event()
    task = start(after(event, 4), name="waiting")
    assert isinstance(task, asyncio.Task)
    assert task.get_name() == "waiting"
    event.set()
    assert await task == 4


async def test_a_time_limit_set_before_waiting_ends_its_own_coroutine_alone() -> None:
    async def limited() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "in time"

    task = start(limited())
    assert isinstance(task, asyncio.Task)
    current = asyncio.current_task()
    assert await task == "late"
    assert current is not None
    assert current.cancelling() == 0
    assert task.cancelling() == 0


async def test_a_task_group_opened_before_waiting_is_of_its_own_coroutine() -> None:
    async def grouped() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing())
                await asyncio.Event().wait()
        except ExceptionGroup:
            return "failed"
        return "ended"

    task = start(grouped())
    assert isinstance(task, asyncio.Task)
    assert await task == "failed"


async def test_cancelling_reaches_what_is_waited_for_first() -> None:
    reached = []

    async def cleaning() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            reached.append("cleaned")
            raise
        return 0

    task = start(cleaning())
    assert isinstance(task, asyncio.Task)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached == ["cleaned"]


async def test_the_caller_is_the_current_task_again() -> None:
    current = asyncio.current_task()
    inner = []

    async def looking() -> None:
        inner.append(asyncio.current_task())

    start(looking())
    assert asyncio.current_task() is current
    assert inner[0] is not current


async def test_results_come_in_order_and_errors_among_them() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    found = await outcomes(after(event, 1), at_once(2), failing(), failing(event))
    assert found[:2] == [1, 2]
    assert [type(one) for one in found[2:]] == [LookupError, LookupError]
    assert await together(after(event, 1), at_once(2)) == [1, 2]
    with pytest.raises(LookupError):
        await together(at_once(1), failing(event))


async def test_an_error_that_is_returned_is_a_result() -> None:
    async def telling() -> LookupError:
        return LookupError("told")

    assert [str(one) for one in await together(telling(), telling())] == ["told", "told"]


async def test_cancelling_while_they_wait_cancels_them() -> None:
    tasks = asyncio.all_tasks()
    waiting = asyncio.create_task(outcomes(after(asyncio.Event(), 1), after(asyncio.Event(), 2)))
    for _ in range(3):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
