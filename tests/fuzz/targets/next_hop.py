"""A transaction with a next hop that says anything at any time: who has the mail is known, and nothing is said twice."""

from __future__ import annotations

import asyncio
import re

from mailguard.core.envelope import Recipient
from mailguard.net.dot_stuffing import stuff_small
from mailguard.net.smtp_client import SMALL, SmtpConnection, Timeouts
from mailguard.net.smtp_handshake import Greeted
from mailguard.net.smtp_values import Capabilities, Sent, Stage, Transaction
from mailguard.net.smtp_wire import Wire as ClientWire
from tests.fuzz.step_loop import Wire, step_loop
from tests.fuzz.target import Input, Target

_POSITIVE = re.compile(rb"(?m)^2[0-9]{2}(?: |\r?$)")
_CONTENTS = (b"Subject: x\r\n\r\n.dot\r\n", b"x" * SMALL + b"\r\n.\r\nlarge\r\n")


class _Server:
    """What the next hop says, a part at a time, whenever there is nothing else to do."""

    def __init__(self, parts: list[bytes], content: bytes) -> None:
        self.loop = step_loop()
        self.others = asyncio.all_tasks(self.loop)
        self.said = bytearray()
        """By the client."""
        self.parts = parts
        self.content = content
        self.after_content = b""
        """What the server said after it had all of the content."""
        self.went_ahead = 0

    async def connect(self, offered: Capabilities, *, lmtp: bool) -> SmtpConnection:
        """A connection after EHLO."""
        self.wire = ClientWire()
        self.transport = Wire(self.loop, self.wire, self.said)
        self.wire.connection_made(self.transport)
        return SmtpConnection(Greeted(self.wire, offered, "", lmtp), timeouts=Timeouts())

    async def go_ahead(self) -> None:
        """The intent is durable."""
        assert not self.has_content, "the content before the go-ahead"
        self.went_ahead += 1

    @property
    def has_content(self) -> bool:
        """Whether the whole message has arrived, its end included."""
        return stuff_small([self.content]) in self.said or (b" LAST\r\n" + self.content) in self.said

    def speak(self) -> bool:
        """Say the next part, or hang up after the last; False when it has hung up."""
        if not self.parts:
            self.transport.lose()
            self.loop.settle()
            return False
        part = self.parts.pop(0)
        if self.has_content:
            self.after_content += part
        else:
            self.after_content = (self.after_content + part).rpartition(b"\n")[2]  # a line in the making
        if not self.transport.lost:
            self.wire.data_received(part)
        self.loop.settle()
        return True


def run(data: bytes) -> None:
    """Two transactions on one connection."""
    source = Input(data)
    choices, count = source.octet(), 1 + source.below(3)
    large = source.octet() == 255
    offered = Capabilities(True, bool(choices & 1), 0, True, True, True, False, True, bool(choices & 2))
    lmtp, asking, silent = bool(choices & 4), bool(choices & 8), bool(choices & 16)
    job = Transaction(
        "a@b.test",
        tuple(Recipient(f"u{number}@c.test", 1, "c.test") for number in range(count)),
        (_CONTENTS[large],),
        asking=asking,
    )
    server = _Server(source.rest().split(b"\0\0"), _CONTENTS[large])
    task = server.loop.create_task(server.connect(offered, lmtp=lmtp))
    server.loop.settle()
    connection = task.result()
    for _ in range(2):
        if not connection.usable:
            break
        server.said.clear()
        server.went_ahead = 0
        _transaction(server, connection, job, silent=silent)
    connection.abort()
    server.loop.settle()
    server.loop.pass_time(2000)
    assert asyncio.all_tasks(server.loop) <= server.others, "a task is left"


def _transaction(server: _Server, connection: SmtpConnection, job: Transaction, *, silent: bool) -> None:
    loop = server.loop
    deadline = loop.time() + 3000 if silent else float("inf")
    task = loop.create_task(connection.send(job, deadline=deadline, go_ahead=server.go_ahead))
    loop.settle()
    while not task.done() and server.parts:
        server.speak()
    if silent:
        loop.pass_time(5000)
    elif not task.done():
        server.speak()
    loop.settle()
    assert task.done(), "it waits for a server that is gone"
    sent = task.result()
    _check(server, job, sent)
    if sent.pending is not None:
        server.speak()
        loop.pass_time(5000)
        assert sent.pending.done()
        assert len(sent.pending.result()) == len(sent.unknown)


def _check(server: _Server, job: Transaction, sent: Sent) -> None:
    assert len(sent.answers) == len(job.recipients)
    assert bytes(server.said).startswith((b"MAIL FROM:<a@b.test>", b"RSET\r\n")) or not server.said
    assert server.said.count(b"MAIL FROM:") <= 1
    assert server.said.count(server.content) <= 1
    has_content = server.has_content
    assert not has_content or server.went_ahead == 1 or not server.content
    for answer in sent.answers:
        assert answer.detail.isprintable()
        positive = answer.reply is not None and answer.reply.code < 300
        if positive and answer.stage is Stage.CONTENT:
            assert has_content, "delivered without the content"
            assert _POSITIVE.search(server.after_content), "delivered, and nobody said so"
        elif positive:
            assert job.asking or answer.stage is not Stage.RCPT or not has_content
    if sent.unknown:
        assert sent.pending is not None
        assert has_content or len(server.content) > SMALL


_OK = b"250 2.1.0 Ok\r\n"
_ALL = _OK + _OK + b"354 go\r\n"
TARGET = Target(
    "next_hop",
    run,
    (
        b"\x01\x00\x00" + _ALL + b"\0\0250 2.0.0 taken\r\n\0\0" + _ALL + b"\0\0550 5.7.1 no\r\n",
        b"\x00\x00\x00" + b"\0\0".join((_OK, _OK, b"354 go\r\n", b"250 taken\r\n", _OK, b"550 5.1.1 unknown\r\n")),
        b"\x01\x02\x00" + _OK + b"550 5.1.1 a\r\n" + _OK + b"450 4.2.0 b\r\n354 go\r\n\0\0250 taken\r\n",
        b"\x05\x01\x00" + _OK * 3 + b"354 go\r\n\0\0250 a\r\n\0\0552 5.2.2 full\r\n",
        b"\x01\x00\x00" + _OK + b"550 no\r\n354 go\r\n\0\0554 no recipients\r\n" + _ALL,
        b"\x09\x01\x00" + _OK + _OK + b"550 5.1.1 no\r\n\0\0250 reset\r\n" + _OK * 3,
        b"\x11\x00\x00" + _ALL + b"\0\0",
        b"\x01\x00\x00421 4.3.2 closing\r\n",
        b"\x01\x00\x00" + _OK + _OK + b"250 not 354\r\n",
        b"\x01\x00\x00" + _ALL + b"250 early\r\n\0\0250 late\r\n",
        b"\x03\x00\xff" + _OK + _OK + b"\0\0250 chunk\r\n",
        b"\x01\x00\xff" + _ALL + b"\0\0552 5.3.4 too large\r\n",
        b"\x01\x00\x00no smtp\r\n",
        b"\x01\x00\x00" + b"250 x\r\n" * 30,
    ),
    tokens=(
        b"250 ok\r\n",
        b"250-",
        b"354 go\r\n",
        b"421 bye\r\n",
        b"550 5.1.1 no\r\n",
        b"450 later\r\n",
        b"\0\0",
        b"\r\n",
    ),
)
