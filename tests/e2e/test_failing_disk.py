"""A real disk of a few megabytes, bodies, journal and database on it, that fills up: refused for now, nothing lost, and it heals.

The failures of each single operation are tried out in tests/unit/pipeline/test_failing_disk.py.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import infected, mail
from tests.e2e.test_our_failures import heard, talk
from tests.e2e.town import Town, open_town
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay

DISK = 12
"""Megabytes."""
MIN_FREE = 1_000_000
"""Octets: `storage.min_free_bytes`."""
LOCAL_ERROR = "4.3.0 Temporary failure on our side; please try again"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The relay's folder, whose `data` is a file system of its own."""
    root = tmp_path_factory.mktemp("full")
    data = root / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "mailguard-test", str(data)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("FULL DISK NOT TESTED: no file system can be mounted here (this takes root)")
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)


@pytest.fixture(scope="module")
def town(disk: Path, clamd: Clamd, dns_server: DnsServer) -> Iterator[Town]:
    relay = Relay(disk, clamd=clamd.address, dns=dns_server.address, database=f"sqlite:///{disk}/data/mailguard.db")
    with open_town(relay, spare=6) as town:
        yield town
        assert list(town.data.glob("tmp/*")) == [], "nothing half-written is left"
    relay.run("ledger", "check")


class Filler:
    """Fills the town's disk, all but some octets, and gives it back."""

    def __init__(self, town: Town) -> None:
        self._path = town.data / "filler"

    def fill(self, *, leave: int = 0) -> None:
        with self._path.open("wb", buffering=0) as file:
            for size in (65_536, 4_096):
                with contextlib.suppress(OSError):
                    while leave == 0 or self._free() > leave + size:
                        file.write(b"x" * size)

    def empty(self) -> None:
        self._path.unlink(missing_ok=True)

    def _free(self) -> int:
        found = os.statvfs(self._path)
        return found.f_bavail * found.f_frsize


@pytest.fixture
def filler(town: Town) -> Iterator[Filler]:
    made = Filler(town)
    yield made
    made.empty()
    with town.relay.client() as smtp:  # free space is looked at once a second
        smtp.ehlo()
        wait_until(
            lambda: smtp.mail("a@sender.test")[0] == 250 or smtp.rset()[0] == 0, what="the door being open again"
        )


def storage_errors(town: Town) -> float:
    return town.relay.metric('mailguard_errors_total{kind="storage"}')


def test_a_disk_that_runs_full_defers_new_mail_and_says_so(town: Town, filler: Filler) -> None:
    client = town.next_client()
    filler.fill(leave=MIN_FREE // 2)
    wait_until(lambda: town.relay.send(mail(), [client.address()])[0] == 452, what="new mail being deferred")
    code, text = town.relay.send(mail(), [client.address()])
    assert (code, text[:5]) == (452, "4.3.1")
    wait_until(lambda: town.relay.get("/readyz")[0] == 503, what="the relay not being ready")
    assert "new mail is deferred" in town.relay.get("/readyz")[1]
    assert 0 < town.relay.metric("mailguard_storage_free_bytes") < MIN_FREE
    asked = len(client.got)
    filler.empty()
    wait_until(lambda: town.relay.send(mail(), [client.address()])[0] == 250, what="new mail being taken again")
    assert len(client.got) == asked + 1
    wait_until(lambda: town.relay.get("/readyz")[0] == 200, what="the relay being ready again")
    assert town.relay.metric("mailguard_storage_free_bytes") > MIN_FREE


@pytest.mark.parametrize("large", [False, True], ids=["infected", "large"])
def test_a_disk_that_is_full_when_a_mail_has_come_keeps_none_of_it(town: Town, filler: Filler, large: bool) -> None:
    """Its MAIL was taken while there was room; its body finds none."""
    client = town.next_client()
    before = storage_errors(town)
    message = mail("large", "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 40_000) if large else infected()
    sock = talk(town, client.address())
    filler.fill()
    sock.sendall(message + b".\r\n")
    reply = heard(sock).decode().strip()
    assert reply.startswith("452 4.3.1") if large else reply == f"451 {LOCAL_ERROR}", reply
    sock.close()
    assert client.got == []
    assert large or storage_errors(town) > before
    filler.empty()
    wait_until(lambda: town.relay.send(message, [client.address()])[0] == 250, what="the sender's next try")
    state = "delivered" if large else "quarantined"
    wait_until(lambda: town.relay.states(client.address())[-1:] == [state], what=f"the mail being {state}")
    assert [unit["state"] for unit in town.units(client.address())] == [state]
    assert len(client.got) == int(large)


def test_a_disk_that_fills_while_the_next_hop_says_later_leaves_the_mail_with_its_sender(
    town: Town, filler: Filler
) -> None:
    client = town.next_client()
    before = storage_errors(town)

    def content(_: str) -> str:
        filler.fill()
        return "451 4.3.0 Later"

    client.sink.sink.script["content"] = content
    assert town.relay.send(mail(), [client.address()]) == (451, LOCAL_ERROR)
    assert storage_errors(town) > before
    client.sink.sink.script.pop("content")
    filler.empty()
    town.reached(client.address(), "deferred")
    wait_until(lambda: town.relay.send(mail(), [client.address()])[0] == 250, what="the sender's next try")
    assert [unit["state"] for unit in town.units(client.address())] == ["deferred", "delivered"]
    assert len(client.got) == 2  # once refused, once taken


def test_a_disk_that_fills_while_the_next_hop_says_yes_makes_no_duplicate(town: Town, filler: Filler) -> None:
    client = town.next_client()
    full = threading.Event()

    def content(_: str) -> str:
        filler.fill()
        full.set()
        return "250 2.0.0 Taken"

    client.sink.sink.script["content"] = content
    assert town.relay.send(mail(), [client.address()])[0] == 250, "delivered is delivered"
    assert full.is_set()
    filler.empty()
    town.reached(client.address(), "delivered")
    assert len(client.got) == 1


def test_what_waits_goes_out_once_the_disk_has_room(town: Town, filler: Filler) -> None:
    client = town.next_client()
    client.sink.stop()
    assert town.relay.send(mail(), [client.address()])[0] == 250
    assert len(town.bodies()) >= 1
    filler.fill()
    client.sink.start()
    wait_until(lambda: town.relay.get("/readyz")[0] == 503, what="the full disk being seen")
    filler.empty()
    town.reached(client.address(), "delivered")
    assert len(client.got) == 1
