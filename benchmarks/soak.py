"""`make soak`: load for so many minutes; the memory of each worker is sampled and must stay flat.

python -m benchmarks.soak [--minutes 10] [--limit-mb 150] [--peers FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bench import prepared
from benchmarks.host import proportional, resident
from benchmarks.load import Plan
from benchmarks.mails import batch, templates_of
from benchmarks.paths import PORT, World
from benchmarks.peers import SINK_PORT
from benchmarks.sink import Sink
from mailguard.ops import log as logs

MEGABYTE = 1_000_000
GROWTH = 0.05
"""Of its memory that a worker may grow by, from the second quarter of the time to the last."""


def verdict(samples: Sequence[int], *, growth: float = GROWTH) -> str:
    """Why a worker's memory is not flat; empty when it is. The first quarter warms up: caches fill.

    Raises ValueError for fewer than eight samples, which tell nothing.
    """
    if len(samples) < 8:
        raise ValueError(f"{len(samples)} samples are too few to tell: 8 at least")
    quarter = len(samples) // 4
    early, late = statistics.median(samples[quarter : 2 * quarter]), statistics.median(samples[-quarter:])
    if late > early * (1 + growth):
        return f"grew from {early / MEGABYTE:.1f} to {late / MEGABYTE:.1f} MB"
    return ""


def problems(samples: Mapping[int, Sequence[int]], first: Mapping[int, int], limit: int) -> list[str]:
    """What is wrong with the workers, by pid: not flat, or above `limit` octets at rest."""
    found = [f"worker {pid} {why}" for pid, values in samples.items() if (why := verdict(values))]
    return found + [
        f"worker {pid} had {value / MEGABYTE:.1f} MB at rest, {limit / MEGABYTE:g} are allowed"
        for pid, value in first.items()
        if value > limit
    ]


def soak(world: World, minutes: float, limit: int) -> list[str]:
    """Load and sample; what is wrong."""
    with world.relay() as measured, Sink(SINK_PORT) as sink:
        workers = measured.relay.worker_pids()
        first = {pid: proportional(pid) for pid in workers}
        samples: dict[int, list[int]] = {pid: [] for pid in workers}
        for pid in workers:
            print(
                f"at rest: worker {pid} {first[pid] / MEGABYTE:.1f} MB of its own and {resident(pid) / MEGABYTE:.1f} in all"
            )
        print(f"ready after {measured.ready:.1f} s")
        ends, rounds = time.monotonic() + 60 * minutes, 0
        while time.monotonic() < ends or rounds < 8:
            rounds += 1
            mails = batch(world.templates, world.count, f"soak{rounds}", world.signer)
            got = measured.through(Plan(port=PORT, connections=10), mails, sink)
            if measured.relay.worker_pids() != workers:
                return ["a worker has died and was replaced"]
            for pid in workers:
                samples[pid].append(resident(pid))
            now = ", ".join(f"{samples[pid][-1] / MEGABYTE:.1f}" for pid in workers)
            print(f"{rounds * world.count:8,} mails  {now} MB  {got}", flush=True)
    return problems(samples, first, limit)


def main() -> int:
    """The command; 1 when memory is not flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--limit-mb", type=float, default=150.0, help="of a worker at rest, with its share of shared pages"
    )
    parser.add_argument("--count", type=int, default=500, help="mails between two samples")
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    logs.configure(level="error", form="console")
    with prepared(options.peers, "soak") as (peers, root):
        templates = templates_of(peers.messages if peers else None)
        world = World(
            root=root, count=options.count, rounds=1, connections=10, templates=templates, peers=peers, signatures=0
        )
        found = soak(world, options.minutes, int(options.limit_mb * MEGABYTE))
    print("\n".join(f"FAILED: {one}" for one in found) or "flat")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
