"""A QR code in a picture, over SMTP: its link is in header and trace, the sandbox is held, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.e2e.mails import arrived
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.unit.checks.qr_mails import code, mail, saved

LINK = "https://www.sender.test/ticket"


def children_of(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def sandbox_of(relay: Relay) -> list[int]:
    """What the relay's workers started for it, each followed by what it forked."""
    return [
        pid
        for worker in relay.worker_pids()
        for server in children_of(worker)
        if b"mailguard.sandbox.zygote" in Path(f"/proc/{server}/cmdline").read_bytes()
        for pid in (server, *children_of(server))
    ]


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def send(relay: Relay) -> None:
    text = "Your ticket is attached. All your orders: https://www.sender.test/orders"
    head = b"Date: Tue, 01 Apr 2025 10:00:00 +0000\r\nMessage-ID: <ticket@sender.test>\r\n"
    raw = mail(("code.png", saved(code(LINK))), sender="a@sender.test", subject="Your ticket", text=text)
    status, reply = relay.send(head + raw)
    assert status == 250, reply


def test_a_code_is_read_and_the_relay_leaves_no_process_behind(relay: Relay, sink: SinkThread) -> None:
    started = 'mailguard_sandbox_processes_started_total{protection="limits"}'
    wait_until(lambda: relay.metric(started) == 1, what="the process that is there before the first mail")
    server, prepared = sandbox_of(relay)
    send(relay)
    (received,) = arrived(sink, "u@client.test")
    assert b"QR_CODE_LINK" in received.content
    ours = re.search(rb"X-MailGuard-Id: ([0-9A-Z]{26})", received.content)
    assert ours is not None
    trace = relay.run("trace", "--id", ours[1].decode()).stdout
    assert LINK in trace
    assert "docs/checks/qr.md" in trace
    assert relay.metric('mailguard_sandbox_jobs_total{function="codes.picture",result="ok"}') == 1
    assert relay.metric(started) == 1
    assert '"sandbox_protected"' in relay.log
    assert sandbox_of(relay) == [server, prepared]
    for pid in (server, prepared):
        assert (Path(f"/proc/{pid}").stat().st_uid != os.getuid()) == (os.geteuid() == 0)
    assert relay.stop() == 0
    assert not is_there(server)
    assert not is_there(prepared)


def test_a_sandbox_dies_with_its_worker(relay: Relay, sink: SinkThread) -> None:
    send(relay)
    arrived(sink, "u@client.test")
    pids = sandbox_of(relay)
    assert len(pids) >= 2
    for worker in relay.worker_pids():
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not any(map(is_there, pids)), what="the sandbox's end")
