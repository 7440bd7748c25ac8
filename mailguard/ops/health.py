"""Readiness: named probes run side by side, each under a time limit, their answers kept for a moment."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mailguard.core.errors import UnavailableError

Probe = Callable[[], Awaitable[str]]
"""Looks at one thing the relay needs. Returns what it saw (`2 of 2 ready`); raises UnavailableError with the reason."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What one probe found."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """What all probes found. Ready is the relay that can take mail and keep its promises."""

    conditions: tuple[Condition, ...]

    @property
    def ready(self) -> bool:
        """Whether every condition holds."""
        return all(condition.ok for condition in self.conditions)

    def condition(self, name: str) -> Condition | None:
        """The condition of one probe."""
        return next((condition for condition in self.conditions if condition.name == name), None)


class Health:
    """Runs the probes. Answers within `timeout` seconds, and asks again only after `keep_for` seconds."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        *,
        timeout: float = 3.0,
        keep_for: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = dict(probes)
        self._timeout = timeout
        self._keep_for = keep_for
        self._monotonic = monotonic
        self._last: Readiness | None = None
        self._until = 0.0
        self._changed = False
        self._running = asyncio.Lock()

    def forget(self) -> None:
        """Let the next asker have a new answer: something is known to have changed."""
        self._changed = True

    async def check(self) -> Readiness:
        """The state of everything now, or of a moment ago: many askers cost no more than one."""
        async with self._running:
            if self._last is None or self._monotonic() >= self._until or self._changed:
                self._changed = False  # before the probes look: what changes while they do is asked for again
                conditions = await asyncio.gather(*(self._run(name, probe) for name, probe in self._probes.items()))
                self._last = Readiness(tuple(conditions))
                self._until = self._monotonic() + self._keep_for
            return self._last

    async def _run(self, name: str, probe: Probe) -> Condition:
        try:
            async with asyncio.timeout(self._timeout):
                return Condition(name, True, await probe())
        except TimeoutError:
            return Condition(name, False, f"no answer within {self._timeout:g} s")
        except (UnavailableError, OSError) as error:
            return Condition(name, False, str(error) or type(error).__name__)


def storage_probe(path: Path, *, min_free_bytes: int) -> Probe:
    """A probe that writes, syncs and removes a small file in `path`, and looks at the free space."""

    def look() -> str:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".probe-") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(path).free
        if free < min_free_bytes:
            raise UnavailableError(f"{free} bytes free, fewer than {min_free_bytes}: new mail is deferred")
        return f"{free} bytes free"

    async def probe() -> str:
        return await asyncio.to_thread(look)

    return probe
