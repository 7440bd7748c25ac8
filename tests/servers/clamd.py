"""A private clamd on loopback with a one-line database: EICAR is all it knows. Starts in about 0.3 s."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import accepts, free_port, wait_until

_SIGNATURE = (
    "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553"
    "542d46494c452124482b482a"
)
EICAR = bytes.fromhex(_SIGNATURE)
"""The EICAR test file, made of its hexadecimal form so that no scanner objects to this source."""
EICAR_NAME = "Eicar-Test.UNOFFICIAL"
"""What this clamd calls it."""

_CONFIG = """\
Foreground yes
DatabaseDirectory {root}/db
LocalSocket {root}/clamd.sock
TCPSocket {port}
TCPAddr 127.0.0.1
LogFile {root}/clamd.log
PidFile {root}/clamd.pid
TemporaryDirectory {root}/tmp
MaxThreads 4
"""
DEFAULTS = {"AlertExceedsMax": "yes", "AlertEncrypted": "yes", "StreamMaxLength": "60M"}


@dataclass(slots=True)
class Clamd:
    """A clamd of our own. `stop` and `start` again keep its port and its socket."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As in `[clamav] address`."""
        return f"127.0.0.1:{self.port}"

    @property
    def socket(self) -> str:
        """The path of its socket, which `[clamav] address` may also be."""
        return str(self.root / "clamd.sock")

    @property
    def config(self) -> Path:
        """Its clamd.conf."""
        return self.root / "clamd.conf"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        (self.root / "clamd.sock").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["clamd", "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(
            lambda: accepts(self.port) and (self.root / "clamd.sock").exists(), seconds=60, what="clamd accepting"
        )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes a clamd that does not answer."""
        if self.process:
            os.kill(self.process.pid, number)

    def stop(self) -> None:
        """Kill it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def private_clamd(root: Path, **settings: str) -> Iterator[Clamd]:
    """A running clamd under `root`. `settings` are added to its clamd.conf, or replace DEFAULTS there."""
    (root / "db").mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "db" / "eicar.ndb").write_text(f"Eicar-Test:0:*:{_SIGNATURE}\n")
    clamd = Clamd(root, free_port())
    lines = [f"{name} {value}" for name, value in {**DEFAULTS, **settings}.items()]
    clamd.config.write_text(_CONFIG.format(root=root, port=clamd.port) + "\n".join(lines) + "\n")
    clamd.start()
    try:
        yield clamd
    finally:
        clamd.stop()


def installed() -> bool:
    """Whether there is a clamd to start."""
    return shutil.which("clamd") is not None
