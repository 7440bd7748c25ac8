"""What mail can go through, each a measurement of a MailGuard of its own: a name, a function of the World."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figures, figures
from benchmarks.host import cpu_seconds, wait_until
from benchmarks.judge_cpu import Signer
from benchmarks.load import Plan, Sent, send
from benchmarks.mails import batch, made_up, stuffed, with_attachments, with_malware
from benchmarks.peers import PORTS, SINK_PORT, Peers, side_by_side
from benchmarks.sink import Sink
from benchmarks.zone import serving
from tests.servers.clamd import Clamd, private_clamd
from tests.servers.relay import Relay

ROOT = Path(__file__).resolve().parents[1]
OURS = "MailGuard"
PORT = 2525
WARM = 240
"""Mails at least before anything is measured: the first few dozen of each worker cost several times what later ones do."""
DRAIN = 180.0
"""Seconds in which all that was accepted must have arrived."""


@dataclass(kw_only=True)
class World:
    """What all measurements share. `peers`: running ones. `postgres`: URL of an empty database."""

    root: Path
    count: int
    rounds: int
    connections: int
    templates: Sequence[bytes]
    peers: Peers | None
    signatures: int
    postgres: str = ""
    made: int = 0
    signer: Signer = field(init=False)

    def __post_init__(self) -> None:
        self.signer = Signer("sender.test", self.peers.key if self.peers else b"")

    @contextmanager
    def relay(
        self,
        *,
        policy: str = "tag-only",
        clamd: str = "",
        dns: str = "",
        database: str = "",
        **environment: str,
    ) -> Iterator[Measured]:
        """A running MailGuard with tenant `client`, and what it asks: the peers' scanner and DNS, or own ones."""
        self.made += 1
        root = self.root / f"relay{self.made}"
        with ExitStack() as stack:
            servers = self.peers.pids() if self.peers else []
            if not clamd and self.peers:
                clamd = str(self.peers.clamd)
            elif not clamd:
                own = stack.enter_context(scanner(self.root / f"clamd{self.made}", 0))
                clamd = own.socket
                servers.append(own.process.pid if own.process else 0)
            if not dns:
                dns = (
                    "127.0.0.1:5300"
                    if self.peers
                    else stack.enter_context(serving([self.signer], self.root / f"dns{self.made}"))
                )
            relay = Relay(
                root,
                clamd=clamd,
                dns=dns,
                workers=2,
                port=PORT,
                database=database,
                environment={
                    "MAILGUARD_LOG__LEVEL": "warning",
                    "MAILGUARD_POLICIES__POLL_SECONDS": "2",
                    # One client sends all of it, which no client of the real world does.
                    "MAILGUARD_SERVER__MESSAGES_PER_SESSION": "1000000",
                    "MAILGUARD_SERVER__COMMANDS_PER_SESSION": "100000000",
                    "MAILGUARD_SERVER__ERRORS_PER_SESSION": "100000000",
                    "MAILGUARD_SERVER__JUNK_COMMANDS": "100000000",
                    **environment,
                },
            )
            relay.add_tenant("client", "client.test", SINK_PORT, "--policy", policy)
            began = time.perf_counter()
            relay.start()
            ready = time.perf_counter() - began
            stack.callback(relay.stop)
            assert relay.process is not None
            # Made by a worker after a while, unless an earlier relay has made it: what it spares belongs to what is measured.
            if "MAILGUARD_POLICIES__PATH" not in environment:
                wait_until((root / "data" / "cache" / "rules-scanner").exists, what="the rules' scanner", seconds=300)
            yield Measured(relay, [*servers, relay.process.pid], ready)


@dataclass(slots=True)
class Measured:
    """A relay, the processes whose CPU time counts, and the seconds from its start to ready."""

    relay: Relay
    servers: list[int]
    ready: float

    def through(self, plan: Plan, mails: Sequence[bytes], sink: Sink) -> Figures:
        """Send and wait until the sink has all."""
        before, cpu, began = sink.count, cpu_seconds(self.servers), time.perf_counter()
        sent = send(plan, mails)
        _complete(sent, len(mails))
        expected = before + len(mails)
        wait_until(lambda: sink.count >= expected, seconds=DRAIN, what=f"all {len(mails)} mails", step=0.01)
        took = time.perf_counter() - began
        return figures(len(mails), took, sent.waits, cpu_seconds(self.servers) - cpu)


def _complete(sent: Sent, count: int) -> None:
    if sent.accepted != count or sent.refused:
        raise RuntimeError(f"{sent.accepted} of {count} mails accepted; refused: {sent.refused[:3]}")


