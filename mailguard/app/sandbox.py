"""The sandbox, built from the settings, and what log and metrics are told of it."""

from __future__ import annotations

import os
import pwd

from mailguard.checks.unpack import Unpacking
from mailguard.config import Settings
from mailguard.core.errors import ConfigError, Problem
from mailguard.ops import log as logs
from mailguard.ops.metrics import Metrics
from mailguard.sandbox.fork_server import Order
from mailguard.sandbox.pool import Pool
from mailguard.sandbox.values import Limits, Outcome, Protection

SANDBOXED = frozenset({"qr", "unpack"})
"""Checks that use it."""
SHARE = 0.6
"""Of the CPU time of a job, after which taking a file apart ends by itself, and tells what it found."""


def build_sandbox(settings: Settings, metrics: Metrics | None) -> Pool:
    """The pool, without a process yet. Raises ConfigError when its user is not there."""
    section = settings.sandbox
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(section.user)
        except KeyError:
            raise ConfigError(
                [Problem("sandbox.user", f"there is no user {section.user!r} on this system; name one without rights")]
            ) from None
    limits = Limits(
        seconds=section.time,
        cpu_seconds=section.cpu,
        memory=section.memory,
        jobs=section.jobs,
    )
    return Pool(
        Order(user=section.user, limits=limits),
        size=section.processes,
        queue=section.queue,
        wait=section.wait,
        observer=_Told(metrics),
    )


def unpacking(settings: Settings) -> Unpacking:
    """How far files are taken apart."""
    section = settings.unpack
    return Unpacking(
        size=section.size,
        octets=section.octets,
        files=section.files,
        depth=section.depth,
        seconds=settings.sandbox.cpu * SHARE,
        passwords=section.passwords,
    )


class _Told:
    """Tells log and metrics. What holds the processes is logged once, and again when it changes."""

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics
        self._log = logs.get_logger("sandbox")
        self._held: frozenset[Protection] | None = None

    def started(self, protections: frozenset[Protection]) -> None:
        """See Observer."""
        if protections != self._held:
            self._held = protections
            missing = sorted(one.value for one in Protection if one not in protections)
            self._log.info("sandbox_protected", by=sorted(one.value for one in protections), without=missing)
        if self._metrics:
            self._metrics.sandbox_processes.inc()
            for one in protections:
                self._metrics.sandbox_started.labels(one.value).inc()

    def ended(self) -> None:
        """See Observer."""
        if self._metrics:
            self._metrics.sandbox_processes.dec()

    def unable(self, reason: str) -> None:
        """See Observer."""
        self._log.error("sandbox_unable", reason=reason)
        if self._metrics:
            self._metrics.sandbox_started.labels("unable").inc()

    def done(self, function: str, outcome: Outcome, seconds: float) -> None:
        """See Observer."""
        if outcome not in (Outcome.OK, Outcome.ERROR):
            self._log.warning("sandbox_job_not_done", function=function, result=outcome.value, seconds=seconds)
        if self._metrics:
            self._metrics.sandbox_jobs.labels(function, outcome.value).inc()
            self._metrics.sandbox_duration.labels(function).observe(seconds)
