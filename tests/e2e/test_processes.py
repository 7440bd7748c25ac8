"""The processes of a relay: forked from one that has read everything, so that they share it and are replaced at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import mail, spam
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread

MIB = 1024


@pytest.fixture(scope="module")
def relay(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, shared_sink: SinkThread
) -> Iterator[Relay]:
    """Two workers that look at the files of rules at their start and at SIGHUP alone."""
    root = tmp_path_factory.mktemp("processes")
    made = Relay(
        root / "relay",
        clamd=clamd.address,
        dns=dns_server.address,
        workers=2,
        policies=Path(shutil.copytree(ROOT / "policies", root / "policies")),
        environment={"MAILGUARD_POLICIES__POLL_SECONDS": "3600"},
    )
    made.add_tenant("acme", "client.test", shared_sink.port)
    yield made.start()
    assert made.stop() == 0
    made.run("ledger", "check")


def memory(pid: int) -> dict[str, int]:
    """What /proc/PID/smaps_rollup says, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(size) for name, size, _ in map(str.split, lines)}


def test_nothing_of_the_parents_is_forked_but_what_it_has_read(relay: Relay) -> None:
    assert relay.process is not None
    parent = Path(f"/proc/{relay.process.pid}")
    assert len(list((parent / "task").iterdir())) == 1  # a fork takes one thread along, and the locks of all
    held = {
        link.readlink().name for link in (parent / "fd").iterdir() if not str(link.readlink()).startswith("socket:")
    }
    assert not [name for name in held if name.startswith("mailguard.db")]
    sockets = {str(link.readlink()) for link in (parent / "fd").iterdir() if str(link.readlink()).startswith("socket:")}
    listed = [
        line.split()[9] for table in ("tcp", "tcp6") for line in (parent / "net" / table).read_text().splitlines()[1:]
    ]
    assert not sockets & {f"socket:[{inode}]" for inode in listed}


def test_workers_share_what_was_read(relay: Relay) -> None:
    for pid in relay.worker_pids():
        found = memory(pid)
        assert found["Shared_Dirty"] > 50 * MIB  # written by the parent, before the fork
        assert found["Rss"] < 150 * MIB
        assert found["Pss"] < 100 * MIB


def test_a_monitor_that_dies_is_replaced_and_no_counter_falls(relay: Relay) -> None:
    assert relay.send(mail("before"))[0] == 250
    received = relay.metric("mailguard_messages_received_total")
    workers = relay.worker_pids()
    (monitor,) = relay.monitor_pids()
    os.kill(monitor, signal.SIGKILL)
    wait_until(
        lambda: monitor not in relay.monitor_pids() and "2 of 2 workers ready" in relay.get("/readyz")[1],
        what="the new monitor",
    )
    assert relay.metric("mailguard_messages_received_total") == received > 0
    assert relay.metric("mailguard_workers_ready") == 2
    assert relay.worker_pids() == workers
    assert '"event": "monitor_died"' in relay.log


def replaced(relay: Relay) -> None:
    """Kill both workers, and wait for the new ones."""
    before = relay.worker_pids()
    restarts = relay.metric("mailguard_worker_restarts_total")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: relay.metric("mailguard_worker_restarts_total") == restarts + 2, what="the deaths being counted")
    wait_until(lambda: relay.metric("mailguard_workers_ready") == 2, what="the new workers")
    assert not set(before) & set(relay.worker_pids())


def test_the_next_start_has_the_rules_as_they_were_read_unless_that_is_damaged(relay: Relay) -> None:
    kept = relay.root / "data" / "cache" / "rules"
    told = [(["kept_rules_used"], None), (["kept_rules_unusable", "rules_kept"], b"mailguard derived 1\nand no more")]
    for events, damage in told:
        assert relay.stop() == 0
        said = len(relay.log)
        if damage:
            kept.write_bytes(damage)
        relay.start()
        lines = [json.loads(line) for line in relay.log[said:].splitlines() if '"room": "rules"' in line]
        assert [line["event"] for line in lines] == events
        assert relay.send(spam("refused"))[0] == 550
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_replacement_has_the_last_good_rules(relay: Relay, shared_sink: SinkThread) -> None:
    rules = relay.policies / "rules" / "90-ours.yaml"
    rules.write_text(
        "rules:\n  - name: OURS_TULIPS\n    description: bulbs\n    score: 1.5\n    where: subject\n"
        "    patterns: tulips\n    hits: [tulips]\n"
    )
    replaced(relay)
    assert relay.send(mail("cheap tulips"))[0] == 250
    assert b"OURS_TULIPS(1.50)" in shared_sink.messages[-1].content
    rules.write_text("rules:\n  - name: OURS_TULIPS\n    patterns: '('\n")
    replaced(relay)
    assert relay.send(mail("more tulips"))[0] == 250
    assert b"OURS_TULIPS(1.50)" in shared_sink.messages[-1].content
    assert "90-ours.yaml" in relay.log
