"""Histories of units for the tests of the meter: made up, stored as the ledger would, and with sensible rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, text
from sqlalchemy.engine import Connection

from mailguard.core.events import TRANSITIONS, EventKind, State
from mailguard.core.ids import unit_id
from mailguard.store import schema

MESSAGES = [f"01J{number:023d}" for number in range(4)]
SIZES = dict(zip(MESSAGES, (1_000, 20_000, 300_000, 7), strict=True))
RECIPIENTS = {1: "a@x.test", 2: "b@x.test", 3: "a+news@x.test"}
MAILBOXES = {1: "a@x.test", 2: "b@x.test", 3: "a@x.test"}
"""What they stand for, where nothing else is said."""


@dataclass(frozen=True)
class Walk:
    """One unit's life: its message, number, recipient and tenant, and the states it went through, with times."""

    message: str
    number: int
    recipient: int
    tenant: int
    steps: tuple[tuple[int, State], ...]
    probe: bool = False

    @property
    def unit(self) -> str:
        return unit_id(self.message, self.number)

    @property
    def moves(self) -> Iterator[tuple[int, State | None, State]]:
        before = None
        for at, state in self.steps:
            yield at, before, state
            before = state


def set_up(engine: Engine) -> None:
    """The rows that units refer to."""
    with engine.begin() as conn:
        if engine.dialect.name == "postgresql":  # the ids below are given, not drawn from it
            conn.execute(text("SELECT setval('addresses_id_seq', 100)"))
        conn.execute(insert(schema.tenants), [{"id": n, "name": f"t{n}", "created_at": 0} for n in (2, 3)])
        conn.execute(insert(schema.domains), [{"name": "x.test", "tenant": 2}])
        conn.execute(insert(schema.addresses), [{"id": n, "address": a} for n, a in RECIPIENTS.items()])
        for message in MESSAGES:
            conn.execute(
                insert(schema.messages).values(
                    id=message,
                    received_at=0,
                    client_ip="",
                    helo="",
                    mail_from=1,
                    mail_from_raw="",
                    size=SIZES[message],
                    sha256="",
                )
            )


def clear(conn: Connection) -> None:
    """Take all mail, and what was counted of it, out of the database."""
    for table in (
        schema.billing_months,
        schema.metered,
        schema.metered_recipients,
        schema.events,
        schema.units,
        schema.recipients,
        schema.verifications,
    ):
        conn.execute(delete(table))
    conn.execute(delete(schema.meta).where(schema.meta.c.key == "metered_up_to"))


def unit_row(walk: Walk) -> dict[str, object]:
    """The row of a unit in `units`."""
    return {
        "id": walk.unit,
        "message": walk.message,
        "tenant": walk.tenant,
        "recipient": walk.recipient,
        "recipient_raw": "",
        "domain": "x.test",
        "state": str(walk.steps[-1][1]),
        "reason": "clean",
        "action": "deliver",
        "received_at": 0,
        "changed_at": 0,
        "probe": walk.probe,
    }


def event_rows(walk: Walk, at: int, before: State | None, after: State) -> list[dict[str, object]]:
    """The STATE event of a move, and one that nothing is counted by."""
    row = {"at": at, "unit": walk.unit, "tenant": walk.tenant, "reason": "clean"}
    moved = {
        "kind": str(EventKind.STATE),
        "from_state": before and str(before),
        "to_state": str(after),
        "size": SIZES[walk.message],
    }
    other = {"kind": str(EventKind.ATTEMPT), "from_state": None, "to_state": None, "size": 99}
    return [row | moved, row | other]


def add(conn: Connection, walks: Iterable[Walk], rows: Iterable[dict[str, object]]) -> None:
    """Put units and events into the database, all at once."""
    for table, values in ((schema.units, [unit_row(walk) for walk in walks]), (schema.events, list(rows))):
        if values:
            conn.execute(insert(table), values)


def store(conn: Connection, walks: Iterable[Walk]) -> None:
    """Make `walks` all that ever happened."""
    clear(conn)
    walks = list(walks)
    add(conn, walks, [row for walk in walks for move in walk.moves for row in event_rows(walk, *move)])


@st.composite
def histories(draw: st.DrawFn, start: int, end: int) -> list[Walk]:
    """Up to 12 units of 4 messages for 2 tenants, whose lives begin between two times (ms UTC)."""
    walks = []
    for message in MESSAGES:
        for number in range(1, draw(st.integers(0, 3)) + 1):
            at = draw(st.integers(start, end))
            state: State = draw(st.sampled_from(sorted(TRANSITIONS[None])))
            steps = [(at, state)]
            while len(TRANSITIONS[state]) > 0 and draw(st.booleans()):
                state = draw(st.sampled_from(sorted(TRANSITIONS[state])))
                at += draw(st.sampled_from([0, 1, 86_400_000, 20 * 86_400_000]))
                steps.append((at, state))
            recipient, tenant = draw(st.sampled_from(sorted(RECIPIENTS))), draw(st.sampled_from([2, 3]))
            walks.append(Walk(message, number, recipient, tenant, tuple(steps), probe=draw(st.integers(0, 9)) == 0))
    return walks
