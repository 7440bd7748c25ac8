"""`mailguard queue`, `trace`, `usage` and `ledger check` on mail in every state."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, update

from mailguard.core.clock import DAY
from mailguard.core.events import State
from mailguard.store import schema, trace
from mailguard.store.claims import claim_in
from mailguard.store.queue import NEVER
from mailguard.store.trace import TracedUnit
from tests.ledger_of import World
from tests.unit.cli.conftest import Run


def unit_of(world: World, unit: str) -> TracedUnit:
    (found,) = world.db.read_sync(lambda conn: trace.with_events(conn, trace.look_up(conn, [unit])))
    return found


def due_at(world: World, unit: str) -> int:
    queue = unit_of(world, unit).queue
    assert queue is not None
    return queue.due_at


def postpone(world: World, unit: str) -> int:
    later = world.db.read_sync(world.db.now) + DAY
    world.db.write_sync(
        lambda conn: (
            conn.execute(
                update(schema.queue).where(schema.queue.c.unit == unit).values(due_at=later, last_reply="451 busy")
            ).rowcount
        )
    )
    return later


def test_list_and_show(mailguard: Run, world: World) -> None:
    assert mailguard("queue", "list").out == "the queue is empty\n"
    (spooled,) = world.mail(State.SPOOLED)
    (parked,) = world.mail(State.SPOOLED, recipients=["ann@acme.test"])
    world.move(parked, State.PARKED)
    world.mail()
    postpone(world, spooled)
    listed = mailguard("queue", "list", "--json").json
    assert [(unit["id"], unit["state"]) for unit in listed] == [(spooled, "spooled"), (parked, "parked")]
    assert listed[0]["queue"]["last_reply"] == "451 busy"
    assert listed[1]["queue"] is None
    assert "451 busy" in mailguard("queue", "list").out
    assert [unit["id"] for unit in mailguard("queue", "list", "--to", "ann@acme.test", "--json").json] == [parked]
    assert "queued for forward" in mailguard("queue", "show", spooled).out


def test_retry_makes_it_due_and_is_recorded(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.SPOOLED)
    later = postpone(world, unit)
    assert mailguard("queue", "retry", unit).code == 0
    assert due_at(world, unit) < later
    event = unit_of(world, unit).events[-1]
    assert (event.kind, event.actor, event.detail) == ("note", "ann", {"queue": "retry"})


def test_retry_takes_parked_mail_back_for_what_it_was_queued_for(mailguard: Run, world: World) -> None:
    (forward,), (release,) = world.mail(State.SPOOLED), world.mail()
    assert mailguard("quarantine", "release", release).code == 0
    for unit in (forward, release):
        world.move(unit, State.PARKED)
    assert mailguard("queue", "retry", "--all", "--tenant", "acme").code == 0
    purposes = []
    for unit in (forward, release):
        queue = unit_of(world, unit).queue
        assert queue is not None
        purposes.append(queue.purpose)
    assert purposes == ["forward", "release"]
    assert mailguard("ledger", "check").code == 0


def test_hold_and_unhold(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.SPOOLED)
    assert mailguard("queue", "hold", unit).code == 0
    assert due_at(world, unit) == NEVER
    assert world.db.write_sync(lambda conn: claim_in(conn, "w", limit=10, lease_ms=1000)) == []
    assert mailguard("queue", "list", "--json").json[0]["queue"]["held"] is True
    assert "on hold" in mailguard("queue", "list").out
    done = mailguard("queue", "retry", unit)
    assert done.code == 1
    assert "unhold" in done.out
    assert mailguard("queue", "hold", unit).code == 0  # it is held: that is what was wanted
    assert mailguard("queue", "unhold", unit).code == 0
    assert mailguard("queue", "unhold", unit).code == 1
    assert len(world.db.write_sync(lambda conn: claim_in(conn, "w", limit=10, lease_ms=1000))) == 1


def test_cancel_takes_it_out_for_good(mailguard: Run, world: World) -> None:
    (unit,), (held,) = world.mail(State.SPOOLED), world.mail(State.HELD)
    done = mailguard("queue", "cancel", unit, held, "--why", "wrong list")
    assert done.code == 1
    assert "quarantine delete" in done.out
    assert [unit_of(world, one).state for one in (unit, held)] == ["cancelled", "held"]
    event = unit_of(world, unit).events[-1]
    assert (event.actor, event.detail) == ("ann", {"why": "wrong list"})
    assert mailguard("queue", "cancel", unit).code == 1
    assert mailguard("ledger", "check").code == 0


@pytest.mark.parametrize("command", ["retry", "hold", "unhold", "cancel"])
def test_what_is_being_delivered_is_left_alone(mailguard: Run, world: World, command: str) -> None:
    (unit,) = world.mail(State.SPOOLED)
    (claim,) = world.db.write_sync(lambda conn: claim_in(conn, "worker", limit=1, lease_ms=60_000))
    before = unit_of(world, unit)
    done = mailguard("queue", command, unit)
    assert done.code == 1
    assert "is being delivered at this moment" in done.out
    assert unit_of(world, unit) == before
    assert claim.unit == unit
    assert mailguard("queue", "list", "--json").json[0]["queue"]["standing"] == "under_way"
    assert "under way" in mailguard("queue", "list").out


@pytest.mark.parametrize("command", ["retry", "hold", "unhold", "cancel"])
def test_which_mail_must_be_said_clearly(mailguard: Run, world: World, command: str) -> None:
    (unit,) = world.mail(State.SPOOLED)
    for arguments in ((), ("--all",), (unit, "--all"), (unit, "--tenant", "acme")):
        assert mailguard("queue", command, *arguments).code == 2, arguments
    assert mailguard("queue", command, "nonsense").code == 1
    assert unit_of(world, unit).state == "spooled"


def test_trace_tells_the_whole_story(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.FORWARDING)
    world.move(unit, State.SPOOLED, State.DELIVERED)
    world.db.write_sync(
        lambda conn: conn.execute(
            insert(schema.refusals).values(
                at=world.db.now(conn), reason="unknown_domain", code=550, reply="550 5.7.1 \x1b[31mNo", client_ip="192.0.2.9",
                helo="h", count=40,
            )
        ).rowcount
    )  # fmt: skip
    out = mailguard("trace", "--to", "joe@acme.test", "--from", "eve@evil.test").out
    assert "forwarding → spooled" in out
    assert "spooled → delivered" in out
    assert "deliver" in out
    assert "40 more refused at that time" in out
    rows = mailguard("trace", "--json").json
    assert [(row["type"], row["state"]) for row in rows] == [("mail", "delivered"), ("refusal", "refused")]
    assert [event["to_state"] for event in rows[0]["events"]] == ["forwarding", "spooled", "delivered"]
    out = mailguard("trace").out
    assert "refused at the door (40 in all from then on)" in out
    assert "\x1b" not in out
    assert [row["id"] for row in mailguard("trace", "--id", unit[:26], "--json").json] == [unit]
    assert [row["id"] for row in mailguard("trace", "--message-id", "1@evil.test", "--json").json] == [unit]
    assert mailguard("trace", "--id", "nonsense").code == 2
    assert mailguard("trace", "--to", "nobody@acme.test", "--since", "1h", "--json").json == []


def test_usage_as_table_json_and_csv(mailguard: Run, world: World) -> None:
    world.mail(recipients=["a@acme.test", "b@acme.test"], raw=b"x" * 1000)
    (unit,) = world.mail(State.FORWARDING, raw=b"x" * 10)
    world.move(unit, State.DELIVERED)
    month = datetime.now(UTC).strftime("%Y-%m")
    usage = mailguard("usage", "--month", month, "--json").json
    assert usage["time_zone"] == "UTC"
    (tenant,) = usage["tenants"]
    assert tenant["tenant"] == "acme"
    assert tenant["received"] == {"units": 3, "messages": 2, "bytes": 1010}
    assert tenant["quarantined"] == {"units": 2, "messages": 1, "bytes": 1000}
    assert tenant["delivered"] == {"units": 1, "messages": 1, "bytes": 10}
    assert tenant["active_recipients"] == 1
    (row,) = csv.DictReader(mailguard("usage", "--month", month, "--csv").out.splitlines())
    assert (row["tenant"], row["received_units"], row["delivered_bytes"]) == ("acme", "3", "10")
    assert "3 (1.0 kB)" in mailguard("usage", "--month", month).out
    assert mailguard("usage", "--month", "2001-01", "--json").json["tenants"] == []
    empty = mailguard("usage", "--month", "2001-01", "--tenant", "acme", "--json").json["tenants"]
    assert empty[0]["received"] == {"units": 0, "messages": 0, "bytes": 0}
    assert mailguard("usage", "--month", "2026-13").code == 2
    assert mailguard("usage", "--month", month, "--tenant", "nobody").code == 1


def test_ledger_check_names_what_does_not_hold(mailguard: Run, world: World) -> None:
    (unit,) = world.mail()
    done = mailguard("ledger", "check")
    assert (done.code, done.out) == (0, "the ledger holds: 1 accepted recipients, each in exactly one state\n")
    world.db.write_sync(
        lambda conn: (
            conn.execute(
                update(schema.units).where(schema.units.c.id == unit).values(state=str(State.DELIVERED))
            ).rowcount
        )
    )
    done = mailguard("ledger", "check", "--json")
    assert done.code == 1
    assert done.json["holds"] is False
    assert unit in {discrepancy["subject"] for discrepancy in done.json["discrepancies"]}
