"""docs/onboarding.md, walked word for word: its settings, records, files and commands, against a real relay.

Only what the surroundings of a test must be otherwise is exchanged: directories, addresses, the month. What stands on the page and
is not run here is named in NOT_RUN.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dns.resolver
import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import arrived
from tests.servers.clamd import Clamd
from tests.servers.pki import self_signed
from tests.servers.ports import wait_until
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread, running_sink

PAGE = ROOT / "docs" / "onboarding.md"
MONTH = datetime.now(ZoneInfo("Europe/Berlin")).strftime("%Y-%m")
NOT_RUN = ("systemctl",)
"""Programs of the page that a test has not: it starts and looks after the relay itself."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the heading it stands under."""

    language: str
    text: str
    heading: str


def blocks() -> Iterator[Block]:
    heading = ""
    for found in re.finditer(
        r"^## (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$", PAGE.read_text(), re.M | re.S
    ):
        heading = found["heading"] or heading
        if found["language"]:
            yield Block(found["language"], found["text"], heading)


@dataclass
class Walk:
    """Someone who does what the page says. `said`: what each command printed, both streams."""

    root: Path
    clamd: Clamd
    dns: DnsServer
    sink: SinkThread
    relay: Relay | None = None
    said: dict[str, str] = field(default_factory=dict)

    @property
    def running(self) -> Relay:
        assert self.relay is not None
        return self.relay

    def do(self, block: Block) -> None:
        """Follow one block."""
        match block.language:
            case "toml":
                self._configure(block.text)
            case "zone":
                self._publish(block.text)
            case "csv":
                (self.root / "acme.csv").write_text(block.text)
            case "sh":
                for line in block.text.splitlines():
                    self._run(line)
            case other:
                raise AssertionError(f"nothing is known to be done with a block of {other!r}")

    def _configure(self, text: str) -> None:
        (self.root / "probe.key").write_text("a key of the test's own, until the page makes one")
        self.relay = Relay(
            self.root,
            clamd=self.clamd.address,
            dns=self.dns.address,
            more=self.here(text),
            environment={"MAILGUARD_SERVER__HOSTNAME": "mx.provider.example"},
        )

    def _publish(self, text: str) -> None:
        zone: dict[str, dict[str, list[str] | list[tuple[int, str]]]] = {}
        for line in text.splitlines():
            name, _, kind, value = line.split(maxsplit=3)
            found = self.here(value.strip('"'))
            preference, _, host = found.partition(" ")
            zone.setdefault(name, {})[kind] = [(int(preference), host.rstrip("."))] if kind == "MX" else [found]
        self.dns.update(zone)

    def _run(self, line: str) -> None:
        command = shlex.split(self.here(line))
        program = command.pop(0)
        if program in NOT_RUN:
            if "restart" in command:
                self.running.start()
            return
        if line.startswith(("swaks", "mailguard probe")):
            self._until_known()
        if program == "mailguard":
            done = self.running.run(*command)
            self.said[line] = done.stdout + done.stderr
        else:
            shell = subprocess.run(
                self.here(line), shell=True, cwd=self.root, capture_output=True, text=True, check=False
            )
            assert shell.returncode == 0, f"{line}\n{shell.stdout}{shell.stderr}"
            self.said[line] = shell.stdout

    def _until_known(self) -> None:
        """The page says that the running relay follows within seconds."""
        wait_until(lambda: self.running.takes("joe@acme.example"), seconds=10, what="the relay knowing the client")
        wait_until(lambda: not self.running.takes("nobody@acme.example"), seconds=10, what="the list being in force")

    def here(self, text: str) -> str:
        """What is otherwise in the test's surroundings."""
        for page, test in (
            ("/etc/mailguard", str(self.root)),
            ("import acme acme.csv", f"import acme {self.root}/acme.csv"),
            ("--next-hop mail.acme.example", f"--next-hop mail.acme.example:{self.sink.port}"),
            ("--server mx.provider.example", f"--server 127.0.0.1:{self.relay.port if self.relay else 0}"),
            ("192.0.2.25", "127.0.0.1"),
            ("2026-12", MONTH),
        ):
            text = text.replace(page, test)
        return text

    def output(self, start: str) -> str:
        """What the one command that begins so printed."""
        (found,) = [said for line, said in self.said.items() if line.startswith(start)]
        return found


