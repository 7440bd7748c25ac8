"""How much later other mail is judged while bombs come: ordinary mail alone and beside bombs, in short windows by turns.

    python -m benchmarks.bomb_latency [--rounds 12] [--pace 1] [--scanner-nice 10]

A relay with a scanner of its own delivers to a next hop in a process of its own. Prints, as JSON, how long an ordinary mail takes from
connecting to the reply after its content, in milliseconds, and how many bombs a second the relay replied to.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import socket
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.sink import Sink
from tests import bombs
from tests.dns_server import DnsServer
from tests.e2e.conftest import ZONE
from tests.e2e.mails import mail, with_attachment
from tests.servers.clamd import private_clamd
from tests.servers.ports import free_port, wait_until
from tests.servers.relay import Relay

WARM = 60
"""Ordinary mails before anything is measured."""
SETTLE = 0.5
"""Seconds after the first bomb of a window has been sent, and after the last one was replied to."""
LARGEST = 12 << 20
"""Octets of a bomb; larger ones measure the network."""
NICE = 5
"""How far the senders of bombs stand behind: what is measured is the relay, not them."""
_FROM_BARE = re.compile(rb"\r?\n")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bomb_latency", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=16, help="pairs of windows (16)")
    parser.add_argument("--mails", type=int, default=40, help="ordinary mails in each window (40)")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between ordinary mails (0.05)")
    parser.add_argument("--pace", type=float, default=1.0, help="bombs a second of each of two senders, at most (1)")
    parser.add_argument("--scanner-nice", type=int, default=10, help="how far clamd stands behind the relay (10)")
    options = parser.parse_args()
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        private_clamd(Path(folder) / "clamd") as clamd,
        DnsServer(ZONE) as dns,
        Sink(port),
    ):
        assert clamd.process is not None
        for thread in Path(f"/proc/{clamd.process.pid}/task").iterdir():  # those to come have what theirs has
            os.setpriority(os.PRIO_PROCESS, int(thread.name), options.scanner_nice)
        relay = Relay(Path(folder) / "relay", clamd=clamd.address, dns=dns.address)
        relay.add_tenant("acme", "client.test", port)
        relay.start()
        try:
            print(json.dumps(measure(relay, options), indent=2))
        finally:
            relay.stop()


@dataclass(frozen=True)
class Signals:
    """What the senders of bombs and the measurement share."""

    coming: Event
    """Set while bombs are to come."""
    ended: Event
    sent: Synchronized[int]
    """Bombs that the relay has replied to."""
    under_way: Synchronized[int]
    """Bombs that it has not replied to yet."""


def measure(relay: Relay, options: argparse.Namespace) -> Mapping[str, object]:
    """The figures."""
    attacks = all_bombs()
    context = multiprocessing.get_context("fork")
    signals = Signals(context.Event(), context.Event(), context.Value("i", 0), context.Value("i", 0))
    senders = [
        context.Process(target=_attack, args=(relay.port, attacks[one::2], 1 / options.pace, signals), daemon=True)
        for one in range(2)
    ]
    for sender in senders:
        sender.start()
    window(relay, WARM, 0.01)
    alone: list[float] = []
    beside: list[float] = []
    ratios: list[float] = []
    seconds = 0.0
    for _ in range(options.rounds):
        first = window(relay, options.mails, options.pause)
        begun = time.monotonic()
        signals.coming.set()
        time.sleep(SETTLE)
        second = window(relay, options.mails, options.pause)
        signals.coming.clear()
        seconds += time.monotonic() - begun
        wait_until(lambda: signals.under_way.value == 0, seconds=120, what="the end of the last bombs")
        time.sleep(SETTLE)
        alone += first
        beside += second
        ratios.append(statistics.median(second) / statistics.median(first))
    signals.ended.set()
    signals.coming.set()
    for sender in senders:
        sender.join(20)
    figures = {"alone": _figures(alone), "beside bombs": _figures(beside)}
    ratio = {
        name: round(figures["beside bombs"][name] / figures["alone"][name], 2)
        for name in ("median", "mean", "p90", "p95")
    }
    jobs = [line for line in relay.get("/metrics")[1].splitlines() if line.startswith("mailguard_sandbox_jobs_total")]
    return {
        **figures,
        "ratio": ratio,
        "median of the windows' ratios": round(statistics.median(ratios), 2),
        "bombs": signals.sent.value,
        "bombs a second": round(signals.sent.value / seconds, 2),
        "jobs of the sandbox": jobs,
    }


def all_bombs() -> list[bytes]:
    """Every file and mail of tests/bombs.py that is not too large, as it goes over the wire."""
    files = [
        with_attachment(raw, f"{name} {title}")
        for name, made in bombs.FILES.items()
        if name != "one_of_each"
        for title, raw in [made()]
    ]
    mails = [made() for made in bombs.MAILS.values()]
    wired = [_FROM_BARE.sub(b"\r\n", raw).replace(b"\r\n.", b"\r\n..") for raw in files + mails]
    return [raw for raw in wired if len(raw) <= LARGEST]


def window(relay: Relay, count: int, pause: float) -> list[float]:
    """Milliseconds that each of so many ordinary mails took."""
    out = []
    for number in range(count):
        begun = time.perf_counter()
        relay.send(mail(f"minutes {number} {begun}"))
        out.append((time.perf_counter() - begun) * 1e3)
        time.sleep(pause)
    return out


def _attack(port: int, attacks: Sequence[bytes], pause: float, signals: Signals) -> None:
    """Send bombs, each a little different so that none is remembered, while they are to come."""
    os.nice(NICE)
    number = 0
    while signals.coming.wait() and not signals.ended.is_set():
        raw = attacks[number % len(attacks)]
        number += 1
        _count(signals.under_way, 1)
        _send(port, raw.replace(b'name="', b'name="%d-%d ' % (os.getpid(), number)))
        _count(signals.under_way, -1)
        _count(signals.sent, 1)
        time.sleep(pause)


def _count(what: Synchronized[int], more: int) -> None:
    with what.get_lock():
        what.value += more


def _send(port: int, wired: bytes) -> None:
    """One mail as it is: what smtplib does to megabytes would take the processor from the relay."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        replies = connection.makefile("rb")
        replies.readline()
        for command, wanted in (
            (b"HELO mail.sender.test", b"250"),
            (b"MAIL FROM:<a@sender.test>", b"250"),
            (b"RCPT TO:<u@client.test>", b"250"),
            (b"DATA", b"354"),
            (wired + b"\r\n.", b""),
        ):
            connection.sendall(command + b"\r\n")
            reply = replies.readline()
            if not reply.startswith(wanted):
                raise ConnectionError(f"the relay said {reply!r} to {command!r}")


def _figures(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "mails": len(ordered),
        "median": round(statistics.median(ordered), 1),
        "mean": round(statistics.mean(ordered), 1),
        "p90": round(ordered[int(len(ordered) * 0.9)], 1),
        "p95": round(ordered[int(len(ordered) * 0.95)], 1),
        "max": round(ordered[-1], 1),
    }


if __name__ == "__main__":
    main()
