"""`mailguard privacy`: everything about an address comes out on request, and nothing of it stays after its erasure."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from mailguard.core.clock import DAY
from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from mailguard.core.reply import Reply
from mailguard.store import schema
from mailguard.store.history import History
from mailguard.store.ledger import Move, move_in
from mailguard.store.refusals import Refusals
from mailguard.store.verifications import Said, ServerAnswer, keep
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

JOE = "joe@acme.test"
NOW = 1_795_500_000_000


def ok(mailguard: Run, *arguments: str) -> Any:
    done = mailguard(*arguments)
    assert done.code == 0, done.err
    return done


def everything(world: World) -> str:
    """All text that stands in the database, and the names of its bodies' files."""
    with closing(sqlite3.connect(world.url.removeprefix("sqlite:///"))) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in file.execute(f"SELECT * FROM {table}").fetchall()]
    return "\n".join(repr(row) for row in rows)


def deliver(world: World, unit: str) -> None:
    detail = {"reply": f"550 5.1.1 <{JOE}>: unknown; ask Joe@Acme.Test", "next_hop": "mx.acme.test:25"}
    world.db.write_sync(
        lambda conn: move_in(
            conn, [Move(unit, State.DELIVERED, Reason.NEXT_HOP_ACCEPTED, detail=detail, expected=State.SPOOLED)]
        )
    )


async def refuse(world: World) -> None:
    refusals = Refusals(world.db, lambda: NOW)
    reply = Reply(550, "5.1.1", f"<{JOE}>: no such mailbox")
    refusals.record(world.tenant, Reason.UNKNOWN_RECIPIENT, reply, mail_from="eve@evil.test", recipient=JOE)
    await refusals.flush()


@pytest.fixture
async def full(world: World, mailguard: Run) -> World:
    """Joe is known everywhere."""
    units = [
        *world.mail(State.SPOOLED, recipients=["Joe@Acme.test", "ann@acme.test"], subject="For Joe and Ann"),
        *world.mail(State.SPOOLED, recipients=["joe+news@acme.test"], subject="For Joe alone"),
        *world.mail(
            State.SPOOLED,
            recipients=["ann@acme.test"],
            mail_from="JOE@acme.test",
            subject="From Joe",
            action=Action.DELIVER,
        ),
        *world.mail(State.SPOOLED, recipients=["billjoe@acme.test"], subject="For another"),
    ]
    for unit in units:
        deliver(world, unit)
    (kept,) = world.mail(recipients=["ann@acme.test"], mail_from="eve@evil.test", subject="Kept for Ann")
    ok(mailguard, "quarantine", "release", kept, "--why", f"{JOE} asked for it", "--actor", JOE)
    world.move(kept, State.RELEASED)
    ok(mailguard, "quarantine", "delete", kept)
    ok(mailguard, "recipient", "add", "acme", JOE, "ann@acme.test")
    ok(mailguard, "tenant", "allow", "add", "acme", JOE, "--reason", f"{JOE} is one of us")
    ok(mailguard, "tenant", "deny", "add", "acme", "friend.test", "--reason", f"says Joe, {JOE.upper()}")
    answer = ServerAnswer(Said.KNOWN, NOW, NOW + DAY, NOW + DAY, f"250 {JOE} ok")
    world.db.write_sync(lambda conn: keep(conn, {(world.tenant, JOE): answer}))
    ok(mailguard, "tenant", "vip", "add", "acme", "Joe Doe", "--address", JOE, "--address", "joe@home.test")
    ok(mailguard, "tenant", "vip", "add", "acme", "Ann Lee", "--address", "ann@acme.test")
    assert await History(world.db).record() > 0
    await refuse(world)
    return world


