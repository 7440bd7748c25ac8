"""/metrics counts right over all workers, /healthz and /readyz tell the truth, and Prometheus's own tool likes the format."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import smtplib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.mails import infected, mail, spam
from tests.servers.clamd import Clamd, private_clamd
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

CLEAN, INFECTED, SPAM = 24, 5, 3
ALL = CLEAN + INFECTED + SPAM


@pytest.fixture
def two_workers(new_relay: Callable[..., Relay], sink: SinkThread) -> Relay:
    made = new_relay(workers=2)
    made.add_tenant("acme", "client.test", sink.port)
    return made.start()


def established(pid: int, port: int) -> int:
    """How many connections to its `port` a process has."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[3] == "01" and row[1].endswith(f":{port:04X}")}
    names = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(f"socket:[{inode}]" in names for inode in inodes)


def test_counters_add_up_over_all_workers(two_workers: Relay, sink: SinkThread) -> None:
    relay = two_workers
    for number in range(CLEAN):
        assert relay.send(mail(f"clean {number}"))[0] == 250
    for number in range(INFECTED):
        assert relay.send(infected(f"infected {number}"))[0] == 250
    for number in range(SPAM):
        assert relay.send(spam(f"spam {number}"))[0] == 550
    assert relay.send(mail(), ["u@elsewhere.test"])[0] == 550

    page = relay.get("/metrics")[1]
    samples = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line[0] != "#"}
    expected = {
        "mailguard_messages_received_total": ALL,
        "mailguard_message_duration_seconds_count": ALL,
        "mailguard_message_size_bytes_count": ALL,
        'mailguard_smtp_connections_total{result="accepted"}': ALL + 1,
        'mailguard_smtp_data_replies_total{class="2xx"}': CLEAN + INFECTED,
        'mailguard_smtp_data_replies_total{class="5xx"}': SPAM,
        'mailguard_smtp_refusals_total{reason="unknown_domain",tenant=""}': 1,
        'mailguard_dispositions_total{disposition="delivered",tenant="acme"}': CLEAN,
        'mailguard_dispositions_total{disposition="quarantined",tenant="acme"}': INFECTED,
        'mailguard_dispositions_total{disposition="rejected",tenant="acme"}': SPAM,
        'mailguard_decisions_total{action="deliver",reason="clean"}': CLEAN,
        'mailguard_decisions_total{action="quarantine",reason="malware"}': INFECTED,
        'mailguard_decisions_total{action="reject",reason="spam_score"}': SPAM,
        "mailguard_malware_found_total": INFECTED,
        'mailguard_check_results_total{check="clamav",status="ok"}': ALL,
        'mailguard_check_duration_seconds_count{check="clamav"}': ALL,
        'mailguard_auth_results_total{method="spf",result="pass"}': ALL,
        'mailguard_delivery_attempts_total{purpose="cut_through",result="delivered",tenant="acme"}': CLEAN,
        'mailguard_stage_duration_seconds_count{stage="check"}': ALL,
        'mailguard_kept_mails{state="quarantined",tenant="acme"}': INFECTED,
        "mailguard_workers_ready": 2,
        "mailguard_clamd_up": 1,
        "mailguard_database_up": 1,
    }
    assert {name: samples.get(name) for name in expected} == expected
    size = len(mail("clean 0")) * 10 + len(mail("clean 10")) * (CLEAN - 10)
    assert samples['mailguard_disposition_bytes_total{disposition="delivered",tenant="acme"}'] == size
    connections = [samples[f'mailguard_next_hop_connections_total{{result="{how}"}}'] for how in ("new", "reused")]
    assert sum(connections) == CLEAN
    assert len(sink.messages) == CLEAN
    errors = {name: value for name, value in samples.items() if name.startswith("mailguard_errors_total") and value}
    assert errors == {}


