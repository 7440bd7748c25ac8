"""Erasing a person on both databases: nothing of it is left in any column, and everything that is proved still holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import String, Text, select

from mailguard.core.decision import Reason
from mailguard.core.envelope import NextHop
from mailguard.core.errors import ConflictError
from mailguard.core.events import State
from mailguard.core.tenant import ListKind
from mailguard.quarantine import hold
from mailguard.store import aliases, erasure, list_entries, schema, tenants, trace
from mailguard.store.audit_check import verify_in
from mailguard.store.consistency import check_in
from mailguard.store.ledger import Move, move_in
from mailguard.store.person import Person, person
from mailguard.store.privacy import mail_page, stored
from mailguard.store.schema_audit import metadata
from tests.ledger_of import World

JOE = "joe@acme.test"


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    world = World(tmp_path, url=url)
    yield world
    world.close()


def texts(world: World) -> str:
    """Every text in every table."""
    columns = [
        (table, column)
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String | Text)
    ]
    found = world.db.read_sync(
        lambda conn: [str(text) for table, column in columns for text in conn.scalars(select(column))]
    )
    return "\n".join(found).lower()


def who(world: World, address: str = JOE) -> Person:
    return world.db.read_sync(lambda conn: person(conn, address))


def deliver(world: World, *units: str) -> None:
    moves = [Move(unit, State.DELIVERED, Reason.NEXT_HOP_ACCEPTED, detail={"reply": f"250 {JOE} ok"}) for unit in units]
    world.db.write_sync(lambda conn: move_in(conn, moves))


def erase(world: World, address: str = JOE) -> erasure.Finished:
    one = who(world, address)
    instead = world.db.read_sync(lambda conn: erasure.stand_ins(conn, one))
    while world.db.write_sync(lambda conn: erasure.erase_mail_in(conn, one, instead, now=1, limit=1)):
        pass
    for table in erasure.tables():
        world.db.write_sync(lambda conn, table=table: erasure.erase_mentions_in(conn, one, instead, table))
    return world.db.write_sync(
        lambda conn: erasure.finish_in(conn, one, instead, actor="bob", why="asked", now=1, detail={})
    )


def test_nothing_is_left_and_all_that_is_proved_holds(world: World) -> None:
    received = world.mail(State.SPOOLED, recipients=[JOE, "ann@acme.test"])
    deliver(world, *received)
    deliver(world, *world.mail(State.SPOOLED, mail_from=JOE, recipients=["ann@acme.test"]))
    (others,) = world.mail(recipients=["ann@acme.test"])
    (kept,) = world.mail()
    for address in (JOE, "ann@acme.test"):
        world.db.write_sync(
            lambda conn, address=address: list_entries.add_list_entry(
                conn, tenant="acme", kind=ListKind.ALLOW, pattern=address, now=1, author=JOE, reason=f"{JOE} knows"
            )
        )
    unit = world.db.read_sync(lambda conn: trace.look_up(conn, [kept]))
    world.db.write_sync(lambda conn: hold.delete(conn, unit, actor="bob", why=f"for {JOE}"))
    assert JOE in texts(world)
    ids = who(world).ids
    finished = erase(world)
    assert (finished.list_entries, finished.audit_texts) == (1, 7)
    assert JOE not in texts(world)
    assert "ann@acme.test" in texts(world)
    files = world.db.read_sync(lambda conn: conn.scalars(select(schema.message_files.c.message)).all())
    assert (received[0][:26] in files, others[:26] in files) == (False, True)
    assert world.db.read_sync(check_in) == []
    report = world.db.read_sync(verify_in)
    assert (report.holds, report.erased) == (True, 7)
    row = select(schema.addresses.c.address).where(schema.addresses.c.id == ids[JOE])
    stands = world.db.read_sync(lambda conn: conn.execute(row).scalar_one())
    assert stands.startswith("erased")
    assert stands.endswith("@acme.test")
    assert who(world).ids == {}
    assert world.db.read_sync(lambda conn: mail_page(conn, person(conn, JOE), tenant=None)) == []


def test_a_mailbox_is_all_that_means_it(world: World) -> None:
    """What senders add and alias domains: one person, and after its erasure still one mailbox."""

    def work(conn) -> None:  # type: ignore[no-untyped-def]
        aliases.set_alias(conn, tenant="acme", alias="acme-alias.test", of="acme.test")
        tenants.set_tenant(conn, name="acme", separators="+-")
        tenants.add_tenant(conn, name="beta", now=1, domains=["beta.test"], next_hops=[NextHop("mx.beta.test")])

    world.db.write_sync(work)
    meant = ["joe@acme.test", "Joe+news@acme.test", "joe-x@acme.test", "joe+news@acme-alias.test"]
    others = ["joey@acme.test", "joe@beta.test", "j.joe@acme.test", "joe_x@acme.test"]
    for address in (*meant, *others):
        world.mail(State.DISCARDED, recipients=[address])
    assert set(who(world).ids) == {address.lower() for address in meant}
    assert set(who(world, "joe+news@acme.test").ids) == {"joe+news@acme.test", "joe+news@acme-alias.test"}
    erase(world)
    left = texts(world)
    assert not [address for address in meant if address.lower() in left.replace("joe_x@", "").split("\n")]
    assert all(address in left for address in others)
    rows = world.db.read_sync(
        lambda conn: conn.scalars(
            select(schema.addresses.c.address).where(schema.addresses.c.address.startswith("erased"))
        ).all()
    )
    assert len({text.partition("@")[0].replace("-", "+").partition("+")[0] for text in rows}) == 1
    assert len(set(rows)) == len(meant)


def test_what_comes_meanwhile_is_not_overlooked(world: World) -> None:
    deliver(world, *world.mail(State.SPOOLED))
    one = who(world)
    instead = world.db.read_sync(lambda conn: erasure.stand_ins(conn, one))
    while world.db.write_sync(lambda conn: erasure.erase_mail_in(conn, one, instead, now=1)):
        pass
    world.mail(State.DISCARDED)
    with pytest.raises(ConflictError, match="came meanwhile"):
        world.db.write_sync(lambda conn: erasure.finish_in(conn, one, instead, actor="bob", why="", now=1, detail={}))
    assert JOE in texts(world)
    erase(world)
    assert JOE not in texts(world)


def test_mail_that_is_still_to_be_delivered_is_not_touched(world: World) -> None:
    (held,) = world.mail(State.HELD)
    one = who(world)
    (kept,) = world.db.read_sync(lambda conn: erasure.kept_mail(conn, one))
    assert kept.id == held
    instead = world.db.read_sync(lambda conn: erasure.stand_ins(conn, one))
    assert not world.db.write_sync(lambda conn: erasure.erase_mail_in(conn, one, instead, now=1))
    for table in erasure.tables():
        world.db.write_sync(lambda conn, table=table: erasure.erase_mentions_in(conn, one, instead, table))
    (unit,) = world.db.read_sync(lambda conn: trace.look_up(conn, [held]))
    assert (unit.recipient, unit.subject) == (JOE, "Hello")


def test_the_audit_log_notices_an_erasure_that_is_not_recorded(world: World) -> None:
    (kept,) = world.mail()
    unit = world.db.read_sync(lambda conn: trace.look_up(conn, [kept]))
    world.db.write_sync(lambda conn: hold.delete(conn, unit, actor="bob"))
    world.db.write_sync(lambda conn: erasure.erase_audit_texts(conn, [(1, 0)], now=1))
    assert [one.defect for one in world.db.read_sync(verify_in).defects] == ["erased_unrecorded"]


def test_stored_finds_nothing_about_a_stranger(world: World) -> None:
    world.mail()
    stranger = who(world, "stranger@else.test")
    found = world.db.read_sync(lambda conn: stored(conn, stranger, tenant=None))
    assert not any((found.refusals, found.lists, found.recipients, found.usage, found.invoices, found.audit))
