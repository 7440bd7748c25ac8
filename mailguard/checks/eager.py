"""Starts coroutines on the spot: one that ends without waiting needs no task, only what does wait gets one.

Python 3.12 has this as `asyncio.eager_task_factory`. Most look-ups of a mail are answered from the cache, and a task that has
nothing to wait for costs about 10 µs: 0.2 ms a mail, more than most checks.
"""

from __future__ import annotations

import asyncio
import types
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Ended(Generic[T]):
    """What a coroutine returned that never waited."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


def start(running: Coroutine[Any, Any, T], *, name: str | None = None) -> Ended[T] | asyncio.Task[T]:
    """Run a coroutine up to where it first waits: its result if it never does, else the task in which it goes on.

    What it raises before it waits is raised here.
    """
    loop = asyncio.get_running_loop()
    caller = asyncio.current_task(loop)
    own = _Task()
    if caller is not None:
        _leave_task(loop, caller)
    _enter_task(loop, own)  # type: ignore[arg-type]
    try:
        waits_for = running.send(None)
    except StopIteration as end:
        return Ended(end.value)
    finally:
        _leave_task(loop, own)  # type: ignore[arg-type]
        if caller is not None:
            _enter_task(loop, caller)
    own.task = task = loop.create_task(_go_on(running, waits_for), name=name)
    return task


async def outcomes(*running: Coroutine[Any, Any, T]) -> list[T | Exception]:
    """What each coroutine returned or raised, in their order, once all have ended; they wait side by side."""
    return [one.value if isinstance(one, Ended) else one for one in await _ended(running)]


async def together(*running: Coroutine[Any, Any, T]) -> list[T]:
    """What each coroutine returned, in their order; they wait side by side. When all have ended, raises the first's error."""
    found: list[T] = []
    for one in await _ended(running):
        if not isinstance(one, Ended):
            raise one
        found.append(one.value)
    return found


async def _ended(running: Sequence[Coroutine[Any, Any, T]]) -> list[Ended[T] | Exception]:
    begun = [start(_outcome(one)) for one in running]
    waiting = [one for one in begun if not isinstance(one, Ended)]
    if waiting:
        await asyncio.gather(*waiting)  # whose cancelling cancels them
    return [one.value if isinstance(one, Ended) else one.result() for one in begun]


async def _outcome(running: Coroutine[Any, Any, T]) -> Ended[T] | Exception:
    try:
        return Ended(await running)
    except Exception as error:  # noqa: BLE001 - is handed on
        return error


class _Task:
    """Stands for the task that a coroutine gets if it waits: a time limit that it sets before that is to be its own."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None

    def cancelling(self) -> int:
        """See asyncio.Task."""
        return self.task.cancelling() if self.task else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


async def _go_on(running: Coroutine[Any, Any, T], waits_for: Any) -> T:
    """The rest of a coroutine that waits for a future already."""
    return await _rest(running, waits_for)


@types.coroutine
def _rest(running: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    try:
        yield waits_for
    except BaseException as error:  # noqa: BLE001 - it is the coroutine's to take
        try:
            again = running.throw(error)
        except StopIteration as end:
            ended: T = end.value
            return ended
        return (yield from _rest(running, again))
    last: T = yield from running
    return last