async def test_export_has_all_that_is_stored(full: World, mailguard: Run) -> None:
    found = ok(mailguard, "privacy", "export", "JOE@acme.test", "--why", "asked").out
    data = json.loads(found)
    assert data["address"] == JOE
    assert [(mail["subject"], mail["as"]) for mail in data["mails"]] == [
        ("For Joe and Ann", ["recipient"]),
        ("For Joe alone", ["recipient"]),
        ("From Joe", ["sender"]),
    ]
    assert data["mails"][0]["events"][-1]["to_state"] == "delivered"
    assert [row["reason"] for row in data["refusals"]] == ["unknown_recipient"]
    assert [row["pattern"] for row in data["list_entries"]] == [JOE]
    assert [row["address"] for row in data["recipients"]] == [JOE]
    assert [row["reply"] for row in data["verifications"]] == [f"250 {JOE} ok"]
    assert [(row["address"], row["quarantined"]) for row in data["correspondents"]] == [(JOE, 0)]
    assert [(row["name"], row["tenant"]) for row in data["vips"]] == [("Joe Doe", "acme")]
    actions = [entry["action"] for entry in data["audit"]]
    assert [(lesson["source"], lesson["spam"]) for lesson in data["lessons"]] == [("release", False)]
    assert actions == ["quarantine.release", "lessons.teach", "recipient.add", "list.add", "list.add", "vip.add"]
    assert data["audit"][0]["texts"] == {"actor": JOE, "why": f"{JOE} asked for it"}
    again = json.loads(ok(mailguard, "privacy", "export", JOE).out)
    assert [entry["action"] for entry in again["audit"]][-1] == "privacy.export"  # the first one is on the record
    nothing = json.loads(ok(mailguard, "privacy", "export", JOE, "--tenant", "system").out)
    assert (nothing["mails"], nothing["recipients"]) == ([], [])
    assert mailguard("privacy", "export", "no address").code == 2


async def test_erasure_leaves_nothing_and_keeps_every_count(full: World, mailguard: Run) -> None:
    month = ("--month", "2026-11")
    before = ok(mailguard, "usage", *month, "--json").json
    received = full.db.read_sync(lambda conn: conn.execute(select(schema.units.c.id, schema.units.c.state)).all())
    assert "joe@acme.test" in everything(full).lower()
    done = ok(mailguard, "privacy", "erase", JOE, "--why", f"{JOE} asked", "--actor", "bob", "--json").json
    assert done["kept"] == []
    assert done["erased"]["addresses"] == 2  # what the sender added is the same person
    left = everything(full).lower().replace("billjoe@acme.test", "")
    assert JOE not in left
    assert "joe+news" not in left
    for subject in ("for joe and ann", "for joe alone", "from joe"):
        assert subject not in left
    assert "for another" in left
    assert "joe doe" not in left.replace(f"{JOE}", "")
    assert "joe@home.test" not in left
    assert (done["erased"]["correspondents"], done["erased"]["vips"]) == (1, 2)
    assert "ann@acme.test" in left
    assert (
        full.db.read_sync(lambda conn: conn.execute(select(schema.units.c.id, schema.units.c.state)).all()) == received
    )
    assert ok(mailguard, "usage", *month, "--json").json["tenants"] == before["tenants"]
    ok(mailguard, "usage", *month, "--recount", "--json")
    ok(mailguard, "ledger", "check")
    verified = ok(mailguard, "audit", "verify", "--json").json
    assert verified["erased"] == done["erased"]["audit_texts"] > 0
    entry = ok(mailguard, "audit", "list", "--action", "privacy", "--json").json[-1]
    texts = {text["role"]: text["text"] for text in entry["texts"]}
    assert (entry["subject"], texts) == (done["subject"], {"actor": "bob", "why": "(erased) asked"})
    assert "(erased)" in ok(mailguard, "audit", "list", "--action", "quarantine.release").out


async def test_what_was_found_stays_as_far_as_it_is_not_personal(full: World, mailguard: Run) -> None:
    ok(mailguard, "privacy", "erase", JOE)
    rows = full.db.read_sync(
        lambda conn: conn.execute(select(schema.messages).where(schema.messages.c.erased_at.is_not(None))).all()
    )
    assert len(rows) == 3
    for row in rows:
        assert "evil.test/" not in row.findings  # evidence
        assert "erased.exe" in row.findings
        assert "SUSPICIOUS_LINK" in row.findings
    by_joe = next(row for row in rows if row.mail_from_raw.startswith("erased"))
    assert (by_joe.client_ip, by_joe.helo, by_joe.header_message_id) == ("", "", "")
    to_joe = next(row for row in rows if row.mail_from_raw == "eve@evil.test")
    assert to_joe.client_ip == "192.0.2.1"  # its sender is another person
    shown = ok(mailguard, "trace", "--id", rows[0].id).out
    assert "delivered" in shown


async def test_an_address_that_gets_mail_again_is_a_new_one(full: World, mailguard: Run) -> None:
    first = ok(mailguard, "privacy", "erase", JOE, "--json").json["subject"]
    full.db.forget_addresses()  # as the relay does within a second
    (unit,) = full.mail(State.SPOOLED, recipients=[JOE])
    assert [mail["id"] for mail in json.loads(ok(mailguard, "privacy", "export", JOE).out)["mails"]] == [unit]
    deliver(full, unit)
    assert ok(mailguard, "privacy", "erase", JOE, "--json").json["subject"] != first
    ok(mailguard, "audit", "verify")


async def test_erasing_twice_and_an_unknown_address(full: World, mailguard: Run) -> None:
    ok(mailguard, "privacy", "erase", JOE)
    before = everything(full)
    assert "nothing was stored about joe@acme.test" in ok(mailguard, "privacy", "erase", JOE).out
    assert len(everything(full)) >= len(before)
    assert mailguard("privacy", "erase", "@acme.test").code == 2
    assert mailguard("privacy", "erase", "<>").code == 2
    ok(mailguard, "audit", "verify")


@pytest.mark.parametrize("state", [State.QUARANTINED, State.SPOOLED, State.HELD])
def test_kept_mail_is_in_the_way_and_named(mailguard: Run, world: World, state: State) -> None:
    (unit,) = world.mail(state)
    done = mailguard("privacy", "erase", JOE)
    assert (done.code, unit in done.err, "--force" in done.err) == (1, True, True)
    assert JOE in everything(world)
    done = ok(mailguard, "privacy", "erase", JOE, "--force", "--json").json
    assert done["erased"]["messages"] == 1
    assert JOE not in everything(world)
    assert not list(world.blobs.ids())
    actions = [entry["action"] for entry in ok(mailguard, "audit", "list", "--json").json]
    assert actions == ["queue.cancel" if state is State.SPOOLED else "quarantine.delete", "privacy.erase"]
    ok(mailguard, "ledger", "check")
    ok(mailguard, "audit", "verify")


def test_mail_that_is_being_delivered_cannot_be_erased(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.SPOOLED)
    world.db.write_sync(
        lambda conn: conn.execute(
            update(schema.queue).where(schema.queue.c.unit == unit).values(holder="w1", lease_until=2**53)
        )
    )
    done = mailguard("privacy", "erase", JOE, "--force")
    assert (done.code, "being delivered at this moment" in done.err) == (1, True)


def test_a_message_that_is_kept_for_another_keeps_its_subject(mailguard: Run, world: World) -> None:
    mine, hers = world.mail(recipients=[JOE, "ann@acme.test"], subject=f"To {JOE}: hello")
    ok(mailguard, "quarantine", "delete", mine)
    ok(mailguard, "privacy", "erase", JOE)
    (unit,) = ok(mailguard, "quarantine", "list", "--json").json
    assert (unit["id"], unit["subject"]) == (hers, "To (erased): hello")
    assert JOE not in everything(world)


def test_thousands_of_mails_are_erased_in_steps(mailguard: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailguard.store.erasure.erase_mail_in.__kwdefaults__", {"limit": 2})
    monkeypatch.setattr("mailguard.store.erasure._SCANNED", 2)
    for _ in range(5):
        (unit,) = world.mail(State.SPOOLED)
        deliver(world, unit)
    for number in range(5):
        ok(mailguard, "tenant", "deny", "add", "acme", f"d{number}.test", "--reason", f"{JOE} said so")
    done = ok(mailguard, "privacy", "erase", JOE, "--json").json
    assert (done["erased"]["messages"], done["erased"]["mentions"]) == (5, 5)
    assert JOE not in everything(world)


def test_the_database_file_of_the_test_is_read(world: World, tmp_path: Path) -> None:
    world.mail()
    assert JOE in everything(world)
