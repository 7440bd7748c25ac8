"""Load with an id on every mail, and the account of it afterwards: what was accepted, what arrived, what the ledger says."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, func, select

from mailguard.core.events import State
from mailguard.store import schema
from mailguard.store.db import Database
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.servers.smtp_load import Load, Mail
from tests.servers.smtp_sink import Received, Say, Script

T = TypeVar("T")
CONNECTIONS = 8
RECIPIENTS = 2
"""At most, of one mail."""
QUEUE = 20
"""Mails that each worker's queue has under way at most ([queue] concurrency)."""

_ID = re.compile(rb"^X-MailGuard-Id: ([0-9A-Z]{26})\r$", re.MULTILINE)
_PATH = re.compile(r"<(.*?)>")


def recipients_of(number: int) -> list[str]:
    """Whom the mail with this number is for: every fifth is for recipients of two tenants."""
    return [f"u-{number}@client.test"] + [f"v-{number}@other.test"] * (number % 5 == 0)


def mails(seed: int) -> Iterator[Mail]:
    """Endless mail of 1 to 50 KB, numbered from 1."""
    dice = random.Random(seed)
    number = 0
    while True:
        number += 1
        recipients = recipients_of(number)
        head = f"From: a@sender.test\r\nTo: {recipients[0]}\r\nSubject: mail {number}\r\nMessage-ID: <{number}@sender.test>\r\n"
        body = "A line of text that says nothing in particular.\r\n" * dice.randint(20, 1000)
        yield Mail(str(number), f"{head}\r\n{body}".encode(), recipients=tuple(recipients))


class Hop:
    """How the next hop answers: every tenth mail must come twice, so that the queue has work too, and the 250 takes up to
    50 ms, so that there is always mail of which nobody knows whether it has arrived."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._seen: set[str] = set()
        self.script: dict[str, Script] = {"rcpt": self._rcpt, "content": self._content}

    def _content(self, _line: str) -> Say:
        return Say("250 2.0.0 Taken", delay=self._dice.uniform(0, 0.05))

    def _rcpt(self, line: str) -> str:
        number = re.search(r"-(\d+)@", line)
        if number and int(number[1]) % 10 == 0 and line not in self._seen:
            self._seen.add(line)
            return "450 4.7.1 Greylisted"
        return "250 2.1.5 Ok"


@contextmanager
def steady_load(port: int, *, seed: int) -> Iterator[Load]:
    """Send mail as fast as it is taken, in a thread of its own; at the end, wait until every mail has its last word.

    Like any sender, it sends again what it has no 250 for.
    """
    # Short connections: else all of them would soon be at the worker that was not killed.
    load = Load(port, connections=CONNECTIONS, retry=True, per_connection=10)
    thread = threading.Thread(target=lambda: asyncio.run(load.run(mails(seed))), daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join(60)
    assert not thread.is_alive(), "the senders have not come to an end"


class Unit(NamedTuple):
    """What the ledger has of one recipient of one message."""

    message: str
    recipient: str
    state: str


@dataclass(frozen=True)
class Account:
    """What came of a load. A delivery is a (message id, recipient) pair."""

    sent: int
    accepted: list[str]
    """Recipients of the mails that got a 250."""
    deliveries: list[tuple[str, str]]
    units: list[Unit]
    seconds: float

    @property
    def lost(self) -> list[str]:
        """Accepted, but not delivered."""
        arrived = {recipient for _message, recipient in self.deliveries}
        return sorted(set(self.accepted) - arrived)

    @property
    def duplicates(self) -> int:
        """Deliveries beyond one for each recipient."""
        return len(self.deliveries) - len({recipient for _message, recipient in self.deliveries})

    @property
    def states(self) -> Counter[str]:
        """How many units are in each state."""
        return Counter(unit.state for unit in self.units)

    def check(self, *, crashes: int, in_flight: int) -> None:
        """No mail lost; duplicates only of what was under way in a crash; and the ledger says what happened."""
        print(self)
        assert self.lost == []
        assert self.duplicates <= crashes * in_flight
        assert self.states.keys() <= {State.DELIVERED, State.INTERRUPTED}
        assert self.states[State.INTERRUPTED] <= crashes * CONNECTIONS * RECIPIENTS
        known = {(unit.message, unit.recipient): unit.state for unit in self.units}
        assert [delivery for delivery in self.deliveries if delivery not in known] == []
        arrived = set(self.deliveries)
        assert [unit for unit in known if known[unit] == State.DELIVERED and unit not in arrived] == []
        # An interrupted unit may have arrived: its sender had no 250, and came again.
        again = Counter(recipient for _message, recipient in known)
        assert [unit for unit in known if known[unit] == State.INTERRUPTED and again[unit[1]] < 2] == []

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return (
            f"{self.sent} mails in {self.seconds:.1f} s, {len(self.accepted)} recipients accepted, "
            f"{len(self.deliveries)} deliveries, {self.duplicates} of them duplicates; units: {states}"
        )


def account(relay: Relay, sink: SinkThread, load: Load, *, since: float) -> Account:
    """Wait until the queue is empty and nothing is being forwarded, then take stock. `since`: time.monotonic()."""
    wait_until(lambda: not unfinished(relay.database), seconds=180, what="the queue being drained")
    numbers = load.accepted
    assert len(numbers) == len(set(numbers))
    return Account(
        sent=len(load.answers),
        accepted=[recipient for number in numbers for recipient in recipients_of(int(number))],
        deliveries=[delivery for received in sink.messages for delivery in _deliveries(received)],
        units=_units(relay.database),
        seconds=time.monotonic() - since,
    )


def _deliveries(received: Received) -> list[tuple[str, str]]:
    stamp = _ID.search(received.wire)
    assert stamp, received.wire[:500]
    message = stamp[1].decode()
    return [(message, path[1]) for line in received.rcpts if (path := _PATH.search(line))]


def unfinished(url: str) -> int:
    """How many units are on their way: being forwarded, or in the queue."""
    moving = [State.FORWARDING, State.SPOOLED]
    count = select(func.count()).select_from(schema.units).where(schema.units.c.state.in_(moving))
    return int(_read(url, lambda connection: connection.scalar(count)) or 0)


def _units(url: str) -> list[Unit]:
    columns = schema.units.c
    rows = select(columns.message, columns.recipient_raw, columns.state)
    return _read(url, lambda connection: [Unit(*row) for row in connection.execute(rows)])


def _read(url: str, work: Callable[[Connection], T]) -> T:
    database = Database.open(url, readers=1)
    try:
        return database.read_sync(work)
    finally:
        database.close_sync()
