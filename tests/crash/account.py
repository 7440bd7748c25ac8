"""The account of a load: every mail that was accepted, by its id; what arrived of it, how often, and what the ledger says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, func, select

from mailguard.core.clock import SECOND, system_clock
from mailguard.core.events import State
from mailguard.core.verdict import CheckStatus
from mailguard.store import schema
from mailguard.store.db import Database
from mailguard.store.findings import findings_from_json
from tests.crash.load import is_infected, number_of, recipients_of
from tests.servers.smtp_load import Load
from tests.servers.smtp_sink import Received

T = TypeVar("T")
MOVING = (State.FORWARDING, State.SPOOLED, State.HELD)
ENDS = frozenset({State.DELIVERED, State.QUARANTINED, State.RELEASED})
"""Where mail comes to rest that was accepted."""
COMES_AGAIN = frozenset({State.INTERRUPTED, State.DEFERRED})
"""Where a unit comes to rest whose sender had no 250."""

_ID = re.compile(rb"^X-MailGuard-Id: ([0-9A-Z]{26})\r$", re.MULTILINE)
_PATH = re.compile(r"<(.*?)>")


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, by time.monotonic(): when the death was `noticed`, and when all was there again (`ended`).

    `bound`: how many deliveries may have been under way; 0: nothing that had mail in hand has died. `ids`: the units, or
    messages, on which a process died, when it died at a step.
    """

    kind: str
    noticed: float
    ended: float
    bound: int
    ids: tuple[str, ...] = ()


class Delivery(NamedTuple):
    """A message that arrived for a recipient."""

    message: str
    recipient: str
    at: float


class Unit(NamedTuple):
    """What the ledger has of one recipient of one message. `scanned`: the virus scanner has looked at it."""

    id: str
    message: str
    recipient: str
    state: str
    scanned: bool


@dataclass(frozen=True)
class Account:
    """What came of a load. `ledger` is what `mailguard ledger check --json` prints, `reconciled` what each start found."""

    attempts: int
    """How often the senders tried, connections that were refused included."""
    refused: list[str]
    accepted: list[str]
    """Recipients of the mails that got a 250."""
    deliveries: list[Delivery]
    infected: int
    """Infected messages that arrived."""
    units: list[Unit]
    kills: Sequence[Kill]
    ledger: Mapping[str, object]
    reconciled: list[dict[str, int]]
    seconds: float

    @property
    def lost(self) -> list[str]:
        """Accepted, but neither delivered nor, what is infected, in quarantine."""
        arrived = {delivery.recipient for delivery in self.deliveries}
        kept = {unit.recipient for unit in self.units if unit.state == State.QUARANTINED}
        return sorted(
            recipient
            for recipient in set(self.accepted)
            if recipient not in (kept if is_infected(number_of(recipient)) else arrived)
        )

    @property
    def states(self) -> Counter[str]:
        """How many units are in each state."""
        return Counter(unit.state for unit in self.units)

    @property
    def duplicates(self) -> list[Delivery]:
        """Deliveries that were not the last for their recipient: what was recorded of them was not known afterwards."""
        by_recipient: dict[str, list[Delivery]] = {}
        for delivery in sorted(self.deliveries, key=lambda delivery: delivery.at):
            by_recipient.setdefault(delivery.recipient, []).append(delivery)
        return [early for several in by_recipient.values() for early in several[:-1]]

    @property
    def duplicates_of(self) -> list[int]:
        """Of each kill: the duplicates it caused, being the first death of what had mail in hand after their arrival."""
        counts = [0] * len(self.kills)
        for early in self.duplicates:
            causes = (index for index, kill in enumerate(self.kills) if kill.bound and kill.noticed >= early.at)
            cause = next(causes, None)
            assert cause is not None, f"{early} came twice although nothing died"
            counts[cause] += 1
        return counts

    def check(self) -> None:
        """No mail lost, none passed unscanned; duplicates only of what was under way; and the ledger says what happened."""
        assert self.lost == []
        assert self.refused == []
        assert self.infected == 0
        assert [unit for unit in self.units if unit.state in ENDS and not unit.scanned] == []
        too_many = [
            (kill, count) for kill, count in zip(self.kills, self.duplicates_of, strict=True) if count > kill.bound
        ]
        assert too_many == []
        self._check_ledger()

    def _check_ledger(self) -> None:
        assert self.ledger == {"holds": True, "units": len(self.units), "discrepancies": []}
        assert [found for found in self.reconciled if any(found.values())] == []
        assert self.states.keys() <= ENDS | COMES_AGAIN
        known = {(unit.message, unit.recipient): unit.state for unit in self.units}
        arrived = {(delivery.message, delivery.recipient) for delivery in self.deliveries}
        assert sorted(arrived - known.keys()) == []
        delivered = {unit for unit, state in known.items() if state in (State.DELIVERED, State.RELEASED)}
        assert sorted(delivered - arrived) == []
        # Such a unit may have arrived or not: its sender had no 250, and came again.
        again = Counter(unit.recipient for unit in self.units)
        alone = [
            unit
            for unit in self.units
            if unit.state in COMES_AGAIN and number_of(unit.recipient) and again[unit.recipient] < 2
        ]
        assert alone == []

    def summary(self) -> dict[str, int]:
        """The figures: kills, the senders' attempts, recipients that were accepted, lost and delivered twice."""
        return {
            "kills": len(self.kills),
            "attempts": self.attempts,
            "accepted": len(self.accepted),
            "lost": len(self.lost),
            "duplicates": len(self.duplicates),
        }

    def __str__(self) -> str:
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(self.states.items()))
        figures = ", ".join(f"{value:,} {name}" for name, value in self.summary().items())
        lines = [f"{figures}, in {self.seconds:.0f} s; units: {states}"]
        by_kind: dict[str, list[int]] = {}
        for kill, count in zip(self.kills, self.duplicates_of, strict=True):
            by_kind.setdefault(kill.kind, []).append(count)
        lines += [
            f"    {kind}: {len(counts)} kills, {sum(counts)} duplicates, at most {max(counts)} of one"
            for kind, counts in sorted(by_kind.items())
        ]
        return "\n".join(lines)


