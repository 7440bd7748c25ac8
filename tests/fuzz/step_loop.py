"""An event loop that does all that can be done at once, then stops; its clock goes when it is told to. And one end of a wire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


class StepLoop(asyncio.SelectorEventLoop):
    """Threads are run on the spot, TLS is another wire: nothing depends on the machine's pace."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tls: Callable[[asyncio.BaseProtocol], asyncio.Transport] | None = None
        """Makes the wire that `start_tls` gives; None: the handshake fails."""
        super().__init__()
        self._clock_resolution = 1e-3  # what is due now is due, however late on the clock it is

    def time(self) -> float:
        """The clock."""
        return self.now

    def settle(self) -> None:
        """Run all that is ready, and what that makes ready."""
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]
                return

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on, from timer to timer."""
        end = self.now + seconds
        while due := [timer for timer in self._scheduled if not timer.cancelled() and timer.when() <= end]:  # type: ignore[attr-defined]
            self.now = max(self.now, min(timer.when() for timer in due))
            self.settle()
        self.now = end
        self.settle()

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: object) -> asyncio.Future[T]:  # type: ignore[override]
        """Runs it here and now."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - the caller's to judge, as from a thread
            future.set_exception(error)
        return future

    async def start_tls(  # type: ignore[override]
        self, transport: object, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, **_options: Any
    ) -> asyncio.Transport:
        """TLS without TLS."""
        if self.tls is None:
            raise ssl.SSLError("no handshake")
        return self.tls(protocol)


@cache
def step_loop() -> StepLoop:
    """The one of this process."""
    loop = StepLoop()
    asyncio.set_event_loop(loop)
    return loop


def run(question: Awaitable[T]) -> T:
    """The answer, found on the step loop. Waits for timers by letting the clock go on."""
    loop = step_loop()

    async def ask() -> T:
        return await question

    task = loop.create_task(ask())
    loop.settle()
    for _ in range(1000):
        if task.done():
            break
        loop.pass_time(60)
    assert task.done(), "it waits for what will never be"
    return task.result()


class Wire(asyncio.Transport):
    """Our end of a connection: what is written is kept."""

    def __init__(self, loop: StepLoop, protocol: asyncio.Protocol, said: bytearray) -> None:
        super().__init__({"peername": ("192.0.2.9", 40_000), "sockname": ("192.0.2.1", 25)})
        self._loop = loop
        self._protocol = protocol
        self.said = said
        self.ended = False
        """Nothing more can be said."""
        self.lost = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """See asyncio.Transport."""
        if not self.lost:
            assert not self.ended, f"said after the end: {bytes(data)!r}"
            self.said += data

    def can_write_eof(self) -> bool:
        """See asyncio.Transport."""
        return True

    def write_eof(self) -> None:
        """See asyncio.Transport."""
        self.ended = True

    def close(self) -> None:
        """See asyncio.Transport."""
        self.lose()

    def abort(self) -> None:
        """See asyncio.Transport."""
        self.lose()

    def lose(self) -> None:
        """The connection is gone, from whichever side."""
        self.ended = True
        if not self.lost:
            self.lost = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """See asyncio.Transport."""
        return self.lost

    def pause_reading(self) -> None:
        """See asyncio.Transport: what comes is never more than the limit."""

    def resume_reading(self) -> None:
        """See asyncio.Transport."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See asyncio.Transport."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio.Transport."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol
