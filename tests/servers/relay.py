"""The real relay as a process: `mailguard serve` with a configuration of its own, and its command line."""

from __future__ import annotations

import atexit
import contextlib
import filecmp
import functools
import io
import json
import os
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import select

from mailguard.cli import main
from mailguard.store import schema
from mailguard.store.db import Database
from mailguard.store.migrations import upgrade
from tests.servers.ports import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
MAILGUARD = Path(sys.executable).with_name("mailguard")

_CONFIG = """\
[server]
hostname = "relay.test"
listen = ["127.0.0.1:{port}"]
workers = {workers}
drain_seconds = 10
[database]
url = "{database}"
[storage]
path = "{root}/data"
min_free_bytes = 1000000
[clamav]
address = "{clamd}"
timeout = 10
[dns]
nameservers = ["{dns}"]
timeout = 2
[policies]
path = "{policies}"
poll_seconds = 0.2
[http]
listen = "127.0.0.1:{http}"
[queue]
first_retry = 1
max_retry = 2
[log]
level = "info"
format = "json"
{more}
"""


@dataclass(frozen=True)
class _KeptRules:
    """What a relay keeps of the rules that come with us between two starts, handed from each relay to the next.

    Each of the hundreds would take 0.5 s to read them, and one that runs for long 5 s to compile their scanner. What is kept fits the code
    and the rules, or the relay makes it anew all the same.
    """

    folder: Path

    def give(self, data: Path, policies: Path) -> None:
        """Put it where a new relay looks for it."""
        if policies != ROOT / "policies" or not self.folder.exists() or data.exists():
            return
        (data / "cache").mkdir(mode=0o700, parents=True)
        data.chmod(0o700)
        for name in _KEPT_FILES:
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, data / "cache" / name)
                (data / "cache" / name).chmod(0o600)

    def take(self, data: Path, policies: Path) -> None:
        """Take it from a relay that has just made it."""
        if policies != ROOT / "policies":
            return
        for name in _KEPT_FILES:
            kept, ours = data / "cache" / name, self.folder / name
            if not kept.exists() or (ours.exists() and filecmp.cmp(kept, ours, shallow=False)):
                continue
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as scratch:
                scratch.write(kept.read_bytes())
            Path(scratch.name).replace(ours)


