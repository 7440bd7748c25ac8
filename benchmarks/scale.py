"""`make bench-scale`: how cost grows with connections, size, recipients, tenants, events, queue and rules.

    python -m benchmarks.scale [--only connections,size,…] [--count 300] [--events 1000000] [--peers FOLDER] [--results FOLDER]

Writes a curve a thing as SVG, and all values as scale.json, to benchmarks/results. 10^7 events take some minutes to make.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import RESULTS, prepared
from benchmarks.figures import machine
from benchmarks.fill import WITH_FILE, author, copies, file_hash
from benchmarks.load import Plan, send
from benchmarks.mails import batch, templates_of
from benchmarks.paths import PORT, ROOT, Measured, World, plain, warm
from benchmarks.peers import SINK_PORT
from benchmarks.plot import Points, curve_svg
from benchmarks.sink import Sink
from mailguard.core.clock import system_clock
from mailguard.core.envelope import NextHop
from mailguard.ops import log as logs
from mailguard.store.db import Database
from mailguard.store.tenants import add_tenant

DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured. `up` names the unit of all its lines."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Points]


def connections(world: World, _events: int) -> Curve:
    """Mails a second and CPU time by how many clients send at a time."""
    rate, cpu = [], []
    with world.relay() as measured, Sink(SINK_PORT) as sink:
        warm(world, measured, sink)
        for number in (1, 2, 5, 10, 20, 50, 100, 200, 500):
            mails = batch(world.templates, max(world.count, 2 * number), f"connections{number}", world.signer)
            got = measured.through(Plan(port=PORT, connections=number), mails, sink)
            rate.append((float(number), got.rate))
            cpu.append((float(number), got.cpu))
    return Curve("Clients at a time", "connections", "mails/s; ms CPU", {"mails/s": rate, "CPU ms a mail": cpu})


def size(world: World, _events: int) -> Curve:
    """CPU time by the size of a mail of text."""
    cpu, wait = [], []
    with world.relay() as measured, Sink(SINK_PORT) as sink:
        warm(world, measured, sink)
        for octets in (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000, 4_000_000, 10_000_000, 25_000_000):
            count = max(4, min(world.count, 40_000_000 // octets))
            got = measured.through(Plan(port=PORT, connections=4), plain(world, octets, count, f"size{octets}"), sink)
            cpu.append((octets / 1_000, got.cpu))
            wait.append((octets / 1_000, got.p50))
    return Curve("Size of a mail", "KB", "ms a mail", {"CPU": cpu, "until the reply, median": wait})


def recipients(world: World, _events: int) -> Curve:
    """CPU time by the recipients of a mail."""
    cpu = []
    with world.relay() as measured, Sink(SINK_PORT) as sink:
        warm(world, measured, sink)
        for number in (1, 2, 5, 10, 20, 50, 100):
            count = max(20, world.count // number)
            people = [f"u{one}@client.test" for one in range(number)]
            mails = batch(world.templates, count, f"recipients{number}", world.signer)
            got = measured.through(Plan(port=PORT, recipients=people), mails, sink)
            cpu.append((float(number), got.cpu))
    return Curve("Recipients of a mail", "recipients", "CPU ms a mail", {"CPU ms a mail": cpu})


def tenants(world: World, _events: int) -> Curve:
    """CPU time by how many tenants there are; the mails are for all of them in turn."""
    cpu = []
    for number in (1, 10, 100, 1_000, 10_000):
        with world.relay() as measured, Sink(SINK_PORT) as sink:
            _add_tenants(measured, number)
            last = f"u@client{number - 1}.test"
            _wait_for(measured, last)
            warm(world, measured, sink)
            mails = batch(world.templates, world.count, f"tenants{number}", world.signer)
            people = [f"u@client{at * number // 20}.test" for at in range(min(number, 20))]
            parts = [mails[at :: len(people)] for at in range(len(people))]
            figures = [
                measured.through(Plan(port=PORT, recipients=[person]), part, sink)
                for person, part in zip(people, parts, strict=True)
            ]
            weighed = sum(one.cpu * len(part) for one, part in zip(figures, parts, strict=True)) / len(mails)
            cpu.append((float(number), weighed))
    return Curve("Tenants", "tenants", "CPU ms a mail", {"CPU ms a mail": cpu})


def _add_tenants(measured: Measured, number: int) -> None:
    database = Database.open(measured.relay.database)
    hop = NextHop("127.0.0.1", SINK_PORT)

    def work(connection: Any) -> None:
        for at in range(number):
            add_tenant(
                connection,
                name=f"client{at}",
                domains=[f"client{at}.test"],
                next_hops=[hop],
                profile="tag-only",
                now=system_clock(),
            )

    database.write_sync(work)
    database.close_sync()


def _wait_for(measured: Measured, address: str) -> None:
    deadline = time.monotonic() + 60
    for _ in range(10):  # both workers must know it
        while not measured.relay.takes(address):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{address} is not accepted")
            time.sleep(0.1)


QUESTIONS = ("trace --to", "trace --message-id", "trace --from", "trace --sha256", "usage")


def events(world: World, most: int) -> Curve:
    """Milliseconds of `trace` and `usage` by rows in the events table, as JSON."""
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in QUESTIONS}
    with world.relay() as measured:
        relay = measured.relay
        message = _one_mail(measured)
        relay.stop()
        now, have = system_clock(), 0
        for rows in _decades(10_000, most):
            made = copies(relay.root / "mailguard.db", message, events=rows - have, since=now - 60 * DAY, until=now)
            have = rows
            month = time.strftime("%Y-%m", time.gmtime((now - 30 * DAY) / 1_000))
            asked = {
                "trace --to": ("trace", "--to", "person17@client.test", "--json"),
                "trace --message-id": ("trace", "--message-id", f"<made-{made // 2}@client.test>", "--json"),
                "trace --from": ("trace", "--from", author(made // 2), "--json"),
                "trace --sha256": ("trace", "--sha256", file_hash(made // 2 // WITH_FILE * WITH_FILE), "--json"),
                "usage": ("usage", "--month", month, "--json"),
            }
            relay.run("usage", "--month", month)  # what was not counted yet is counted once, by whoever comes first
            for name, command in asked.items():
                lines[name].append((float(rows), 1_000 * _best(lambda command=command: relay.run(*command))))  # type: ignore[misc]
                print(f"  {rows:,} events: {name} {lines[name][-1][1]:.1f} ms", flush=True)
    return Curve("Questions to the record", "rows of events", "ms", lines)


def queue(world: World, _events: int) -> Curve:
    """CPU time by mails that wait in the queue, not yet due."""
    cpu, have = [], 0
    with world.relay() as measured:
        message = _one_mail(measured)
        with Sink(SINK_PORT) as sink:
            for number in _decades(100, 100_000):
                now = system_clock()
                copies(
                    measured.relay.root / "mailguard.db",
                    message,
                    events=3 * (number - have),
                    since=now - DAY,
                    until=now,
                )
                have = number
                mails = batch(world.templates, world.count, f"queue{number}", world.signer)
                before = sink.count
                measured.through(Plan(port=PORT), mails[:20], sink)
                got = measured.through(Plan(port=PORT), mails[20:], sink)
                print(f"  {number:,} queued: {got}; {sink.count - before} arrived", flush=True)
                cpu.append((float(number), got.cpu))
    return Curve("Length of the queue", "mails that wait", "CPU ms a mail", {"CPU ms a mail": cpu})


def rules(world: World, _events: int) -> Curve:
    """CPU time by how many times the rules and profiles are there."""
    cpu = []
    for times in (1, 2, 5, 10):
        policies = world.root / f"policies{times}"
        multiply(ROOT / "policies", policies, times)
        with world.relay(MAILGUARD_POLICIES__PATH=str(policies)) as measured, Sink(SINK_PORT) as sink:
            warm(world, measured, sink)
            mails = batch(world.templates, world.count, f"rules{times}", world.signer)
            got = measured.through(Plan(port=PORT), mails, sink)
            cpu.append((float(times), got.cpu))
    return Curve("Rules and profiles", "times", "CPU ms a mail", {"CPU ms a mail": cpu})


def multiply(policies: Path, target: Path, times: int) -> None:
    """A copy of a folder of policies in which every rule and profile is there so many times, by other names."""
    shutil.copytree(policies, target)
    for file in sorted((policies / "rules").glob("*.yaml")):
        kept = yaml.safe_load(file.read_text())
        for number in range(1, times):
            more = [{**rule, "name": f"{rule['name'][:50]}_{number}"} for rule in kept["rules"]]
            (target / "rules" / f"{file.stem}_{number}.yaml").write_text(yaml.safe_dump({"rules": more}))
    for file in sorted(policies.glob("*.yaml")):
        for number in range(1, times):
            shutil.copyfile(file, target / f"{file.stem}-{number}.yaml")


def _one_mail(measured: Measured) -> str:
    """Send one, with no next hop there; its id, when it waits in the queue."""
    mails = [b"From: a@sender.test\r\nSubject: the one that is copied\r\n\r\nHello\r\n.\r\n"]
    sent = send(Plan(port=PORT, connections=1), mails)
    if sent.accepted != 1:
        raise RuntimeError(f"the mail to copy was refused: {sent.refused}")
    return str(measured.relay.json("trace", "--to", "u@client.test")[0]["message"])


def _best(work: Callable[[], object]) -> float:
    """The least seconds of five."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _decades(first: int, last: int) -> list[int]:
    found = []
    while first < last:
        found.append(first)
        first *= 10
    return [*found, last]