def test_both_workers_take_connections_and_open_sessions_are_counted(two_workers: Relay) -> None:
    clients = [two_workers.client() for _ in range(20)]
    assert two_workers.metric("mailguard_smtp_sessions_open") == 20
    shares = [established(pid, two_workers.port) for pid in two_workers.worker_pids()]
    assert sum(shares) == 20
    assert min(shares) > 0
    for client in clients:
        client.quit()
    wait_until(lambda: two_workers.metric("mailguard_smtp_sessions_open") == 0, what="all sessions being over")


def test_a_worker_that_dies_is_replaced_and_no_counter_falls(two_workers: Relay) -> None:
    relay = two_workers
    for _ in range(4):
        assert relay.send(mail())[0] == 250
    clients = [relay.client() for _ in range(8)]
    before = relay.worker_pids()
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: relay.metric("mailguard_worker_restarts_total") == 1, what="the death being counted")
    wait_until(lambda: relay.metric("mailguard_workers_ready") == 2, what="the new worker")
    assert len(set(relay.worker_pids()) - set(before)) == 1
    assert relay.metric("mailguard_messages_received_total") == 4
    alive = 0
    for client in clients:
        with contextlib.suppress(smtplib.SMTPServerDisconnected, OSError):
            alive += client.noop()[0] == 250
    assert relay.metric("mailguard_smtp_sessions_open") == alive
    for _ in range(8):
        assert relay.send(mail())[0] == 250
    assert relay.metric("mailguard_messages_received_total") == 12


def test_prometheus_takes_the_page(two_workers: Relay) -> None:
    two_workers.send(mail())
    two_workers.send(infected())
    status, page = two_workers.get("/metrics")
    assert status == 200
    if shutil.which("promtool") is None:
        pytest.fail("promtool is not installed: `make test` installs what the tests need")
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_readiness_says_what_is_missing(tmp_path: Path, new_relay: Callable[..., Relay], sink: SinkThread) -> None:
    with private_clamd(tmp_path / "clamd") as clamd:
        relay = new_relay(clamd=clamd.address)
        relay.add_tenant("acme", "client.test", sink.port)
        relay.start()
        status, body = relay.get("/readyz")
        ready = json.loads(body)
        assert (status, ready["status"]) == (200, "ready")
        assert set(ready["checks"]) == {"database", "storage", "clamd", "workers"}

        clamd.stop()
        wait_until(lambda: relay.get("/readyz")[0] == 503, what="/readyz noticing")
        unready = json.loads(relay.get("/readyz")[1])
        assert unready["status"] == "unready"
        assert [name for name, check in unready["checks"].items() if not check["ok"]] == ["clamd"]
        assert clamd.address in unready["checks"]["clamd"]["detail"]
        assert relay.get("/healthz")[0] == 200
        assert relay.metric("mailguard_clamd_up") == 0
        assert relay.metric("mailguard_database_up") == 1

        clamd.start()
        wait_until(lambda: relay.get("/readyz")[0] == 200, what="/readyz noticing that it is back")
        assert relay.metric("mailguard_clamd_up") == 1


def test_readiness_notices_a_clamd_that_hangs(
    tmp_path: Path, new_relay: Callable[..., Relay], sink: SinkThread
) -> None:
    with private_clamd(tmp_path / "clamd") as clamd:
        relay = new_relay(clamd=clamd.address)
        relay.add_tenant("acme", "client.test", sink.port)
        relay.start()
        clamd.signal(signal.SIGSTOP)
        wait_until(lambda: relay.get("/readyz")[0] == 503, what="/readyz noticing")
        clamd.signal(signal.SIGCONT)
        wait_until(lambda: relay.get("/readyz")[0] == 200, what="/readyz noticing that it is back")


def test_a_relay_starts_without_its_scanner_but_is_not_ready(
    clamd: Clamd, new_relay: Callable[..., Relay], sink: SinkThread
) -> None:
    relay = new_relay(clamd="127.0.0.1:1")
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start(ready=False)
    assert relay.get("/readyz")[0] == 503
    code, text = relay.send(mail())
    assert (code, text[:5]) == (451, "4.3.0")
    assert sink.messages == []
