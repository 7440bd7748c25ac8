"""Where is the mail from X to Y? Units with their events, and what was refused at the door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.engine import Connection

from mailguard.core.clock import DAY
from mailguard.core.events import State
from mailguard.store import schema, trace
from mailguard.store.addresses import address_ids
from mailguard.store.trace import TracedRefusal, TracedUnit, TraceQuery
from tests.ledger_of import START, Clock, World


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    world = World(tmp_path, url=url, clock=Clock())
    yield world
    world.close()


def refuse(world: World, *, mail_from: str = "", recipient: str = "", at: int = START, count: int = 1) -> None:
    def work(conn: Connection) -> None:
        ids = address_ids(conn, [mail_from, recipient])
        conn.execute(
            insert(schema.refusals).values(
                at=at,
                tenant=world.tenant if recipient.endswith("@acme.test") else None,
                reason="unknown_recipient",
                code=550,
                reply="550 5.1.1 No such user",
                client_ip="192.0.2.9",
                helo="h",
                mail_from=ids[mail_from] if count == 1 else None,
                recipient=ids[recipient] if count == 1 else None,
                count=count,
            )
        )

    world.db.write_sync(work)


def search(world: World, query: TraceQuery) -> list[str]:
    rows = world.db.read_sync(lambda conn: trace.search(conn, query))
    return [row.id if isinstance(row, TracedUnit) else f"refused {row.recipient}" for row in rows]


def test_a_unit_tells_all_that_is_known_of_it(world: World) -> None:
    (unit,) = world.mail(State.FORWARDING)
    world.move(unit, State.SPOOLED, State.DELIVERED)
    (row,) = world.db.read_sync(lambda conn: trace.search(conn, TraceQuery(id=unit)))
    assert isinstance(row, TracedUnit)
    assert (row.recipient, row.mail_from, row.client_ip, row.policy) == (
        "joe@acme.test",
        "eve@evil.test",
        "192.0.2.1",
        "default",
    )
    assert row.symbols == (("SUSPICIOUS_LINK", 4.0), ("SPF_FAIL", 4.2))
    assert [result.check for result in row.findings.results] == ["clamav", "spf", "rules"]
    assert row.findings.attachments[0].name == "in\u202evoice.exe"
    assert [(event.from_state, event.to_state) for event in row.events] == [
        ("", "forwarding"),
        ("forwarding", "spooled"),
        ("spooled", "delivered"),
    ]
    assert row.queue is None
    assert not row.body  # nothing keeps it any more, whenever its file goes


def test_by_sender_recipient_id_and_time(world: World) -> None:
    first = world.mail(State.DISCARDED, received_at=START - 8 * DAY)[0]
    second = world.mail(State.SPOOLED, mail_from="Bob@Other.test", recipients=["ann@acme.test"])[0]
    refuse(world, mail_from="bob@other.test", recipient="ann@acme.test", at=START + 1)
    refuse(world, mail_from="bob@other.test", recipient="x@nowhere.test", at=START + 2)
    for query, expected in (
        (TraceQuery(), [first, second, "refused ann@acme.test", "refused x@nowhere.test"]),
        (TraceQuery(recipient="ANN@acme.test"), [second, "refused ann@acme.test"]),
        (TraceQuery(recipient="acme.test"), [first, second, "refused ann@acme.test"]),
        (TraceQuery(sender="bob@other.test", recipient="nowhere.test"), ["refused x@nowhere.test"]),
        (TraceQuery(id=second[:26].lower()), [second]),
        (TraceQuery(id="nonsense"), []),
        (TraceQuery(header_message_id="1@evil.test", since=START), [second]),
        (TraceQuery(header_message_id="<1@evil.test>", until=START), [first]),
        (TraceQuery(tenant=world.tenant, since=START + 1), ["refused ann@acme.test"]),
        (TraceQuery(limit=1), [second, "refused x@nowhere.test"]),
    ):
        assert search(world, query) == expected, query


def test_the_null_sender_is_not_every_sender(world: World) -> None:
    world.mail(State.DISCARDED)
    (bounce,) = world.mail(State.DISCARDED, mail_from="")
    refuse(world, recipient="joe@acme.test", at=START + 1)
    assert search(world, TraceQuery(sender="<>")) == [bounce, "refused joe@acme.test"]


def test_an_international_domain_is_found_in_both_forms(world: World) -> None:
    (unit,) = world.mail(State.DISCARDED, mail_from="eve@xn--bcher-kva.example")
    for text in ("eve@bücher.example", "Eve@XN--bcher-kva.example", "bücher.example", "@bücher.example"):
        assert search(world, TraceQuery(sender=text)) == [unit], text


def test_refusals_without_addresses_are_counted(world: World) -> None:
    refuse(world, count=500)
    refuse(world, recipient="joe@acme.test")
    query = TraceQuery(recipient="joe@acme.test")
    assert world.db.read_sync(lambda conn: trace.unnamed_refusals(conn, query)) == 500
    assert search(world, query) == ["refused joe@acme.test"]
    (flood, _) = world.db.read_sync(lambda conn: trace.search(conn, TraceQuery()))
    assert isinstance(flood, TracedRefusal)
    assert (flood.count, flood.recipient, flood.mail_from) == (500, None, None)
    later = TraceQuery(since=START + 1)
    assert world.db.read_sync(lambda conn: trace.unnamed_refusals(conn, later)) == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=40).filter(lambda text: "\ud800" not in text), pattern=st.text("%_@.\\'\"a", max_size=6))
def test_whatever_is_asked_finds_only_what_is_meant(world: World, text: str, pattern: str) -> None:
    if not world.db.read_sync(lambda conn: trace.search(conn, TraceQuery())):
        world.mail(State.DISCARDED, mail_from="zoe@z.test", recipients=["yan@acme.test"])
    for query in (
        TraceQuery(recipient=text or "-", id=""),
        TraceQuery(sender=pattern or "-"),
        TraceQuery(header_message_id=pattern or "-"),
        TraceQuery(id=text or "-"),
    ):
        assert search(world, query) == []
