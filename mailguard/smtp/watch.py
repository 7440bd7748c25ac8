"""One timer for a connection's many deadlines."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from math import inf


class Watch:
    """Calls back when the deadline last set has passed.

    The timer is moved only when it would ring too late, and looks at the deadline when it rings: to set and cancel one for
    each command costs more than the command.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._deadline = inf
        self._late: Callable[[], None] | None = None
        self._timer: TimerHandle | None = None
        self._rings_at = inf

    def expect(self, deadline: float, late: Callable[[], None]) -> None:
        """From now on: `late` is called at `deadline` (loop time), unless another call comes first."""
        self._deadline, self._late = deadline, late
        if deadline < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = deadline
            self._timer = self._loop.call_at(deadline, self._ring)

    def rest(self) -> None:
        """Nothing is expected for now."""
        self._deadline = inf

    def stop(self) -> None:
        """Nothing is expected any more."""
        self._deadline = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._rings_at = inf
        if self._late is None or self._deadline == inf:
            return
        if self._loop.time() < self._deadline:
            self.expect(self._deadline, self._late)
        else:
            self._deadline = inf
            self._late()
