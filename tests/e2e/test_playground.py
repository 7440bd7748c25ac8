"""`make run` and `mailguard demo` as a newcomer meets them: from the first mail to a released one, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers.ports import accepts, free_port, wait_until

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.e2e


@dataclass
class Playground:
    """A running playground in a directory of its own, on free ports."""

    directory: Path
    environment: dict[str, str]
    options: list[str]
    process: subprocess.Popen[bytes] | None = None
    ports: list[int] = field(default_factory=list)

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text()

    def start(self) -> None:
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mailguard", "playground", *self.options],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process = self.process
        wait_until(
            lambda: "Ctrl-C stops it" in self.output or process.poll() is not None, what="playground", seconds=60
        )
        assert process.poll() is None, self.output

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mailguard", *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def descendants(self) -> set[int]:
        """The processes that it started, and that these started."""
        assert self.process is not None
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
        found: set[int] = set()
        waiting = [self.process.pid]
        while waiting:
            children = parents.get(waiting.pop(), [])
            found.update(children)
            waiting.extend(children)
        return found

    def stop(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(120)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    door, http, clamd, sink, names = ports = [free_port() for _ in range(5)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILGUARD_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "MAILGUARD_SERVER__LISTEN": f"127.0.0.1:{door}",
        "MAILGUARD_HTTP__LISTEN": f"127.0.0.1:{http}",
        "MAILGUARD_CLAMAV__ADDRESS": f"127.0.0.1:{clamd}",
    }
    options = ["--sink", f"127.0.0.1:{sink}", "--dns", f"127.0.0.1:{names}"]
    it = Playground(tmp_path, environment, options, ports=ports)
    try:
        it.start()
        yield it
    finally:
        if it.process is not None and it.process.poll() is None:
            it.stop(signal.SIGTERM)


def test_a_newcomers_first_five_minutes(playground: Playground) -> None:
    fates = {fate["mail"]: fate for fate in playground.json("demo")}
    shown = {name: (fate["state"], fate["reason"], fate["in_mailbox"]) for name, fate in fates.items()}
    assert shown == {
        "clean": ("delivered", "next_hop_accepted", True),
        "eicar": ("quarantined", "malware", False),
        "gtube": ("rejected", "spam_score", False),
        "forgery": ("quarantined", "dmarc_fail", False),
        "program": ("quarantined", "forbidden_attachment", False),
        "relay": ("refused", None, False),
    }
    assert fates["gtube"]["reply"].startswith("550 5.7.1 ")
    assert fates["relay"]["reply"].startswith("550 5.7.1 ")

    kept = fates["program"]["unit"]
    assert playground.run("quarantine", "release", kept, "--why", "expected").returncode == 0
    mailbox = playground.directory / "var" / "demo" / "mailbox" / "new"
    message_id = fates["program"]["header_message_id"].encode()
    wait_until(lambda: any(message_id in file.read_bytes() for file in mailbox.iterdir()), what="the released mail")
    assert playground.run("quarantine", "release", fates["eicar"]["unit"]).returncode != 0, "malware needs --force"
    wait_until(lambda: playground.json("trace", "--id", kept)[0]["state"] == "released", what="the release's record")
    assert playground.run("ledger", "check").returncode == 0

    http = playground.environment["MAILGUARD_HTTP__LISTEN"]
    with urllib.request.urlopen(f"http://{http}/readyz", timeout=10) as response:
        assert json.load(response)["status"] == "ready"
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as response:
        metrics = response.read().decode()
    assert 'mailguard_dispositions_total{disposition="quarantined",tenant="demo"} 3.0' in metrics
    assert 'mailguard_dispositions_total{disposition="released",tenant="demo"} 1.0' in metrics
    assert 'mailguard_kept_mails{state="quarantined",tenant="demo"} 2.0' in metrics


def test_the_table_the_mails_for_swaks_and_a_second_playground(playground: Playground) -> None:
    table = playground.run("demo")
    assert table.returncode == 0, table.stderr
    assert "a virus in an archive (EICAR test file)" in table.stdout
    assert "quarantine release" in table.stdout
    printed = subprocess.run(
        [sys.executable, "-m", "mailguard", "demo", "--print", "eicar"],
        cwd=playground.directory,
        env=playground.environment,
        capture_output=True,
        check=True,
    ).stdout
    swaks = subprocess.run(
        [
            *("swaks", "--server", playground.environment["MAILGUARD_SERVER__LISTEN"]),
            *("--from", "alice@sender.test", "--to", "you@client.test", "--data", "-"),
        ],
        input=printed,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert swaks.returncode == 0, swaks.stdout.decode()
    listed = playground.json("quarantine", "list")
    assert sum(unit["reason"] == "malware" for unit in listed) == 2

    second = playground.run("playground", *playground.options)
    assert second.returncode == 2
    assert f"{playground.environment['MAILGUARD_SERVER__LISTEN']} is taken" in second.stderr


def test_ctrl_c_stops_everything_that_was_started(playground: Playground) -> None:
    started = playground.descendants()
    assert len(started) >= 3, "clamd, the relay and its worker"
    assert playground.stop(signal.SIGINT) == 0
    wait_until(lambda: not any(map(alive, started)), what="all processes gone")
    assert not any(accepts(port) for port in playground.ports)
    # What it kept is there at the next start.
    playground.start()
    assert playground.run("tenant", "show", "demo").returncode == 0


def test_a_killed_playground_leaves_no_process_behind(playground: Playground) -> None:
    started = playground.descendants()
    assert playground.process is not None
    playground.process.kill()
    playground.process.wait()
    wait_until(lambda: not any(map(alive, started)), what="all processes gone", seconds=40)
