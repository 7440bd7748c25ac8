"""How much later other mail is judged while bombs come: ordinary mail alone and beside bombs, in short windows by turns.

    python -m benchmarks.bomb_latency [--rounds 12] [--pace 1]

A relay with a scanner of its own delivers to a sink here. Prints medians and 95th percentiles of the time that a mail takes from
connecting to the reply after its content, in milliseconds, with and without bombs, and their ratios, as JSON. Windows alternate so that what else the machine does counts on both sides.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from tests import bombs
from tests.dns_server import DnsServer
from tests.e2e.conftest import ZONE
from tests.e2e.mails import mail, with_attachment
from tests.servers.clamd import private_clamd
from tests.servers.relay import Relay
from tests.servers.sink_thread import running_sink

WARM = 60
"""Ordinary mails before anything is measured."""
SETTLE = 1.0
"""Seconds after the bombs of a window for what they left to end."""
NICE = 5
"""How far the senders of bombs stand behind: what is measured is the relay, not them."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bomb_latency", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=12, help="pairs of windows (12)")
    parser.add_argument("--mails", type=int, default=40, help="ordinary mails in each window (40)")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between ordinary mails (0.05)")
    parser.add_argument("--pace", type=float, default=1.0, help="bombs a second of each of two senders (1)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        private_clamd(Path(folder) / "clamd") as clamd,
        DnsServer(ZONE) as dns,
        running_sink() as sink,
    ):
        relay = Relay(Path(folder) / "relay", clamd=clamd.address, dns=dns.address)
        relay.add_tenant("acme", "client.test", sink.port)
        relay.start()
        try:
            print(json.dumps(measure(relay, options), indent=2))
        finally:
            relay.stop()


def measure(relay: Relay, options: argparse.Namespace) -> dict[str, object]:
    """The figures."""
    attacks = [
        with_attachment(raw, f"{name} {title}")
        for name, made in bombs.FILES.items()
        if name != "one_of_each"
        for title, raw in [made()]
        if len(raw) < 8 << 20
    ]
    context = multiprocessing.get_context("fork")
    signals = Signals(context.Event(), context.Event(), context.Value("i", 0))
    senders = [
        context.Process(target=_attack, args=(relay, attacks[one::2], 1 / options.pace, signals), daemon=True)
        for one in range(2)
    ]
    for sender in senders:
        sender.start()
    window(relay, WARM, 0.01)
    alone: list[float] = []
    beside: list[float] = []
    ratios: list[float] = []
    for _ in range(options.rounds):
        first = window(relay, options.mails, options.pause)
        signals.coming.set()
        time.sleep(SETTLE / 2)
        second = window(relay, options.mails, options.pause)
        signals.coming.clear()
        time.sleep(SETTLE)
        alone += first
        beside += second
        ratios.append(statistics.median(second) / statistics.median(first))
    signals.ended.set()
    signals.coming.set()
    for sender in senders:
        sender.join(20)
    jobs = [line for line in relay.get("/metrics")[1].splitlines() if line.startswith("mailguard_sandbox_jobs_total")]
    return {
        "alone": _figures(alone),
        "beside bombs": _figures(beside),
        "bombs": signals.sent.value,
        "ratio of medians": round(statistics.median(beside) / statistics.median(alone), 3),
        "median of the windows' ratios": round(statistics.median(ratios), 3),
        "ratio of p95": round(_figures(beside)["p95"] / _figures(alone)["p95"], 3),
        "jobs of the sandbox": jobs,
    }


def window(relay: Relay, count: int, pause: float) -> list[float]:
    """Milliseconds that each of so many ordinary mails took."""
    out = []
    for number in range(count):
        begun = time.perf_counter()
        relay.send(mail(f"minutes {number} {begun}"))
        out.append((time.perf_counter() - begun) * 1e3)
        time.sleep(pause)
    return out


@dataclass(frozen=True)
class Signals:
    """What the senders of bombs and the measurement share."""

    coming: Event
    """Set while bombs are to come."""
    ended: Event
    sent: Synchronized[int]
    """Bombs that the relay has replied to."""


def _attack(relay: Relay, attacks: Sequence[bytes], pause: float, signals: Signals) -> None:
    """Send bombs, each a little different so that none is remembered, while they are to come."""
    os.nice(NICE)
    number = 0
    while signals.coming.wait() and not signals.ended.is_set():
        raw = attacks[number % len(attacks)]
        number += 1
        relay.send(raw.replace(b'filename="', b'filename="%d-%d ' % (os.getpid(), number)))
        with signals.sent.get_lock():
            signals.sent.value += 1
        time.sleep(pause)


def _figures(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "mails": len(ordered),
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(len(ordered) * 0.95)], 1),
        "max": round(ordered[-1], 1),
    }


if __name__ == "__main__":
    main()
