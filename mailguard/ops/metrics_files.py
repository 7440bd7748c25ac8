"""The files in which the processes of one relay keep the values of their metrics, for whoever answers /metrics."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

from mailguard.ops import log as logs

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The library's own variable: where the processes of one relay keep their values for whoever answers /metrics."""

RESERVED = {
    "counter": 512 * 1024,
    "histogram": 512 * 1024,
    "gauge_livesum": 64 * 1024,
    "gauge_livemax": 64 * 1024,
    "gauge_livemostrecent": 64 * 1024,
}
"""Octets that each file of a process takes on the disk at once: of the larger, some 4,000 values."""


def share(directory: Path) -> None:
    """Keep the values of this process's metrics in `directory`, which all processes of one relay share.

    Call before `Metrics` is made. A process started with PROMETHEUS_MULTIPROC_DIR in its environment has it already. The
    library decides by that variable when it is first imported; this lets the parent decide when it knows its directory.
    """
    os.environ[MULTIPROCESS_VARIABLE] = str(directory)
    if not getattr(values.ValueClass, "_multiprocess", False):
        values.ValueClass = values.MultiProcessValue(_process_number())  # type: ignore[no-untyped-call]


def _process_number() -> Callable[[], int]:
    """This process's number, looked up once a process: the library asks for it with each value that changes."""
    number = os.getpid()

    def look_up() -> None:
        nonlocal number
        number = os.getpid()

    os.register_at_fork(after_in_child=look_up)
    return lambda: number


def clear_shared(directory: Path) -> None:
    """Make `directory` and empty it of an earlier run's values. For the parent, before its first worker starts."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink()


def forget_process(directory: Path, pid: int) -> None:
    """Drop the live gauges (open sessions) of a process that has ended; its counters stay, since they must not fall."""
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


def reserve_room() -> None:
    """Take the room on the disk that this process's values need, before it keeps any; call where `share` is in force.

    The library writes them through a map of a file with holes: with no room left on the disk, the first value in a new page
    would end the process (SIGBUS). Where there is no room even now, its values stay its own, and /metrics lacks them.
    """
    directory = os.environ.get(MULTIPROCESS_VARIABLE)
    if not directory or not getattr(values.ValueClass, "_multiprocess", False):
        return
    files = {Path(directory, f"{kind}_{os.getpid()}.db"): octets for kind, octets in RESERVED.items()}
    try:
        for file, octets in files.items():
            with file.open("ab") as opened:
                os.posix_fallocate(opened.fileno(), 0, octets)
    except OSError as error:
        for file in files:
            file.unlink(missing_ok=True)
        values.ValueClass = values.MutexValue
        logs.get_logger("metrics").error("metrics_not_shared", error=str(error))
