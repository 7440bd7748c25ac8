"""Finding kept mail, and recording who looked at it."""

from __future__ import annotations

import pytest

from mailguard.core.clock import DAY
from mailguard.core.decision import Reason
from mailguard.core.errors import NotFoundError
from mailguard.core.events import State
from mailguard.quarantine import hold
from mailguard.quarantine.hold import HoldQuery
from mailguard.store import trace
from tests.ledger_of import START, World


def found(world: World, query: HoldQuery) -> list[str]:
    return [unit.id for unit in world.db.read_sync(lambda conn: hold.search(conn, query))]


def test_the_quarantine_is_what_is_kept_from_its_recipients(world: World) -> None:
    (spam,), (held,) = world.mail(), world.mail(State.HELD, received_at=START + 1)
    world.mail(State.SPOOLED)
    world.mail(State.REJECTED)
    (undeliverable,) = world.mail(State.SPOOLED, received_at=START + 2)
    world.move(undeliverable, State.UNDELIVERABLE)
    assert found(world, HoldQuery()) == [spam, held, undeliverable]


def test_mail_of_the_probe_is_listed_when_asked_for_and_never_counted(world: World) -> None:
    (spam,), (probe,) = world.mail(), world.mail(probe=True, received_at=START + 1)
    assert found(world, HoldQuery()) == [spam]
    assert found(world, HoldQuery(probes=True)) == [spam, probe]
    assert world.db.read_sync(hold.totals)[0][1:3] == ("quarantined", 1)


def test_filters(world: World) -> None:
    (spam,) = world.mail(received_at=START - 9 * DAY)
    (malware,) = world.mail(reason=Reason.MALWARE, recipients=["Ann@ACME.test"], mail_from="Bob@Other.test")
    (bounce,) = world.mail(mail_from="", recipients=["bob@acme.test"], received_at=START + 1)
    for query, expected in (
        (HoldQuery(reason=Reason.MALWARE), [malware]),
        (HoldQuery(since=START - DAY), [malware, bounce]),
        (HoldQuery(until=START), [spam]),
        (HoldQuery(recipient="ann@acme.test"), [malware]),
        (HoldQuery(recipient="@acme.test"), [spam, malware, bounce]),
        (HoldQuery(recipient="other.test"), []),
        (HoldQuery(sender="bob@other.test"), [malware]),
        (HoldQuery(sender="other.test"), [malware]),
        (HoldQuery(sender="evil.test"), [spam, malware, bounce]),  # by the From field
        (HoldQuery(sender="<>"), [bounce]),
        (HoldQuery(tenant=world.tenant), [spam, malware, bounce]),
        (HoldQuery(tenant=99), []),
        (HoldQuery(limit=1), [bounce]),
        (HoldQuery(recipient="%@acme.test"), []),
        (HoldQuery(sender="%"), []),
    ):
        assert found(world, query) == expected, query


def test_only_a_filter_names_something() -> None:
    assert not HoldQuery(limit=5).names_something
    assert HoldQuery(tenant=0).names_something
    assert HoldQuery(since=1).names_something


def test_ids_are_looked_up_and_never_guessed(world: World) -> None:
    units = world.mail(recipients=["a@acme.test", "b@acme.test"])
    message = units[0][:26]
    look_up = lambda *ids: [unit.id for unit in world.db.read_sync(lambda conn: trace.look_up(conn, ids))]  # noqa: E731
    assert look_up(message) == units
    assert look_up(units[1].lower(), message, units[1]) == [units[1], units[0]]
    for wrong in ("../../etc/passwd", "", "01J", f"{message}-3", f"{message}-0", f"{message}\n"):
        if wrong.strip() != message:
            with pytest.raises(NotFoundError):
                look_up(wrong)


def test_a_message_id_means_its_kept_units_and_only_without_any_all_of_them(world: World) -> None:
    units = world.mail(recipients=["a@acme.test", "b@acme.test"])
    world.move(units[0], State.DELETED)

    def choose() -> list[str]:
        states = hold.IN_QUARANTINE
        return [unit.id for unit in world.db.read_sync(lambda conn: trace.choose(conn, [units[0][:26]], states=states))]

    assert choose() == [units[1]]
    world.move(units[1], State.DELETED)
    assert choose() == units


def test_an_access_is_in_the_trace_and_moves_nothing(world: World) -> None:
    (unit,) = world.mail()

    def look(conn: trace.Connection) -> None:
        hold.record_access(conn, trace.look_up(conn, [unit]), actor="ann", now=START + 5, why="asked by Joe")

    world.db.write_sync(look)
    (after,) = world.db.read_sync(lambda conn: trace.with_events(conn, trace.look_up(conn, [unit])))
    event = after.events[-1]
    assert (event.kind, event.actor, event.at, event.to_state) == ("access", "ann", START + 5, "")
    assert event.detail == {"what": "raw message", "why": "asked by Joe"}
    assert after.state == State.QUARANTINED


def test_totals_count_units_and_octets_by_tenant_and_state(world: World) -> None:
    world.mail(recipients=["a@acme.test", "b@acme.test"], raw=b"x" * 10)
    world.mail(State.HELD, raw=b"x" * 7)
    world.mail(State.SPOOLED)
    totals = world.db.read_sync(hold.totals)
    assert sorted(totals) == [(world.tenant, "held", 1, 7), (world.tenant, "quarantined", 2, 20)]
