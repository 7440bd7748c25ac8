"""What the sandbox is asked and what it answers: limits, outcomes, and the port that checks use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from mailguard.sandbox.frames import Json

NO_ARGUMENTS: Mapping[str, Json] = MappingProxyType({})


class Outcome(StrEnum):
    """How a job ended."""

    OK = "ok"
    ERROR = "error"
    """The function gave up: the file is broken, or of a kind that it does not know."""
    TIME = "time"
    """Killed: it took too long by the clock."""
    CPU = "cpu"
    """Killed: it used too much of the processor."""
    MEMORY = "memory"
    """Killed: it wanted too much memory."""
    CRASH = "crash"
    """Its process died, or answered what is no answer."""
    BUSY = "busy"
    """Not begun: no process came free in time."""
    UNABLE = "unable"
    """Not begun: no process could be started."""

    @property
    def is_limit(self) -> bool:
        """Whether a limit ended it."""
        return self in (Outcome.TIME, Outcome.CPU, Outcome.MEMORY)

    @property
    def is_ours(self) -> bool:
        """Whether it was not looked at for want of a process: a temporary failure, and nothing about the file."""
        return self in (Outcome.BUSY, Outcome.UNABLE)


class Protection(StrEnum):
    """What holds a process, as far as this system lets it."""

    LIMITS = "limits"
    """No new descriptors (files, sockets, pipes), no files written, memory and CPU bounded."""
    USER = "user"
    """A user of its own."""
    NETWORK = "network"
    """A network namespace of its own, with nothing in it."""
    SECCOMP = "seccomp"
    """Only the system calls that computing needs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use: `seconds` by the clock, `cpu_seconds`, `memory` in octets beyond what the process had before.

    A process is replaced after `jobs` of them.
    """

    seconds: float = 10.0
    cpu_seconds: float = 2.0
    memory: int = 176 * 1024 * 1024
    jobs: int = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """How a job ended; `value` is what the function returned, not yet to be trusted; `detail` says what went wrong."""

    outcome: Outcome
    value: Json = None
    detail: str = ""
    raw: bytes = b""
    """Octets that came with it: hostile, and never to be parsed here."""


class Sandbox(Protocol):
    """Where dangerous work is done. Never raises for what a job did."""

    async def run(self, function: str, raw: bytes = b"", arguments: Mapping[str, Json] = NO_ARGUMENTS) -> Answer:
        """Do the registered `function` on `raw`, within the limits."""
        ...


class Observer(Protocol):
    """Is told what happens in a pool, for metrics and log."""

    def started(self, protections: frozenset[Protection]) -> None:
        """A process is there, held by these."""

    def ended(self) -> None:
        """A process is gone, for whatever reason."""

    def unable(self, reason: str) -> None:
        """No process could be started."""

    def done(self, function: str, outcome: Outcome, seconds: float) -> None:
        """A job has ended, `seconds` after it was asked for."""
