"""SIGKILL in the midst of load: what was accepted arrives, and the ledger says what happened to everything.

`make crash` runs it for longer: MAILGUARD_CRASHES is how often each test kills, MAILGUARD_CRASH_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.account import CONNECTIONS, QUEUE, RECIPIENTS, Hop, account, steady_load, unfinished
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

CRASHES = int(os.environ.get("MAILGUARD_CRASHES", "3"))
SEED = int(os.environ.get("MAILGUARD_CRASH_SEED", "0")) or time.time_ns() % 1_000_000
WORKERS = 2
BACKLOG = 40
"""Mails that may wait in the queue while all is well: the greylisted ones."""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180 + 30 * CRASHES)]


@pytest.fixture
def dice() -> random.Random:
    print(f"MAILGUARD_CRASH_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture
def sink(new_sink: Callable[..., SinkThread], dice: random.Random) -> SinkThread:
    return new_sink(script=Hop(dice).script)


@pytest.fixture
def relay(new_relay: Callable[..., Relay], sink: SinkThread, database: str) -> Relay:
    """A running relay of two workers and two tenants, on each kind of database."""
    made = new_relay(workers=WORKERS, database=database)
    made.add_tenant("acme", "client.test", sink.port)
    made.add_tenant("bravo", "other.test", sink.port)
    return made.start()


def moments(dice: random.Random) -> Iterator[int]:
    """The crashes, each some time after whatever came before."""
    for crash in range(CRASHES):
        time.sleep(dice.uniform(0.2, 1.5))
        yield crash


def test_a_worker_killed_under_load_loses_nothing(relay: Relay, sink: SinkThread, dice: random.Random) -> None:
    began = time.monotonic()
    with steady_load(relay.port, seed=SEED) as load:
        for _crash in moments(dice):
            victim = dice.choice(relay.worker_pids())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda gone=victim: _replaced(relay, gone), what="the worker being replaced")
        time.sleep(0.5)
    done = account(relay, sink, load, since=began)
    done.check(crashes=CRASHES, in_flight=CONNECTIONS * RECIPIENTS + QUEUE)
    assert relay.metric("mailguard_worker_restarts_total") == CRASHES


def test_the_whole_relay_killed_under_load_loses_nothing(relay: Relay, sink: SinkThread, dice: random.Random) -> None:
    began = time.monotonic()
    with steady_load(relay.port, seed=SEED) as load:
        for crash in moments(dice):
            orphans = kill(relay, workers_too=crash % 2 == 0)
            relay.start()
        time.sleep(0.5)
    done = account(relay, sink, load, since=began)
    wait_until(lambda: not any(map(runs, orphans)), what="workers without a parent ending")
    done.check(crashes=CRASHES, in_flight=CONNECTIONS * RECIPIENTS + WORKERS * QUEUE)


def test_the_next_hop_killed_under_load_loses_nothing(relay: Relay, sink: SinkThread, dice: random.Random) -> None:
    began = time.monotonic()
    with steady_load(relay.port, seed=SEED) as load:
        for _crash in moments(dice):
            sink.stop()
            time.sleep(dice.uniform(0.1, 1.0))
            sink.start()
        # The senders go on: their mail is what each worker finds the hop back with.
        wait_until(lambda: unfinished(relay.database) < BACKLOG, seconds=90, what="the backlog going down")
    done = account(relay, sink, load, since=began)
    done.check(crashes=CRASHES, in_flight=CONNECTIONS * RECIPIENTS + WORKERS * QUEUE)


def kill(relay: Relay, *, workers_too: bool) -> list[int]:
    """SIGKILL to the parent and to every worker, as when the power goes; or to the parent alone, then its workers end
    by themselves. Returns the workers' processes."""
    assert relay.process is not None
    workers = relay.worker_pids()
    for pid in [relay.process.pid, *(workers if workers_too else [])]:
        os.kill(pid, signal.SIGKILL)
    relay.process.wait()
    relay.process = None
    return workers


def runs(pid: int) -> bool:
    """Whether a process is there and no mere zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _replaced(relay: Relay, gone: int) -> bool:
    return gone not in relay.worker_pids() and relay.metric("mailguard_workers_ready") == WORKERS
