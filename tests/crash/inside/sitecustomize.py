"""Makes the processes of a relay under test die at a named step: Python imports this at its start, found by PYTHONPATH.

What dies is the real thing: only the calls at whose borders the steps lie are wrapped. A step is armed by a file of its name
in the folder CRASH_STEPS; whoever comes to it first takes that file, writes down who and what it was, and is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("CRASH_STEPS", ""))


def reached(step: str, ids: Iterable[str]) -> None:
    """Die here, by SIGKILL, when the step is armed. `ids`: the messages or units that it is about."""
    armed, taken = FOLDER / step, FOLDER / f"{step}.{os.getpid()}"
    try:
        armed.rename(taken)
    except FileNotFoundError:
        return
    taken.write_text(" ".join([str(os.getpid()), *ids]))
    taken.rename(FOLDER / f"{step}.died")
    os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """An object of the product with some of its methods replaced."""

    def __init__(self, inner: object, **methods: object) -> None:
        self._inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def blobs_with(blobs: Any, step: str) -> Watched:
    """The blob store; the step is reached when a body is durable, and nothing else has happened yet."""

    def put(blob_id: str, chunks: Iterable[bytes]) -> None:
        blobs.put(blob_id, chunks)
        reached(step, [blob_id])

    return Watched(blobs, put=put)


def ledger_of_pipeline(ledger: Any) -> Watched:
    """The ledger, as far as it takes in what is intended."""
    from mailguard.core.ids import unit_id

    async def begin(message: Any, units: Sequence[Any]) -> Any:
        fences = await ledger.begin(message, units)
        states = {unit_id(message.id, unit.number): str(unit.state) for unit in units}
        if forwarding := [unit for unit, state in states.items() if state == "forwarding"]:
            reached("intent", forwarding)
        elif kept := [unit for unit, state in states.items() if state == "quarantined"]:
            reached("quarantine-row", kept)
        return fences

    return Watched(ledger, begin=begin)


def ledger_of_carry_out(ledger: Any) -> Watched:
    """The ledger, as far as it takes in what came of an attempt in session."""

    async def move(moves: Sequence[Any], *, events: Sequence[Any] = ()) -> Any:
        delivered = [one.unit for one in moves if one.to_state == "delivered"]
        spooled = [one.unit for one in moves if one.to_state == "spooled"]
        if delivered:
            reached("after-final-reply", delivered)
        fences = await ledger.move(moves, events=events)
        if delivered:
            reached("before-250", delivered)
        if spooled:
            reached("spool-row", spooled)
        return fences

    return Watched(ledger, move=move)


def ledger_of_queue(ledger: Any) -> Watched:
    """The ledger, as far as it takes in what came of the queue's deliveries."""

    async def move(moves: Sequence[Any], *, events: Sequence[Any] = ()) -> Any:
        for step, state in (("queue-delivered", "delivered"), ("release-delivered", "released")):
            if units := [one.unit for one in moves if one.to_state == state]:
                reached(step, units)
        return await ledger.move(moves, events=events)

    return Watched(ledger, move=move)


def queue_with_step(queue: Any) -> Watched:
    """The queue; the step is reached when a claim is committed, and nobody has been asked yet."""

    async def claim(*arguments: Any, **options: Any) -> Any:
        claims = await queue.claim(*arguments, **options)
        if claims:
            reached("queue-claim", [claim.unit for claim in claims])
        return claims

    return Watched(queue, claim=claim)


def in_worker() -> None:
    """Hand the worker's services what reaches the steps."""
    from mailguard.app import relay

    pipeline, carry_out, runner = relay.Pipeline, relay.CarryOut, relay.QueueRunner

    def new_pipeline(*arguments: Any, blobs: Any, ledger: Any, **rest: Any) -> Any:
        blobs = blobs_with(blobs, "quarantine-body")
        return pipeline(*arguments, blobs=blobs, ledger=ledger_of_pipeline(ledger), **rest)

    def new_carry_out(*arguments: Any, blobs: Any, ledger: Any, **rest: Any) -> Any:
        blobs = blobs_with(blobs, "spool-body")
        return carry_out(*arguments, blobs=blobs, ledger=ledger_of_carry_out(ledger), **rest)

    def new_runner(queue: Any, ledger: Any, **rest: Any) -> Any:
        return runner(queue_with_step(queue), ledger_of_queue(ledger), **rest)

    for name, made in (("Pipeline", new_pipeline), ("CarryOut", new_carry_out), ("QueueRunner", new_runner)):
        setattr(relay, name, made)


def in_parent() -> None:
    """Replace dead workers at once: a test kills more of them in a minute than a real relay loses in its life."""
    from mailguard.app import supervisor

    supervisor.RESTART_PAUSES = (0.0,)


def in_release() -> None:
    """Let `mailguard quarantine release` reach its two steps."""
    from mailguard.cli.context import Cli
    from mailguard.quarantine import release

    inner, write = release.release, Cli.write_persistently

    def release_units(*arguments: Any, **options: Any) -> Any:
        results = inner(*arguments, **options)
        reached("release-uncommitted", [result.unit.id for result in results])
        return results

    def write_persistently(self: Any, work: Any) -> Any:
        results = write(self, work)
        reached("release-committed", [result.unit.id for result in results])
        return results

    release.release = release_units  # type: ignore[assignment]
    Cli.write_persistently = write_persistently  # type: ignore[method-assign]


if os.environ.get("CRASH_STEPS"):
    if "serve" in sys.orig_argv:
        in_parent()
        in_worker()  # whose processes are forked from this one
    elif "release" in sys.orig_argv:
        in_release()
