"""The relay under load with all it depends on, and how each part of it is killed and comes back."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailguard.core.events import State
from mailguard.store.blobs import FileBlobStore
from mailguard.store.reconcile import Reconciled
from tests.crash.account import Account, Books, Kill, accepted_of, deliveries_of
from tests.crash.load import CONNECTIONS, PATIENCE, RECIPIENTS, Hop, steady_load
from tests.e2e.mails import mail
from tests.servers.clamd import Clamd, private_clamd
from tests.servers.ports import free_port, wait_until
from tests.servers.postgres import Postgres
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread, running_sink
from tests.servers.smtp_load import Load

WORKERS = 2
QUEUE = 20
"""Mails that each worker's queue has under way at most ([queue] concurrency)."""
BACKLOG = 40
"""Mails that may wait in the queue while all is well: those that come twice."""
SESSIONS = CONNECTIONS * RECIPIENTS
BOUNDS = {
    "worker": SESSIONS + QUEUE,
    "relay": SESSIONS + WORKERS * QUEUE,
    "hop": SESSIONS + WORKERS * QUEUE,
    "scanner": 0,
    "database": SESSIONS + WORKERS * QUEUE,
}
"""How many deliveries a kill may double: those of the sessions, and of the queue's, that can be under way. The scanner's death
leaves nobody in doubt."""
_KINDS = tuple(Reconciled().counts)
_LOOKED_AT = re.compile(rb'"event": ?"(ready|worker_ready|worker_died|reconciled)"')
INSIDE = Path(__file__).with_name("inside")


@dataclass
class Scene:
    """A running relay of two workers and two tenants; mail of the second waits for the scanner when that is away."""

    relay: Relay
    sink: SinkThread
    hop: Hop
    scanner: Clamd
    server: Postgres | None
    """The database's, unless that is a file."""
    steps: Path
    """The folder in which steps are armed."""
    dice: random.Random
    books: Books
    kills: list[Kill] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    """Recipients of mail that was accepted beside the load."""
    _began: float = field(default_factory=time.monotonic)
    _load: Load | None = None
    _read: int = 0
    _lines: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def load(self, *, seed: int) -> Iterator[None]:
        """Send mail meanwhile."""
        with steady_load(self.relay.port, seed=seed) as self._load:
            yield
            # The senders go on: their mail is what each worker finds a next hop back with.
            wait_until(lambda: self.books.unfinished() < BACKLOG, seconds=PATIENCE, what="the backlog going down")

    def account(self) -> Account:
        """Wait until nothing is under way any more, then take stock."""
        assert self._load is not None
        wait_until(lambda: not self.books.unfinished(), seconds=PATIENCE, what="the queue being drained")
        wait_until(self._reconciled_since_start, seconds=PATIENCE, what="the last start's reconciliation")
        return Account(
            attempts=len(self._load.answers),
            refused=[f"{answer.id}: {answer.text}" for answer in self._load.answers if answer.code >= 500],
            accepted=[*accepted_of(self._load), *self.accepted],
            deliveries=deliveries_of(self.sink.messages),
            infected=self.hop.infected,
            units=self.books.units(),
            kills=tuple(self.kills),
            ledger=self._checked(),
            reconciled=[{name: line[name] for name in _KINDS} for line in self.log("reconciled")],
            seconds=time.monotonic() - self._began,
        )

    def _checked(self) -> dict[str, object]:
        """What the real `mailguard ledger check` says."""
        done = self.relay.cli("ledger", "check", "--json", check=False)
        assert done.returncode in (0, 1), done.stderr
        checked: dict[str, object] = json.loads(done.stdout)
        return checked

    def _reconciled_since_start(self) -> bool:
        return any(line["at"] > self.log("ready")[-1]["at"] for line in self.log("reconciled"))

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines that the relay has logged of an event, of those that the tests look at."""
        with (self.relay.root / "relay.log").open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        self._lines += [json.loads(line) for line in whole.splitlines() if _LOOKED_AT.search(line)]
        return [line for line in self._lines if line["event"] == event]

    def has_body(self, message: str) -> bool:
        """Whether the body of a message is on the disk."""
        return FileBlobStore(self.relay.root / "data").exists(message)

    # at random

    def kill(self, kind: str) -> None:
        """Kill a worker, the relay, the hop, the scanner or the database, and wait until all is well again."""
        noticed = getattr(self, f"_kill_{kind}")()
        self.kills.append(Kill(kind, noticed, time.monotonic(), BOUNDS[kind]))

    def _kill_worker(self) -> float:
        victim = self.dice.choice(self.relay.worker_pids())
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not runs(victim), what="the worker's end")
        noticed = time.monotonic()
        self.until_replaced(victim)
        return noticed

    def _kill_relay(self) -> float:
        """The parent and every worker, as when the power goes; or the parent alone: then its workers end by themselves."""
        process, workers = self.relay.process, self.relay.worker_pids()
        assert process is not None
        for pid in [process.pid, *(workers if self.dice.random() < 0.5 else [])]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        self.relay.process = None
        self.relay.start()
        wait_until(lambda: not any(map(runs, workers)), seconds=PATIENCE, what="workers without a parent ending")
        return time.monotonic()

    def _kill_hop(self) -> float:
        self.sink.stop()
        time.sleep(self.dice.uniform(0.1, 1.0))
        self.sink.start()
        noticed = time.monotonic()
        self._until_well()
        # A worker that finds it back brings the others' mail forward; when it dies before that, its mail waits two minutes.
        wait_until(lambda: not self.books.postponed(), seconds=PATIENCE, what="the next hop being found back")
        return noticed

    def _kill_scanner(self) -> float:
        self.scanner.stop()
        self._deferred()
        patient = f"patient-{len(self.kills)}@other.test"
        code, text = self.relay.send(mail("meanwhile"), [patient])
        assert code == 250, text
        assert list(self.books.states(self.books.units_of(patient)).values()) == [State.HELD]
        self.accepted.append(patient)
        time.sleep(self.dice.uniform(0, 0.5))
        self.scanner.start()
        self._until_well()
        return time.monotonic()

    def _kill_database(self) -> float:
        """All of its processes at once, or each told to end at once."""
        assert self.server is not None
        if self.dice.random() < 0.5:
            self.server.kill()
        else:
            self.server.stop()
        self._deferred()
        time.sleep(self.dice.uniform(0, 0.5))
        self.server.start()
        self._until_well()
        return time.monotonic()

    def _deferred(self) -> None:
        """Without scanner or database nothing is taken: 451."""
        code, text = self.relay.send(mail("meanwhile"), ["meanwhile@client.test"])
        assert code == 451, text

    def _until_well(self) -> None:
        """Wait until mail is taken that was sent from now on."""
        assert self._load is not None
        answers, now = self._load.answers, time.monotonic()
        wait_until(
            lambda: any(one.code == 250 and one.at - one.seconds > now for one in answers[-500:]),
            seconds=PATIENCE,
            what="mail being taken again",
        )

    def until_replaced(self, victim: int) -> None:
        """Wait until a new worker takes mail in a dead one's place."""

        def replaced() -> bool:
            workers = self.relay.worker_pids()
            ready = {line["pid"] for line in self.log("worker_ready")}
            return victim not in workers and len(workers) == WORKERS and ready.issuperset(workers)

        wait_until(replaced, seconds=PATIENCE, what="the worker being replaced")


