"""Free loopback ports and waiting with a deadline: what every server fixture needs."""

from __future__ import annotations

import functools
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator

FIRST, LAST, BLOCK = 10_000, 32_767, 256
"""The ports that are given out: below those that Linux gives to whoever connects (32768 and up, ip(7)), since else a
connection that goes out could take the port of a server that is stopped for a while."""

POLL = 0.02
"""Seconds between two looks at something that is awaited."""
PATIENCE = 60.0
"""Seconds until what is awaited counts as not coming. Most things take less than one; a busy machine may take long."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now, and that no other process of any test run is given."""
    for port in itertools.islice(_ports_of(os.getpid()), BLOCK):
        if _is_free(port):
            return port
    raise RuntimeError(f"no port of this process's {BLOCK} is free")


@functools.cache
def _ports_of(process: int) -> Iterator[int]:
    """The ports of this process, again and again: a block that is its own as long as it holds the block's first port."""
    starts = range(FIRST, LAST - BLOCK, BLOCK)
    for number in range(len(starts)):
        start = starts[(process + number) % len(starts)]
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", start))
        except OSError:  # another process's
            claim.close()
            continue
        return _cycle(claim, range(start + 1, start + BLOCK))
    raise RuntimeError(f"all {len(starts)} blocks of ports from {FIRST} to {LAST} are taken by other processes")


def _cycle(claim: socket.socket, ports: range) -> Iterator[int]:
    with claim:
        yield from itertools.cycle(ports)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not count
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], object], *, seconds: float = PATIENCE, what: str = "the condition") -> None:
    """Poll `condition` until it is true; fail with `what` after `seconds`. Looking takes a third of the time at most."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(min(max(POLL, 2 * (now - began)), 0.5))


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True
