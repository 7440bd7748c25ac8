"""The ledger under random use by two processes' stores: after every step its invariant holds."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import select

from mailguard.core.errors import ConflictError
from mailguard.core.events import TRANSITIONS, State
from mailguard.store import schema
from mailguard.store.blobs import FileBlobStore
from mailguard.store.bodies import unmark_in
from mailguard.store.claims import Claim, claim_in
from mailguard.store.consistency import check_in
from mailguard.store.db import Database
from mailguard.store.ledger import Move, begin_in, interrupt_dead_in, move_in
from mailguard.store.queue import give_back_in, reschedule_in
from tests.servers.postgres import Postgres
from tests.unit.store.conftest import ManualClock
from tests.unit.store.mail import a_message, a_move, a_unit

STORES = st.integers(0, 1)
TARGETS = st.sampled_from(sorted(State))
LEASE = 1_000


class LedgerMachine(RuleBasedStateMachine):
    """Keeps beside the ledger a plain dictionary of what each unit's state must be."""

    fresh_url: ClassVar[Callable[[], str]]
    units = Bundle("units")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        url = type(self).fresh_url()
        self.stores = [Database.open(url, clock=self.clock), Database.open(url, clock=self.clock)]
        self.folder = Path(tempfile.mkdtemp())
        self.blobs = FileBlobStore(self.folder)
        self.expected: dict[str, State] = {}

    def teardown(self) -> None:
        for store in self.stores:
            store.close_sync()
        shutil.rmtree(self.folder)

    @rule(
        target=units, store=STORES, states=st.lists(st.sampled_from(sorted(TRANSITIONS[None])), min_size=1, max_size=3)
    )
    def begin(self, store: int, states: list[State]):  # type: ignore[no-untyped-def]
        message = a_message(blob=True)
        self.blobs.put(message.id, [b"x"])
        new = [a_unit(state, number) for number, state in enumerate(states, 1)]
        self.stores[store].write_sync(lambda connection: begin_in(connection, message, new))
        made = {f"{message.id}-{number}": state for number, state in enumerate(states, 1)}
        self.expected |= made
        return multiple(*made)

    @rule(store=STORES, unit=units, to_state=TARGETS)
    def move(self, store: int, unit: str, to_state: State) -> None:
        if to_state not in TRANSITIONS[self.expected[unit]]:
            with pytest.raises(ConflictError):
                self.stores[store].write_sync(lambda connection: move_in(connection, [a_move(unit, to_state)]))
        elif self._body_there(unit, to_state):
            self.stores[store].write_sync(lambda connection: move_in(connection, [a_move(unit, to_state)]))
            self.expected[unit] = to_state

    @rule(unit=units, states=st.tuples(TARGETS, TARGETS))
    def move_at_once(self, unit: str, states: tuple[State, State]) -> None:
        """Two processes move the same unit, each from the state that both saw."""
        seen = self.expected[unit]
        if not all(self._body_there(unit, target) for target in states):
            return
        moves = [a_move(unit, target, expected=seen) for target in states]
        outcomes: list[bool | None] = [None, None]

        def attempt(store: int, move: Move) -> None:
            try:
                self.stores[store].write_sync(lambda connection: move_in(connection, [move]))
                outcomes[store] = True
            except ConflictError:
                outcomes[store] = False

        threads = [threading.Thread(target=attempt, args=pair) for pair in enumerate(moves)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        possible = [target in TRANSITIONS[seen] for target in states]
        assert sum(outcome is True for outcome in outcomes) == min(1, sum(possible))
        for target, outcome in zip(states, outcomes, strict=True):
            if outcome:
                self.expected[unit] = target

    @rule(store=STORES, pair=st.tuples(units, units), states=st.tuples(TARGETS, TARGETS))
    def move_two(self, store: int, pair: tuple[str, str], states: tuple[State, State]) -> None:
        """Both or neither."""
        if pair[0] == pair[1] or not all(map(self._body_there, pair, states)):
            return
        moves = [a_move(unit, target) for unit, target in zip(pair, states, strict=True)]
        if all(target in TRANSITIONS[self.expected[unit]] for unit, target in zip(pair, states, strict=True)):
            self.stores[store].write_sync(lambda connection: move_in(connection, moves))
            self.expected.update(zip(pair, states, strict=True))
        else:
            with pytest.raises(ConflictError):
                self.stores[store].write_sync(lambda connection: move_in(connection, moves))

    @rule(target=claims, store=STORES, limit=st.integers(1, 4))
    def claim(self, store: int, limit: int):  # type: ignore[no-untyped-def]
        work = self.stores[store].write_sync(
            lambda connection: claim_in(connection, f"w{store}", limit=limit, lease_ms=LEASE)
        )
        return multiple(*work)

    @rule(store=STORES, claim=consumes(claims), later=st.integers(0, 2 * LEASE))
    def reschedule(self, store: int, claim: Claim, later: int) -> None:
        at = self.clock.now + later
        self.stores[store].write_sync(lambda c: reschedule_in(c, [claim], due_at=at, reply="421 later"))

    @rule(store=STORES, claim=consumes(claims))
    def give_back(self, store: int, claim: Claim) -> None:
        self.stores[store].write_sync(lambda connection: give_back_in(connection, [claim]))

    @rule(store=STORES, claim=consumes(claims))
    def deliver(self, store: int, claim: Claim) -> None:
        """By the claim: only while its fence is the row's."""
        queue = schema.queue
        fence = select(queue.c.fence).where(queue.c.unit == claim.unit)
        ours = self.stores[store].read_sync(lambda c: c.scalar(fence)) == claim.fence
        move = Move(
            claim.unit, State.QUARANTINED, a_move(claim.unit, State.DELIVERED).reason, dequeue=True, fence=claim.fence
        )
        try:
            self.stores[store].write_sync(lambda connection: move_in(connection, [move]))
        except ConflictError:
            assert not ours
        else:
            assert ours
            self.expected[claim.unit] = State.QUARANTINED

    @rule(by=st.integers(1, 2 * LEASE))
    def wait(self, by: int) -> None:
        self.clock.advance(by)

    @rule(store=STORES)
    def interrupt_dead(self, store: int) -> None:
        self.stores[store].write_sync(lambda connection: interrupt_dead_in(connection, limit=2))
        states = schema.units.c
        found = self.stores[store].read_sync(
            lambda c: c.scalars(select(states.id).where(states.state == State.INTERRUPTED)).all()
        )
        for unit in found:
            assert self.expected[unit] in (State.FORWARDING, State.INTERRUPTED)
            self.expected[unit] = State.INTERRUPTED

    @rule(store=STORES)
    def release_bodies(self, store: int) -> None:
        for message in self.stores[store].write_sync(lambda connection: unmark_in(connection, limit=3)):
            self.blobs.delete(message)

    @invariant()
    def the_ledger_holds(self) -> None:
        assert self.stores[0].read_sync(lambda connection: check_in(connection, self.blobs)) == []

    @invariant()
    def every_unit_is_where_it_must_be(self) -> None:
        states = schema.units.c
        rows = self.stores[1].read_sync(lambda c: c.execute(select(states.id, states.state)).all())
        assert {row.id: State(row.state) for row in rows} == self.expected

    def _body_there(self, unit: str, target: State) -> bool:
        """Whoever moves a unit where its body is needed has stored it before."""
        return not target.keeps_body or self.blobs.exists(unit.partition("-")[0])


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_the_ledger_holds_whatever_happens(
    request: pytest.FixtureRequest, database: str, sqlite_template: Path, tmp_path: Path
) -> None:
    def copied() -> str:
        path = Path(tempfile.mkdtemp(dir=tmp_path)) / "mailguard.db"
        shutil.copy(sqlite_template, path)
        return f"sqlite:///{path}"

    if database == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        fresh = server.clean_database
    else:
        fresh = copied
    machine = type("Machine", (LedgerMachine,), {"fresh_url": staticmethod(fresh)})
    machine.TestCase.settings = settings(
        max_examples=15 if database == "sqlite" else 6,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase().runTest()