@pytest.fixture
def walk(tmp_path: Path, clamd: Clamd) -> Iterator[Walk]:
    """The client's server offers TLS, as the page asks; its name leads to loopback."""
    certificate = self_signed("mail.acme.example").write(tmp_path)
    with (
        running_sink(certificate=certificate) as sink,
        DnsServer({"mail.acme.example": {"A": ["127.0.0.1"]}}) as dns_server,
    ):
        walk = Walk(tmp_path / "relay", clamd, dns_server, sink)
        walk.root.mkdir()
        yield walk
        if walk.relay is not None:
            walk.relay.stop()
            walk.relay.run("ledger", "check")
            walk.relay.run("audit", "verify")


def send_by_mx(walk: Walk, sender: str, recipient: str) -> tuple[int, str]:
    """As any server does: to the host that the domain's MX record names."""
    resolver = dns.resolver.Resolver(configure=False)
    host, _, port = walk.dns.address.rpartition(":")
    resolver.nameservers, resolver.port = [host], int(port)
    (record,) = resolver.resolve(recipient.partition("@")[2], "MX")
    assert record.exchange.to_text() == "mx.provider.example."
    (address,) = resolver.resolve(record.exchange, "A")
    assert address.address == "127.0.0.1"
    message = f"From: {sender}\r\nTo: {recipient}\r\nSubject: by MX\r\n\r\nHello.\r\n".encode()
    return walk.running.send(message, [recipient], sender)


def test_the_page_leads_from_nothing_to_filtered_probed_and_billed_mail(walk: Walk) -> None:
    page = list(blocks())
    for number, block in enumerate(page):
        if block.heading == "After a few days":
            wait_until(lambda: arrived(walk.sink, "owner@acme.example"), what="the report arriving")
            walk.sink.sink.script = {"rcpt": "550 5.7.1 Not from you"}
            assert send_by_mx(walk, "you@example.org", "sales@acme.example")[0] == 250, "a soft bounce waits"
            assert walk.running.states("sales@acme.example") == ["spooled"]
        walk.do(block)
        last = number + 1 == len(page) or page[number + 1].heading != block.heading
        if not last:
            continue
        if block.heading == "Switch the MX":
            for recipient in ("ann@acme.example", "info@acme.example"):
                assert send_by_mx(walk, "joe@acme.example", recipient)[0] == 250
        if block.heading == "After a few days":
            wait_until(
                lambda: send_by_mx(walk, "you@example.org", "ann@acme.example")[0] == 550,
                seconds=10,
                what="the word of the client's server being final",
            )

    relay = walk.running
    assert "delivered" in walk.output("mailguard trace --to joe@")
    assert "all is as it must be" in walk.said["mailguard probe --tenant acme --record"]
    assert "all is as it must be" in walk.said["mailguard probe --tenant acme"]
    assert "has never been probed" in walk.output("mailguard contract add")
    assert "note:" not in walk.output("mailguard contract show")
    assert "required" in walk.output("mailguard tenant show")

    (first,) = arrived(walk.sink, "joe@acme.example")
    assert first.tls
    by_mx, *_ = arrived(walk.sink, "ann@acme.example")
    assert b"spf=pass" in by_mx.content, "the client's server may still send in its name"
    (report,) = arrived(walk.sink, "owner@acme.example")
    assert b"Subject: Mail report for" in report.content

    (bill,) = relay.json("bill", "run", "--month", MONTH, "--tenant", "acme", "--dry-run")["invoices"]
    assert bill["state"] == "draft"
    assert bill["draft"]["usage"]["mailboxes"] == 2, (
        "joe's, and ann's with info@; the probe's and the report count nowhere"
    )
    assert "Acme Ltd" in walk.output("mailguard contract add")


def test_all_commands_of_the_page_stand_in_blocks_that_are_run() -> None:
    """Single commands within the text are options or views; a new kind of block must say what a test does with it."""
    found = {block.language for block in blocks()}
    assert found == {"toml", "sh", "zone", "csv"}
    run = [line.split()[0] for block in blocks() if block.language == "sh" for line in block.text.splitlines()]
    assert set(run) == {"mailguard", "openssl", "swaks", *NOT_RUN}
    assert run.count("mailguard") > 20
