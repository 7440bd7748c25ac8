"""Releasing: once, however often and from however many places; malware only by force; and what is recorded of it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from mailguard.core.clock import DAY
from mailguard.core.decision import Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.quarantine import hold
from mailguard.quarantine.release import Outcome, Release, release
from mailguard.store import schema, tenants, trace
from mailguard.store.db import Database
from mailguard.store.trace import TracedUnit
from tests.ledger_of import START, World


def try_release(
    world: World, *ids: str, db: Database | None = None, force: bool = False, again: bool = False, why: str = ""
) -> list[Release]:
    def work(conn: Connection) -> list[Release]:
        units = trace.look_up(conn, ids)
        now = world.db.now(conn)
        return release(conn, units, actor="ann", now=now, lifetime=5 * DAY, why=why, force=force, again=again)

    return (db or world.db).write_sync(work)


def unit_of(world: World, unit: str) -> TracedUnit:
    (found,) = world.db.read_sync(lambda conn: trace.with_events(conn, trace.look_up(conn, [unit])))
    return found


def test_a_released_mail_is_queued_with_who_when_and_why(world: World) -> None:
    (unit,) = world.mail()
    (result,) = try_release(world, unit, why="a customer")
    assert result.outcome is Outcome.RELEASING
    found = unit_of(world, unit)
    assert found.state == State.SPOOLED
    assert found.queue is not None
    assert (found.queue.purpose, found.queue.due_at, found.queue.expires_at) == ("release", START, START + 5 * DAY)
    event = found.events[-1]
    assert (event.from_state, event.to_state, event.reason, event.actor) == (
        "quarantined",
        "spooled",
        "released_by_admin",
        "ann",
    )
    assert event.detail == {"purpose": "release", "why": "a customer"}


def test_a_second_call_changes_nothing(world: World) -> None:
    (unit,) = world.mail()
    try_release(world, unit)
    before = unit_of(world, unit)
    assert try_release(world, unit)[0].outcome is Outcome.UNDER_WAY
    assert unit_of(world, unit) == before


def test_what_was_delivered_needs_again(world: World) -> None:
    (unit,) = world.mail()
    try_release(world, unit)
    world.move(unit, State.RELEASED)
    assert try_release(world, unit)[0].outcome is Outcome.RELEASED
    assert unit_of(world, unit).state == State.RELEASED
    assert try_release(world, unit, again=True)[0].outcome is Outcome.RELEASING
    assert unit_of(world, unit).events[-1].detail["again"] is True


def test_malware_needs_force_and_is_recorded_as_such(world: World) -> None:
    (unit,) = world.mail(reason=Reason.MALWARE, malware=["Eicar-Signature"])
    refused = try_release(world, unit, again=True)[0]
    assert (refused.outcome, refused.malware) == (Outcome.MALWARE, ("Eicar-Signature",))
    assert try_release(world, unit, force=True)[0].outcome is Outcome.RELEASING
    detail = unit_of(world, unit).events[-1].detail
    assert (detail["forced"], detail["malware"]) == (True, ["Eicar-Signature"])


def test_malware_still_needs_force_after_a_release_that_failed(world: World) -> None:
    (unit,) = world.mail(reason=Reason.MALWARE)  # no name was recorded: the reason alone must do
    try_release(world, unit, force=True)
    world.move(unit, State.QUARANTINED, reason=Reason.NEXT_HOP_REFUSED)
    assert try_release(world, unit)[0].outcome is Outcome.MALWARE


def test_force_is_not_recorded_where_it_was_not_needed(world: World) -> None:
    (unit,) = world.mail()
    try_release(world, unit, force=True)
    assert "forced" not in unit_of(world, unit).events[-1].detail


def test_what_waits_for_its_scan_needs_force_and_leaves_the_rescan(world: World) -> None:
    (unit,) = world.mail(State.HELD)
    assert try_release(world, unit)[0].outcome is Outcome.NOT_SCANNED
    assert try_release(world, unit, force=True)[0].outcome is Outcome.RELEASING
    queue = unit_of(world, unit).queue
    assert queue is not None
    assert queue.purpose == "release"


def test_what_cannot_be_delivered_is_left_alone(world: World) -> None:
    (gone,) = world.mail()
    (stray,) = world.mail(recipients=["joe@former.test"])
    world.db.write_sync(
        lambda conn: (
            conn.execute(update(schema.messages).where(schema.messages.c.id == gone[:26]).values(blob=False)).rowcount
        )
    )
    outcomes = {result.unit.id: result.outcome for result in try_release(world, gone, stray)}
    assert outcomes == {gone: Outcome.NO_BODY, stray: Outcome.NO_ROUTE}


def test_a_removed_tenants_mail_is_not_released(world: World) -> None:
    (unit,) = world.mail()
    world.db.write_sync(lambda conn: tenants.remove_tenant(conn, name="acme", now=START))
    assert try_release(world, unit)[0].outcome is Outcome.NO_ROUTE


@pytest.mark.parametrize("state", [State.DELIVERED, State.SPOOLED, State.REJECTED, State.DISCARDED, State.DELETED])
def test_only_kept_mail_is_released(world: World, state: State) -> None:
    start = {State.DELIVERED: State.FORWARDING, State.DELETED: State.QUARANTINED}.get(state, state)
    (unit,) = world.mail(start)
    if start is not state:
        world.move(unit, state)
    assert try_release(world, unit, force=True, again=True)[0].outcome is Outcome.NOT_KEPT
    assert unit_of(world, unit).state == state


def test_one_of_a_message_is_released_without_the_others(world: World) -> None:
    units = world.mail(recipients=["joe@acme.test", "ann@acme.test", "bob@acme.test"])
    try_release(world, units[1])
    assert [unit_of(world, unit).state for unit in units] == ["quarantined", "spooled", "quarantined"]
    rest = try_release(world, units[0][:26])  # the message's id: all of its units
    assert [result.outcome for result in rest] == [Outcome.RELEASING, Outcome.UNDER_WAY, Outcome.RELEASING]


def test_many_callers_at_once_release_once(world: World) -> None:
    """Each with a database connection of its own, as several shells, a digest's link and a console would be."""
    units = world.mail(recipients=[f"u{number}@acme.test" for number in range(5)])
    outcomes: list[Outcome] = []
    ready = threading.Barrier(6)

    def call() -> None:
        db = Database.open(world.url, readers=1, clock=world.clock)
        try:
            ready.wait()
            outcomes.extend(result.outcome for result in try_release(world, *units, db=db))
        finally:
            db.close_sync()

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [Outcome.RELEASING] * 5 + [Outcome.UNDER_WAY] * 25
    released = world.db.read_sync(
        lambda conn: conn.execute(
            select(func.count()).where(schema.events.c.reason == str(Reason.RELEASED_BY_ADMIN))
        ).scalar_one()
    )
    assert released == 5


CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("release"), st.booleans(), st.booleans()),
        st.sampled_from([("deliver",), ("fail",), ("delete",)]),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(calls=CALLS)
def test_whatever_is_called_each_release_is_delivered_once(world: World, calls: list[tuple[object, ...]]) -> None:
    """Deliveries never outnumber the calls that said they released, and the queue has a row only while one is under way."""
    (unit,) = world.mail()
    started = delivered = 0
    for call in calls:
        state = unit_of(world, unit).state
        if call[0] == "release":
            _, force, again = call
            (result,) = try_release(world, unit, force=bool(force), again=bool(again))
            started += result.outcome is Outcome.RELEASING
        elif call[0] == "deliver" and state == State.SPOOLED:
            world.move(unit, State.RELEASED)
            delivered += 1
        elif call[0] == "fail" and state == State.SPOOLED:
            world.move(unit, State.QUARANTINED, reason=Reason.NEXT_HOP_REFUSED)
            started -= 1
        elif call[0] == "delete" and state in hold.DELETABLE:
            world.db.write_sync(lambda conn: hold.delete(conn, trace.look_up(conn, [unit]), actor="ann"))
        found = unit_of(world, unit)
        assert (found.queue is not None) == (found.state == State.SPOOLED)
        assert started == delivered + (found.state == State.SPOOLED)


def test_delete_takes_all_or_none(world: World) -> None:
    (kept,), (sent,) = world.mail(), world.mail(State.FORWARDING)
    with pytest.raises(ConflictError, match=f"{sent} is forwarding"):
        world.db.write_sync(lambda conn: hold.delete(conn, trace.look_up(conn, [kept, sent]), actor="ann"))
    assert unit_of(world, kept).state == State.QUARANTINED
    world.db.write_sync(lambda conn: hold.delete(conn, trace.look_up(conn, [kept]), actor="ann", why="spam"))
    event = unit_of(world, kept).events[-1]
    assert (event.to_state, event.actor, event.detail) == ("deleted", "ann", {"why": "spam"})