def warm(world: World, measured: Measured, sink: Sink) -> None:
    """Send enough that caches are full and connections open."""
    mails = batch(world.templates, max(WARM, world.count // 5), f"warm{world.made}", world.signer)
    measured.through(Plan(port=PORT, connections=world.connections), mails, sink)


def cut_through(world: World) -> Mapping[str, Figures]:
    """The whole path while the sender waits, beside the peers when they run; then with one connection."""
    with world.relay() as measured:
        if world.peers is None:
            with Sink(SINK_PORT) as sink:
                warm(world, measured, sink)
                return {
                    f"{OURS}, {connections} at a time": measured.through(
                        Plan(port=PORT, connections=connections),
                        batch(world.templates, world.count, f"cut{connections}", world.signer),
                        sink,
                    )
                    for connections in (world.connections, 1)
                }
        pids = measured.servers[-1:]
        ports = {**PORTS, OURS: PORT}
        options = {"rounds": world.rounds, "pids": pids}
        rows = side_by_side(world.peers, ports, count=world.count, connections=world.connections, **options)  # type: ignore[arg-type]
        few = max(100, world.count // 5)
        alone = side_by_side(world.peers, {OURS: PORT}, count=few, connections=1, **options)  # type: ignore[arg-type]
        return {**rows, f"{OURS}, one connection": alone[OURS]}


def spool(world: World) -> Mapping[str, Figures]:
    """The next hop is down while mail comes in, then comes back: accepting, delivering, both together."""
    mails = batch(world.templates, world.count, "spool", world.signer)
    with world.relay() as measured:
        with Sink(SINK_PORT) as sink:
            warm(world, measured, sink)
        cpu, began = cpu_seconds(measured.servers), time.perf_counter()
        sent = send(Plan(port=PORT, connections=world.connections), mails)
        _complete(sent, len(mails))
        accepted, cpu_accepted = time.perf_counter() - began, cpu_seconds(measured.servers) - cpu
        with Sink(SINK_PORT) as sink:
            opened = time.perf_counter()
            wait_until(lambda: sink.count > 0, seconds=DRAIN, what="the first mail", step=0.01)
            first = time.perf_counter()
            wait_until(lambda: sink.count >= len(mails), seconds=DRAIN, what=f"all {len(mails)} mails", step=0.01)
            drained = time.perf_counter()
        cpu_all = cpu_seconds(measured.servers) - cpu
    both = accepted + drained - opened
    return {
        "spooled, the next hop being down": figures(len(mails), accepted, sent.waits, cpu_accepted),
        "drained, from the first on": figures(len(mails), drained - first, [], cpu_all - cpu_accepted),
        "both, the wait for the retry included": figures(len(mails), both, [], cpu_all),
    }


def quarantine(world: World) -> Mapping[str, Figures]:
    """Each mail has malware in it and is kept."""
    mails = [
        stuffed(world.signer.signed(with_malware(number).replace(b"\n", b"\r\n")))
        for number in range(WARM + world.count)
    ]
    with world.relay(policy="default") as measured:
        _complete(send(Plan(port=PORT, connections=world.connections), mails[:WARM]), WARM)
        mails = mails[WARM:]
        cpu = cpu_seconds(measured.servers)
        sent = send(Plan(port=PORT, connections=world.connections), mails)
        _complete(sent, len(mails))
        kept = measured.relay.metric('mailguard_decisions_total{action="quarantine",reason="malware"}')
        if kept < WARM + len(mails):
            raise RuntimeError(f"{kept:g} of {len(mails)} mails were quarantined as malware")
        return {"quarantined": figures(len(mails), sent.seconds, sent.waits, cpu_seconds(measured.servers) - cpu)}


def reject(world: World) -> Mapping[str, Figures]:
    """MAIL, RCPT of a domain that is not served, RSET: pipelined, again and again."""
    count = world.count * 10
    with world.relay() as measured:
        plan = Plan(port=PORT, connections=world.connections, recipients=["u@nowhere.test"], reject=True)
        cpu = cpu_seconds(measured.servers)
        sent = send(plan, [b""] * count)
        if sent.accepted != count:
            raise RuntimeError(f"{sent.accepted} of {count} recipients were refused: {sent.refused[:3]}")
        return {"refused at RCPT": figures(count, sent.seconds, sent.waits, cpu_seconds(measured.servers) - cpu)}


def large(world: World) -> Mapping[str, Figures]:
    """Mails of 1 MB with attachments."""
    count = max(50, world.count // 10)
    mails = [
        stuffed(world.signer.signed(with_attachments(1_000_000, number).replace(b"\n", b"\r\n")))
        for number in range(count)
    ]
    with world.relay() as measured, Sink(SINK_PORT) as sink:
        warm(world, measured, sink)
        return {"1 MB with attachments": measured.through(Plan(port=PORT, connections=world.connections), mails, sink)}


def tls(world: World) -> Mapping[str, Figures]:
    """The same mails plain and with TLS on both sides, in turn."""
    rows: dict[str, list[Figures]] = {"plain": [], "TLS on both sides": []}
    with world.relay() as measured:
        for number in range(world.rounds):
            for name, secure in (("plain", False), ("TLS on both sides", True)):
                certificate = _certificate(world.root) if secure else None
                with Sink(SINK_PORT, certificate=certificate) as sink:
                    if not number:
                        warm(world, measured, sink)
                    plan = Plan(port=PORT, connections=world.connections, tls=secure)
                    mails = batch(world.templates, world.count, f"tls{number}{name[:3]}", world.signer)
                    rows[name].append(measured.through(plan, mails, sink))
    return {name: sorted(them, key=lambda one: one.rate)[len(them) // 2] for name, them in rows.items()}


def domains(world: World) -> Mapping[str, Figures]:
    """1,000 sender domains, each with a key of its own: every answer looked up, then every answer known."""
    print("  making the keys of 1,000 domains; takes a minute or two", flush=True)
    signers = [Signer(f"sender{number}.test") for number in range(1_000)]

    def mails(word: str) -> list[bytes]:
        return [
            mail
            for number, signer in enumerate(signers)
            for mail in batch([world.templates[number % len(world.templates)]], 1, f"{word}{number}", signer)
        ]

    with (
        serving([world.signer, *signers], world.root / "domains") as dns,
        world.relay(dns=dns) as measured,
        Sink(SINK_PORT) as sink,
    ):
        warm(world, measured, sink)
        plan = Plan(port=PORT, connections=world.connections)
        return {
            "1,000 domains, cold": measured.through(plan, mails("cold"), sink),
            "1,000 domains, warm": measured.through(plan, mails("warm"), sink),
        }


@contextmanager
def scanner(root: Path, signatures: int) -> Iterator[Clamd]:
    """clamd with so many made-up signatures more: nine tenths hashes, one tenth patterns, as in the official database."""
    if not shutil.which("clamd"):
        raise RuntimeError("clamd is not installed: apt-get install --no-install-recommends clamav-daemon")
    folder, chosen = root / "db", random.Random(1)
    folder.mkdir(parents=True, exist_ok=True)
    if signatures:
        with (folder / "made.hdb").open("w") as file:
            for number in range(signatures * 9 // 10):
                file.write(f"{chosen.randbytes(16).hex()}:{chosen.randrange(500, 5_000_000)}:Made.Hash.{number}\n")
        with (folder / "made.ndb").open("w") as file:
            for number in range(signatures // 10):
                file.write(f"Made.Pattern.{number}:0:*:{chosen.randbytes(24).hex()}\n")
    with private_clamd(root) as running:
        yield running


def signatures(world: World) -> Mapping[str, Figures]:
    """The scanner with a database of the size of a real one."""
    name = f"{world.signatures:,} signatures"
    with scanner(world.root / "signatures", world.signatures) as clamd, world.relay(clamd=clamd.socket) as measured:
        assert clamd.process is not None
        measured.servers.append(clamd.process.pid)
        with Sink(SINK_PORT) as sink:
            warm(world, measured, sink)
            mails = batch(world.templates, world.count, "signatures", world.signer)
            return {name: measured.through(Plan(port=PORT, connections=world.connections), mails, sink)}


def writers(world: World) -> Mapping[str, Figures]:
    """Two workers, and a command line that writes to the same database all the time."""
    done, written = threading.Event(), Counter[str]()
    with world.relay() as measured, Sink(SINK_PORT) as sink:
        warm(world, measured, sink)

        def write() -> None:
            while not done.is_set():
                address = f"s{written.total()}@example.org"
                ended = measured.relay.cli("tenant", "allow", "add", "client", address, check=False)
                written["failed" if ended.returncode else "done"] += 1

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        try:
            mails = batch(world.templates, world.count, "writers", world.signer)
            plan = Plan(port=PORT, connections=world.connections)
            got = measured.through(plan, mails, sink)
        finally:
            done.set()
            writer.join()
    if written["failed"] or not written["done"]:
        raise RuntimeError(f"the command line wrote {written['done']} times and failed {written['failed']} times")
    return {f"with {written['done']} commands that wrote": got}


def postgresql(world: World) -> Mapping[str, Figures]:
    """PostgreSQL instead of SQLite."""
    if not world.postgres:
        raise RuntimeError("say where it is: --postgres postgresql://user:password@host/database (an empty one)")
    with world.relay(database=world.postgres) as measured, Sink(SINK_PORT) as sink:
        warm(world, measured, sink)
        mails = batch(world.templates, world.count, "postgresql", world.signer)
        return {"PostgreSQL": measured.through(Plan(port=PORT, connections=world.connections), mails, sink)}


def plain(world: World, octets: int, count: int, word: str) -> list[bytes]:
    """Mails of about so many octets of text, signed."""
    return batch([made_up(max(200, octets - 900), octets)], count, word, world.signer)


def _certificate(root: Path) -> tuple[Path, Path]:
    certificate, key = root / "sink.pem", root / "sink.key"
    if not certificate.exists():
        subprocess.run(
            [
                *[
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-days",
                    "30",
                    "-subj",
                    "/CN=sink.test",
                    "-keyout",
                ],
                key,
                "-out",
                certificate,
            ],
            check=True,
            capture_output=True,
        )
    return certificate, key


PATHS: Mapping[str, Callable[[World], Mapping[str, Figures]]] = {
    "cut-through": cut_through,
    "spool": spool,
    "quarantine": quarantine,
    "reject": reject,
    "large": large,
    "tls": tls,
    "domains": domains,
    "signatures": signatures,
    "writers": writers,
    "postgresql": postgresql,
}
