"""Large mail costs memory within bounds: one message at a time, and many at once."""

from __future__ import annotations

import base64
import functools
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.mails import below_our_block, mail
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]

MEBIBYTE = 1 << 20
LARGE = 49_900_000
"""Octets: a little less than the next hop takes."""


@functools.cache
def large(size: int, *, line: bytes = b"", name: str = "large") -> bytes:
    """A mail of `size` octets: with an attachment, or of one line again and again."""
    if line:
        head = mail(name, "text").removesuffix(b"text\r\n")
        return head + line * ((size - len(head)) // len(line))
    head = (
        f"From: a@sender.test\r\nTo: u@client.test\r\nSubject: {name}\r\nMessage-ID: <{name}@sender.test>\r\n"
        "Date: Tue, 01 Apr 2025 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        'Content-Disposition: attachment; filename="large.bin"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    ).encode()
    octets = random.Random(1).randbytes((size - len(head)) * 57 // 78 - 57)
    return head + b"".join(
        base64.b64encode(octets[at : at + 57]) + b"\r\n" for at in range(0, len(octets) // 57 * 57, 57)
    )


class Sender:
    """One connection of a client that sends large mail."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=240)
        self._file = self._socket.makefile("rb")
        self.hear()

    def hear(self) -> str:
        """The next reply's last line."""
        while True:
            line = self._file.readline()
            if line[3:4] != b"-":
                return line.decode().strip()

    def say(self, text: str) -> str:
        self._socket.sendall(text.encode() + b"\r\n")
        return self.hear()

    def envelope(self) -> None:
        assert self.say("EHLO mail.sender.test")[:3] == "250"
        assert self.say("MAIL FROM:<a@sender.test>")[:3] == "250"
        assert self.say("RCPT TO:<u@client.test>")[:3] == "250"

    def data(self, wire: bytes) -> str:
        """Send dot-stuffed data; the reply to it."""
        self.envelope()
        assert self.say("DATA")[:3] == "354"
        self._socket.sendall(wire + b".\r\n")
        return self.hear()

    def bdat(self, content: bytes, chunk: int) -> str:
        """Send the content in chunks, pipelined; the last reply."""
        self.envelope()
        starts = range(0, len(content), chunk)
        for start in starts:
            piece = content[start : start + chunk]
            last = " LAST" if start + chunk >= len(content) else ""
            self._socket.sendall(f"BDAT {len(piece)}{last}\r\n".encode())
            self._socket.sendall(piece)
        return [self.hear() for _ in starts][-1]

    def close(self) -> None:
        self._socket.close()


def anonymous(pid: int) -> int:
    """Octets of memory that are a process's own: what pages of files do not count to."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Peak:
    """The highest of what was looked at."""

    def __init__(self, start: int) -> None:
        self.start = self.octets = start

    @property
    def growth(self) -> int:
        return self.octets - self.start


@contextmanager
def watched(pids: Sequence[int]) -> Iterator[Peak]:
    """The peak of the processes' own memory together, looked at every few milliseconds."""

    def now() -> int:
        return sum(map(anonymous, pids))

    peak, done = Peak(now()), threading.Event()

    def watch() -> None:
        while not done.wait(0.003):
            peak.octets = max(peak.octets, now())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def warm_up(relay: Relay) -> None:
    """What the first mails cost alone: imports, caches, connections, threads."""
    for number in range(3):
        assert relay.send(mail(f"warm {number}", "x" * 100_000))[0] == 250


SHAPES: dict[str, Callable[[], bytes]] = {
    "attachment": lambda: large(LARGE),
    "short lines": lambda: large(LARGE, line=b"line\r\n"),
    "dots": lambda: large(LARGE, line=b"..\r\n"),
    "bare newlines": lambda: large(LARGE // 2 - 1000, line=b"x\n") + b"end\r\n",
}


@pytest.fixture
def unscanned(new_relay: Callable[..., Relay], sink: SinkThread) -> Relay:
    """A running relay without the virus scanner, which takes its time over large texts."""
    checks = '["spf", "dkim", "dmarc", "arc", "rules", "attachments"]'
    made = new_relay(environment={"MAILGUARD_CHECKS__ENABLED": checks})
    made.add_tenant("acme", "client.test", sink.port)
    return made.start()


def test_large_attachment_that_is_scanned_costs_150_mb_at_most(
    new_relay: Callable[..., Relay], sink: SinkThread
) -> None:
    relay = new_relay(environment={"MAILGUARD_CLAMAV__TIMEOUT": "90", "MAILGUARD_CHECKS__BUDGET": "100"})
    relay.add_tenant("acme", "client.test", sink.port)
    costs_little(relay.start(), sink, large(LARGE))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_large_message_costs_150_mb_at_most(unscanned: Relay, sink: SinkThread, shape: str) -> None:
    costs_little(unscanned, sink, SHAPES[shape]())


def costs_little(relay: Relay, sink: SinkThread, wire: bytes) -> None:
    """Send it as it goes over the wire: it arrives, and the worker's memory grows by 150 MB at most."""
    warm_up(relay)
    sender = Sender(relay.port)
    with watched(relay.worker_pids()) as peak:
        reply = sender.data(wire)
    sender.close()
    assert reply.startswith("250 2.0.0"), reply
    assert peak.growth <= 150 * MEBIBYTE, f"{peak.growth / MEBIBYTE:.0f} MB"
    content = wire.replace(b"\r\n..", b"\r\n.")
    if b"x\n" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert below_our_block(sink.messages[-1].content) == content


def test_large_message_by_bdat_costs_150_mb_at_most(unscanned: Relay, sink: SinkThread) -> None:
    warm_up(unscanned)
    content = large(LARGE)
    sender = Sender(unscanned.port)
    with watched(unscanned.worker_pids()) as peak:
        reply = sender.bdat(content, 3_000_000)
    sender.close()
    assert reply.startswith("250 2.0.0"), reply
    assert peak.growth <= 150 * MEBIBYTE, f"{peak.growth / MEBIBYTE:.0f} MB"
    assert below_our_block(sink.messages[-1].content) == content


def test_twenty_large_messages_at_once_wait_for_each_other(unscanned: Relay, sink: SinkThread) -> None:
    """Each of 20 clients sends 50 MB; a small mail beside them does not wait for its turn."""
    relay = unscanned
    warm_up(relay)
    content = large(LARGE)

    def send(_: int) -> str:
        sender = Sender(relay.port)
        try:
            return sender.data(content)
        finally:
            sender.close()

    with watched(relay.worker_pids()) as peak, ThreadPoolExecutor(20) as pool:
        large_ones = [pool.submit(send, number) for number in range(20)]
        small: list[float] = []
        while not all(one.done() for one in large_ones):
            started = time.monotonic()
            assert relay.send(mail(f"small {len(small)}"))[0] == 250
            small.append(time.monotonic() - started)
            time.sleep(0.2)
        replies = [one.result() for one in large_ones]
    assert [reply[:3] for reply in replies] == ["250"] * 20
    assert peak.growth <= 300 * MEBIBYTE, f"{peak.growth / MEBIBYTE:.0f} MB"
    assert max(small) < 20
    digests = [
        hashlib.sha256(below_our_block(one.content)).hexdigest() for one in sink.messages if len(one.content) > MEBIBYTE
    ]
    assert len(digests) == 20
    assert list((relay.root / "data").glob("*/tmp*")) == []