def deliveries_of(messages: Iterable[Received]) -> list[Delivery]:
    """What a next hop took, by the id that the relay gave it."""
    return [
        Delivery(_message_of(received), path[1], received.at)
        for received in messages
        for line in received.rcpts
        if (path := _PATH.search(line))
    ]


def _message_of(received: Received) -> str:
    stamp = _ID.search(received.wire)
    assert stamp, received.wire[:500]
    return stamp[1].decode()


def accepted_of(load: Load) -> list[str]:
    """The recipients of what was accepted; each mail once."""
    numbers = load.accepted
    assert len(numbers) == len(set(numbers)), "a sender came again although it had its 250"
    return [recipient for number in numbers for recipient in recipients_of(int(number))]


class Books:
    """The ledger of a relay, read straight from its database: cheap enough to poll."""

    def __init__(self, url: str) -> None:
        self._database = Database.open(url, readers=1)

    def close(self) -> None:
        """Close the connections."""
        self._database.close_sync()

    def unfinished(self) -> int:
        """How many units are on their way: being forwarded, in the queue, or waiting for the scanner."""
        count = select(func.count()).select_from(schema.units).where(schema.units.c.state.in_(MOVING))
        return int(self._read(lambda connection: connection.scalar(count)) or 0)

    def postponed(self) -> int:
        """How many wait for more than half a minute, and not for an end of a lease: their next hop is thought to be down."""
        queue = schema.queue.c
        far = queue.due_at > system_clock() + 30 * SECOND
        count = select(func.count()).select_from(schema.queue).where(far, queue.due_at != queue.lease_until)
        return int(self._read(lambda connection: connection.scalar(count)) or 0)

    def states(self, ids: Sequence[str]) -> dict[str, str]:
        """The states of units, named by themselves or by their messages; by unit."""
        columns = schema.units.c
        rows = select(columns.id, columns.state).where(columns.id.in_(ids) | columns.message.in_(ids))
        return dict(self._read(lambda connection: [(row.id, row.state) for row in connection.execute(rows)]))

    def units_of(self, recipient: str, *, message: str = "") -> list[str]:
        """The ids of a recipient's units, of one message or of all."""
        columns = schema.units.c
        of = select(columns.id).where(columns.recipient_raw == recipient)
        rows = of.where(columns.message == message) if message else of
        return self._read(lambda connection: list(connection.scalars(rows)))

    def units(self) -> list[Unit]:
        """All units."""
        messages = schema.messages.c
        found = dict(
            self._read(
                lambda connection: [tuple(row) for row in connection.execute(select(messages.id, messages.findings))]
            )
        )
        scanned = {message: _is_scanned(findings) for message, findings in found.items()}
        columns = schema.units.c
        rows = select(columns.id, columns.message, columns.recipient_raw, columns.state)
        return self._read(lambda connection: [Unit(*row, scanned[row.message]) for row in connection.execute(rows)])

    def _read(self, work: Callable[[Connection], T]) -> T:
        return self._database.read_sync(work)


def _is_scanned(findings: str) -> bool:
    return any(
        result.check == "clamav" and result.status is CheckStatus.OK for result in findings_from_json(findings).results
    )