def runs(pid: int) -> bool:
    """Whether a process is there and no mere zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def open_scene(root: Path, *, dns: str, server: Postgres | None, seed: int) -> Iterator[Scene]:
    """All of it running, under `root`; stopped at the end. Without a `server` the database is a file."""
    dice = random.Random(seed)
    hop = Hop(dice)
    policies = Path(shutil.copytree(ROOT / "policies", root / "policies"))
    (policies / "patient.yaml").write_text("extends: default\nfailed_checks: {clamav: hold}\n")
    steps = root / "steps"
    steps.mkdir()
    with ExitStack() as stack:
        scanner = stack.enter_context(private_clamd(root / "clamd"))
        sink = stack.enter_context(running_sink(script=hop.script, port=free_port()))
        hop.sink = sink.sink
        relay = Relay(
            root / "relay",
            clamd=scanner.address,
            dns=dns,
            workers=WORKERS,
            database=server.new_database(migrated=False) if server else "",
            policies=policies,
            environment={
                "MAILGUARD_QUEUE__FIRST_RESCAN": "0.5",
                "PYTHONPATH": os.pathsep.join(filter(None, [str(INSIDE), os.environ.get("PYTHONPATH")])),
                "CRASH_STEPS": str(steps),
            },
        )
        relay.add_tenant("acme", "client.test", sink.port)
        relay.add_tenant("bravo", "other.test", sink.port, "--policy", "patient")
        stack.callback(relay.stop)
        relay.start()
        books = Books(relay.database)
        stack.callback(books.close)
        yield Scene(relay, sink, hop, scanner, server, steps, dice, books)
