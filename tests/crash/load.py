"""Steady load with a number on every mail, from senders that come again until they have an answer; and how the next hop answers."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.servers.clamd import EICAR
from tests.servers.smtp_load import Load, Mail
from tests.servers.smtp_sink import HANG_UP, Received, Say, Script, SmtpSink

CONNECTIONS = 8
RECIPIENTS = 2
"""At most, of one mail."""
PAUSE = 0.25
"""Seconds that each sender rests between two mails, or two tries: a steady load that leaves room to start processes."""
PATIENCE = 180
"""Seconds that anything is waited for, on a machine that has much else to do."""
HEADER = 4096
"""Octets that are kept of what arrives."""

_NUMBER = re.compile(r"[uv]-(\d+)@")


def number_of(recipient: str) -> int:
    """The number of the mail that a recipient is of; 0: it is no mail of the load."""
    found = _NUMBER.search(recipient)
    return int(found[1]) if found else 0


def recipients_of(number: int) -> list[str]:
    """Whom the mail with this number is for: every fifth is for recipients of two tenants."""
    return [f"u-{number}@client.test"] + [f"v-{number}@other.test"] * (number % 5 == 0)


def is_infected(number: int) -> bool:
    """Every eleventh mail: it must be quarantined, and never arrive."""
    return number % 11 == 3


def comes_twice(number: int) -> bool:
    """Every tenth mail, or each of its copies: the next hop takes it when it comes again, so the queue has work too."""
    return number % 10 == 0


def mails(seed: int) -> Iterator[Mail]:
    """Endless mail of 1 to 30 KB, numbered from 1."""
    dice = random.Random(seed)
    number = 0
    while True:
        number += 1
        recipients = recipients_of(number)
        head = f"From: a@sender.test\r\nTo: {recipients[0]}\r\nSubject: mail {number}\r\nMessage-ID: <{number}@sender.test>\r\n"
        text = "A line of text that says nothing in particular.\r\n" * dice.randint(20, 600)
        body = EICAR.decode() + "\r\n" if is_infected(number) else text
        yield Mail(str(number), f"{head}\r\n{body}".encode(), recipients=tuple(recipients))


class Hop:
    """How the next hop answers. The 250 takes up to 50 ms, so that there is always mail of which nobody knows whether it has
    arrived. `infected` counts what should not have.

    `strike` is asked, while it is set, when a message has come and has no reply yet; when it says that it has struck, the
    hop never replies.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._seen: set[str] = set()
        self.sink: SmtpSink | None = None
        self.infected = 0
        self.strike: Callable[[Received], bool] | None = None
        self.script: dict[str, Script] = {"rcpt": self._rcpt, "content": self._content}

    def _content(self, _line: str) -> Say:
        assert self.sink is not None
        received = self.sink.messages[-1]
        self.infected += EICAR in received.wire
        received.wire = received.wire[:HEADER]
        if self.strike is not None and self.strike(received):
            self.strike = None
            return HANG_UP
        return Say("250 2.0.0 Taken", delay=self._dice.uniform(0, 0.05))

    def _rcpt(self, line: str) -> str:
        if comes_twice(number_of(line) or 1) and line not in self._seen:
            self._seen.add(line)
            return "450 4.7.1 Greylisted"
        return "250 2.1.5 Ok"


@contextmanager
def steady_load(port: int, *, seed: int) -> Iterator[Load]:
    """Send mail in a thread of its own; at the end, wait until every mail has its last word.

    Like any sender, it sends again what it has no 250 for.
    """
    # Short connections: else all of them would soon be at the worker that was not killed.
    load = Load(port, connections=CONNECTIONS, retry=True, per_connection=10, pause=PAUSE, retry_pause=PAUSE)
    thread = threading.Thread(target=lambda: asyncio.run(load.run(mails(seed))), daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive(), "the senders have not come to an end"
