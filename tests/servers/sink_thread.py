"""A SmtpSink with an event loop and a thread of its own, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.servers.smtp_sink import Received, SmtpSink

T = TypeVar("T")


class SinkThread:
    """`sink.script` and `sink.messages` may be used from the test's thread: both are replaced or appended to as a whole."""

    def __init__(self, sink: SmtpSink) -> None:
        self.sink = sink
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the sink in its loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    @property
    def port(self) -> int:
        """Where it listens, the same after a stop and a start."""
        return self.sink.port

    @property
    def messages(self) -> list[Received]:
        """What it took."""
        return self.sink.messages

    def start(self) -> None:
        """Listen (again)."""
        self.run(self.sink.start())

    def stop(self) -> None:
        """Refuse connections, and drop those that are open."""
        self.run(self.sink.stop())

    def close(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)


@contextmanager
def running_sink(**options: Any) -> Iterator[SinkThread]:
    """A listening sink; `options` as of SmtpSink."""
    thread = SinkThread(SmtpSink(**options))
    thread.start()
    try:
        yield thread
    finally:
        thread.close()