CURVES: Mapping[str, Callable[[World, int], Curve]] = {
    "connections": connections,
    "size": size,
    "recipients": recipients,
    "tenants": tenants,
    "events": events,
    "queue": queue,
    "rules": rules,
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options. Ends the program with a message when one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", type=Path, help="folder of peers.sh and messages/: their scanner, DNS and mails are used"
    )
    parser.add_argument("--only", default=",".join(CURVES), metavar="NAMES", help=f"of {', '.join(CURVES)}")
    parser.add_argument("--count", type=int, default=300, help="mails a point")
    parser.add_argument("--events", type=int, default=1_000_000, help="rows of events at most")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(given)
    options.only = [name for name in options.only.split(",") if name]
    unknown = [name for name in options.only if name not in CURVES]
    if unknown or not options.only:
        parser.error(f"--only: unknown {', '.join(unknown) or 'nothing'}; there are {', '.join(CURVES)}")
    if options.count < 50 or options.events < 10_000:
        parser.error("--count must be at least 50, --events at least 10000")
    return options


def main() -> int:
    """The command; 1 when a curve could not be measured."""
    options = arguments()
    logs.configure(level="error", form="console")
    failed = False
    with prepared(options.peers, "scale") as (peers, root):
        world = World(
            root=root,
            count=options.count,
            rounds=1,
            connections=10,
            templates=templates_of(peers.messages if peers else None),
            peers=peers,
            signatures=0,
        )
        kept: dict[str, object] = {"machine": machine(), "count": options.count}
        options.results.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            print(f"{name}: {(CURVES[name].__doc__ or '').strip()}", flush=True)
            try:
                curve = CURVES[name](world, options.events)
            except (RuntimeError, OSError, AssertionError) as error:  # the others are measured all the same
                failed = True
                print(f"  NOT MEASURED: {error}", file=sys.stderr, flush=True)
                continue
            for line, points in curve.lines.items():
                print(f"  {line}: " + ", ".join(f"{x:g}: {y:.2f}" for x, y in points), flush=True)
            kept[name] = curve.lines
            svg = curve_svg(curve.lines, title=curve.title, across=curve.across, up=curve.up)
            (options.results / f"{name}.svg").write_text(svg)
        (options.results / "scale.json").write_text(json.dumps(kept, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
