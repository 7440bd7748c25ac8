"""Counting MailEvents: each is counted once, in the order of their ids, so that what was counted need not be read again.

The unit of counting is the ledger's: one message for one recipient. Mail of `mailguard probe` counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from sqlalchemy import ColumnElement, case, literal_column, select
from sqlalchemy.engine import Connection

from mailguard.core.events import EventKind, State
from mailguard.core.ids import MESSAGE_ID_LENGTH
from mailguard.store import schema
from mailguard.store.metered import Count, RecipientCount

AT_ONCE = 5_000
"""Steps that are counted in one go, where nobody waits."""
_CHUNK = 500

MonthOf = Callable[[int, int], str | None]
"""The month of an event by its time and id; None: none that is asked for."""
CountKey = tuple[str, int, str]
"""Month, tenant, and what is counted."""
RecipientKey = tuple[str, int, int]
"""Month, tenant, and the id of the recipient's address."""


@dataclass(frozen=True, slots=True)
class Step:
    """A STATE event, as far as it is counted by."""

    id: int
    at: int
    unit: str
    tenant: int
    before: str | None
    after: str
    size: int
    recipient: int
    original_of: str = ""

    @property
    def message(self) -> str:
        """The message's id."""
        return self.unit[:MESSAGE_ID_LENGTH]

    @property
    def mail(self) -> str:
        """The unit that is billed: a mail that was delivered stripped and its original are one."""
        return self.original_of or self.unit


BILLED = frozenset({State.DELIVERED, State.RELEASED})
"""What a mailbox is billed for."""

COUNTS: Mapping[str, Callable[[Step], bool]] = MappingProxyType(
    {
        "received": lambda step: step.before is None and not step.original_of,
        "delivered": lambda step: step.after == State.DELIVERED,
        # Out of the queue into quarantine comes only a release that failed.
        "quarantined": lambda step: (
            step.after == State.QUARANTINED and step.before != State.SPOOLED and not step.original_of
        ),
        "rejected": lambda step: step.after == State.REJECTED,
        "deferred": lambda step: step.after == State.DEFERRED,
        "released": lambda step: step.after == State.RELEASED,
    }
)
"""Which steps each count takes in, in the order of the report."""


@dataclass(slots=True)
class Tally:
    """What was counted of some events."""

    counts: dict[CountKey, Count] = field(default_factory=dict)
    recipients: dict[RecipientKey, RecipientCount] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add what was counted of later events."""
        for key, counted in other.counts.items():
            self.counts[key] = self.counts.get(key, Count()) + counted
        for place, recipient in other.recipients.items():
            mine = self.recipients.get(place)
            self.recipients[place] = recipient if mine is None else mine + recipient


def tally(steps: Sequence[Step], earlier: Sequence[Step], month_of: MonthOf) -> Tally:
    """Count `steps`. `earlier`: all steps before them of the same messages, which tell what was counted already. Pure."""
    result = Tally()
    messages: set[tuple[CountKey, str]] = set()
    units: set[tuple[str, str]] = set()
    for step in earlier:
        month = month_of(step.at, step.id)
        if month is None:
            continue
        messages.update(((month, step.tenant, name), step.message) for name, takes in COUNTS.items() if takes(step))
        if step.after in BILLED:
            units.add((month, step.mail))
    for step in steps:
        month = month_of(step.at, step.id)
        if month is None:
            continue
        for name, takes in COUNTS.items():
            if takes(step):
                key = (month, step.tenant, name)
                first = (key, step.message) not in messages
                messages.add((key, step.message))
                one = Count(1, int(first), step.size if first else 0)
                result.counts[key] = result.counts.get(key, Count()) + one
        if step.after in BILLED and (month, step.mail) not in units:
            units.add((month, step.mail))
            place = (month, step.tenant, step.recipient)
            billed = RecipientCount(1, step.size, step.mail, step.at)
            mine = result.recipients.get(place)
            result.recipients[place] = billed if mine is None else mine + billed
    return result


def count_events(
    conn: Connection, after: int, *, until: int | None, month_of: MonthOf, at_once: int = AT_ONCE
) -> Iterator[tuple[int, Tally]]:
    """Count the events beyond the id `after`, up to `until` or to the last, in parts of `at_once` steps.

    With each part the id that it reaches to.
    """
    more = until is None or after < until
    while more:
        steps = _steps(conn, after, until, at_once)
        more = len(steps) == at_once
        if not more and until is not None:
            reached = until
        elif steps:
            reached = steps[-1].id
        else:
            return
        messages = list(dict.fromkeys(step.message for step in steps))
        yield reached, tally(steps, _earlier(conn, messages, after), month_of)
        after = reached


def _steps(conn: Connection, after: int, until: int | None, limit: int) -> list[Step]:
    """The next STATE events in the order of their ids, `limit` of them at most."""
    events = schema.events
    query = _STEPS.where(events.c.id > after)
    if until is not None:
        query = query.where(events.c.id <= until)
    return [Step(*row) for row in conn.execute(query.order_by(events.c.id).limit(limit))]


def _earlier(conn: Connection, messages: Sequence[str], until: int) -> list[Step]:
    """The STATE events of messages up to the id `until`."""
    found: list[Step] = []
    if until <= 0:
        return found
    for start in range(0, len(messages), _CHUNK):
        chosen = schema.units.c.message.in_(messages[start : start + _CHUNK])
        found += [Step(*row) for row in conn.execute(_STEPS.where(chosen, schema.events.c.id <= until))]
    return found


BILLED_UNIT: ColumnElement[str] = case(
    # A literal: as a parameter, PostgreSQL could not tell that a grouped expression is the selected one.
    (schema.units.c.original_of != literal_column("''"), schema.units.c.original_of),
    else_=schema.units.c.id,
)
"""Step.mail, of units."""

_STEPS = (
    select(
        schema.events.c.id,
        schema.events.c.at,
        schema.events.c.unit,
        schema.events.c.tenant,
        schema.events.c.from_state,
        schema.events.c.to_state,
        schema.events.c.size,
        schema.units.c.recipient,
        schema.units.c.original_of,
    )
    .join(schema.units, schema.units.c.id == schema.events.c.unit)
    .where(schema.events.c.kind == EventKind.STATE.value, schema.units.c.probe.is_(False))
)
