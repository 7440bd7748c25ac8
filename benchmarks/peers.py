"""What a user would run instead: Postfix alone, and Postfix with rspamd and ClamAV, started by the script of a folder.

The folder holds `peers.sh` (start|stop), `relay_bench.py` (the load that measures all alike) and `messages/*.eml`. Nothing
here needs it: without it MailGuard is measured alone, and says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from benchmarks.figures import Figures
from benchmarks.host import cpu_seconds

FILTERING, BARE = "Postfix + rspamd + ClamAV", "Postfix alone"
PORTS: Mapping[str, int] = {FILTERING: 2502, BARE: 2501}
SINK_PORT = 2600
NEEDED = ("postfix", "smtp-sink", "rspamd", "redis-server", "unbound", "clamd")
_PID_FILES = (
    "postfix/spool/pid/master.pid",
    "rspamd/rspamd.pid",
    "redis/redis.pid",
    "clam/clamd.pid",
    "dns/unbound.pid",
)


@dataclass(frozen=True, slots=True)
class Peers:
    """The folder, and where its script keeps what it starts."""

    folder: Path
    state: Path = Path(os.environ.get("PEERS_DIR", "/tmp/peers"))

    @property
    def messages(self) -> Path:
        """The templates."""
        return self.folder / "messages"

    @property
    def clamd(self) -> Path:
        """The socket of their clamd."""
        return self.state / "clam" / "clamd.sock"

    @property
    def key(self) -> bytes:
        """The private key of sender.test, in PEM."""
        return (self.state / "sender.test.key.pem").read_bytes()

    def problem(self) -> str:
        """Why they cannot be started; empty when they can."""
        for name in ("peers.sh", "relay_bench.py", "messages"):
            if not (self.folder / name).exists():
                return f"{self.folder / name} is not there"
        if os.geteuid():
            return "starting them needs root"
        missing = [name for name in NEEDED if not shutil.which(name)]
        if missing:
            packages = "postfix rspamd redis-server unbound clamav-daemon"
            return f"not installed: {', '.join(missing)} (apt-get install --no-install-recommends {packages})"
        return ""

    @property
    def running(self) -> bool:
        """Whether all of them are."""
        return len(self.pids()) == len(_PID_FILES)

    def pids(self) -> list[int]:
        """Their main processes."""
        found = []
        for name in _PID_FILES:
            with suppress(OSError, ValueError):
                pid = int((self.state / name).read_text())
                if Path(f"/proc/{pid}").exists():
                    found.append(pid)
        return found

    def start(self) -> None:
        """Start them all. Raises RuntimeError with what the script said."""
        self._run("start")
        if not self.running:
            raise RuntimeError(f"not all peers run; see {self.state}/start.log and the logs beside it")

    def stop(self) -> None:
        """End them all."""
        self._run("stop")

    def _run(self, word: str) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        said = self.state / f"{word}.log"
        # To a file: the daemons keep what they inherit, and a pipe would never end.
        with said.open("w") as log:
            done = subprocess.run(
                ["bash", str(self.folder / "peers.sh"), word],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHON": sys.executable},
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"peers.sh {word} ended with {done.returncode}: {said.read_text()[-500:]}")

    def tool(self) -> ModuleType:
        """Their load generator, as a module."""
        spec = importlib.util.spec_from_file_location("relay_bench", self.folder / "relay_bench.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def side_by_side(
    peers: Peers, ports: Mapping[str, int], *, rounds: int, count: int, connections: int, pids: Sequence[int]
) -> dict[str, Figures]:
    """Each relay in turn, round after round, after one that warms up: medians. `pids`: our own relay's main process."""
    tool = peers.tool()
    given = argparse.Namespace(
        sink_port=SINK_PORT, connections=connections, sender="a@sender.test", rcpt="u@client.test", drain=120.0
    )
    results: dict[str, list[Figures]] = {name: [] for name in ports}
    for number in range(rounds + 1):
        for name, port in ports.items():
            mails = tool.build(count if number else min(count, 200), f"{os.getpid()}-{number}-{port}-{connections}")
            servers = [*peers.pids(), *pids]
            before = cpu_seconds(servers)
            got = tool.measure(port, mails, given)
            if got["delivered"] < len(mails):
                raise RuntimeError(f"{name}: {got['delivered']} of {len(mails)} mails arrived")
            if number:
                cpu = 1_000 * (cpu_seconds(servers) - before) / got["delivered"]
                results[name].append(Figures(got["rate"], got["p50"], got["p99"], cpu))
                print(f"  round {number}  {name:28} {results[name][-1]}", flush=True)
    return {
        name: Figures(*(statistics.median(values) for values in zip(*(one.row for one in rows), strict=True)))
        for name, rows in results.items()
    }