_KEPT_FILES = ("rules", "rules-scanner")
_KEPT = _KeptRules(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mailguard-tests")


@functools.cache
def _new_database() -> Path:
    """An empty database at its newest revision, to be copied: making one takes 0.1 s, and hundreds of relays need one."""
    path = Path(tempfile.mkdtemp(prefix="mailguard-")) / "new.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    upgrade(f"sqlite:///{path}")
    return path


@contextmanager
def _reading(url: str) -> Iterator[Database]:
    database = Database.open(url, readers=1)
    try:
        yield database
    finally:
        database.close_sync()


@dataclass
class Relay:
    """A relay under test. `environment` overrides settings (MAILGUARD_…)."""

    root: Path
    clamd: str
    dns: str
    workers: int = 1
    database: str = ""
    policies: Path = ROOT / "policies"
    more: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.database:
            self.database = f"sqlite:///{self.root}/mailguard.db"
            if not (self.root / "mailguard.db").exists():
                shutil.copyfile(_new_database(), self.root / "mailguard.db")
        self.write_config()
        _KEPT.give(self.root / "data", self.policies)
        self.run("db", "upgrade")

    @property
    def config(self) -> Path:
        return self.root / "mailguard.toml"

    @property
    def log(self) -> str:
        path = self.root / "relay.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write_config(self) -> None:
        self.config.write_text(
            _CONFIG.format(
                port=self.port,
                workers=self.workers,
                database=self.database,
                root=self.root,
                clamd=self.clamd,
                dns=self.dns,
                policies=self.policies,
                http=self.http,
                more=self.more,
            )
        )

    # the process

    def start(self, *, ready: bool = True) -> Relay:
        """Start it and wait until all its workers take mail (`ready`: and until everything it needs is there)."""
        if self.process is not None and self.process.poll() is None:
            raise RuntimeError(
                "it runs already: a second one would take the same ports, and nobody would end the first"
            )
        with (self.root / "relay.log").open("ab") as log:
            self.process = subprocess.Popen(
                [MAILGUARD, "--config", self.config, "serve"],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                cwd=self.root,
            )
        wait_until(lambda: self._is_up(ready), seconds=120, what="the relay being ready")
        _KEPT.take(self.root / "data", self.policies)
        return self

    def _is_up(self, ready: bool) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the relay ended with {self.process.returncode}:\n{self.log[-3000:]}")
        status, body = self.get("/readyz")
        return f"{self.workers} of {self.workers} workers ready" in body and (status == 200 or not ready)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, wait for its end, give its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(120)
        self.process = None
        _KEPT.take(self.root / "data", self.policies)
        return code

    def worker_pids(self) -> list[int]:
        """The processes of its workers."""
        return self._children("mailguard-w")

    def monitor_pids(self) -> list[int]:
        """The process of its monitor; none while it is being replaced."""
        return self._children("mailguard-mon")

    def _children(self, name: str) -> list[int]:
        """The processes whose name begins so."""
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = []
        for pid in map(int, path.read_text().split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended just now
                if Path(f"/proc/{pid}/comm").read_text().startswith(name):
                    found.append(pid)
        return found

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of its HTTP listener; status 0 when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, sample: str) -> float:
        """The value of one sample of /metrics, named with its labels; 0 when it is not there."""
        for line in self.get("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    # the command line

    def run(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command with the relay's configuration within this process: that costs no start of Python."""
        command = ["--config", str(self.config), *map(str, arguments)]
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        code = 0
        with (
            mock.patch.dict(os.environ, self.environment),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            os.environ.pop("COLUMNS", None)  # some test runners set it; a pipe's tables are not cut
            try:
                main(command)
            except SystemExit as ended:
                code = int(ended.code or 0)
        printed = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
        if check and code:
            raise AssertionError(f"mailguard {' '.join(command[2:])} ended with {code}:\n{printed[1]}{printed[0]}")
        return subprocess.CompletedProcess(command, code, *printed)

    def cli(self, *arguments: object, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command with the relay's configuration in a process of its own."""
        done = subprocess.run(
            [str(MAILGUARD), "--config", str(self.config), *map(str, arguments)],
            capture_output=True,
            text=True,
            input=stdin,
            env={**os.environ, **self.environment},
            cwd=self.root,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"mailguard {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr}{done.stdout}"
            )
        return done

    def json(self, *arguments: object) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def add_tenant(self, name: str, domain: str, port: int, *more: object) -> None:
        """A tenant with one domain whose next hop is a port of loopback."""
        self.run("tenant", "add", name, "--domain", domain, "--next-hop", f"127.0.0.1:{port}", *more)

    def states(self, recipient: str) -> list[str]:
        """The states of all units for a recipient, oldest first. Read straight from the database: cheap enough to poll."""
        with _reading(self.database) as database:
            rows = database.read_sync(
                lambda connection: connection.execute(
                    select(schema.units.c.state)
                    .where(schema.units.c.recipient_raw == recipient)
                    .order_by(schema.units.c.received_at, schema.units.c.id)
                ).all()
            )
        return [row.state for row in rows]

    # SMTP

    def client(self, **options: Any) -> smtplib.SMTP:
        """A connection to its door."""
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="mail.sender.test", timeout=90, **options)

    def takes(self, recipient: str) -> bool:
        """Whether it accepts mail for an address now, as far as RCPT tells."""
        with self.client() as smtp:
            smtp.ehlo()
            smtp.mail("a@sender.test")
            return smtp.rcpt(recipient)[0] == 250

    def send(
        self, message: bytes, recipients: Sequence[str] = ("u@client.test",), sender: str = "a@sender.test"
    ) -> tuple[int, str]:
        """Send one message in a connection of its own; the reply to its data, or the first refusal before."""
        with self.client() as smtp:
            smtp.ehlo()
            code, text = smtp.mail(sender, ["BODY=8BITMIME"])
            if code != 250:
                return code, text.decode()
            accepted = 0
            for recipient in recipients:
                code, text = smtp.rcpt(recipient)
                accepted += code == 250
            if not accepted:
                return code, text.decode()
            code, text = smtp.data(message)
            return code, text.decode()
