"""`mailguard usage`: billed mailboxes, what was counted before, and the proof by counting anew."""

from __future__ import annotations

from datetime import UTC, datetime

from mailguard.core.events import State
from mailguard.store import metered, schema
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

MONTH = datetime.now(UTC).strftime("%Y-%m")


def deliver(world: World, *recipients: str) -> None:
    for unit in world.mail(State.FORWARDING, recipients=list(recipients), raw=b"x" * 10):
        world.move(unit, State.DELIVERED)


def test_billed_mailboxes_are_those_that_mail_was_delivered_to(mailguard: Run, world: World) -> None:
    deliver(world, "Joe@acme.test", "joe+news@acme.test", "ann@acme.test")
    world.mail(recipients=["kept@acme.test"])
    (tenant,) = mailguard("usage", "--month", MONTH, "--json").json["tenants"]
    assert tenant["billed"] == {"mailboxes": 2, "messages": 3, "bytes": 30}
    assert tenant["active_recipients"] == 3
    shown = mailguard("usage", "--month", MONTH).out
    assert "BILLED MAILBOXES" in shown
    line = mailguard("usage", "--month", MONTH, "--csv").out.splitlines()
    assert line[0].endswith(",billed_mailboxes,billed_messages,billed_bytes")
    assert line[1].endswith(",3,2,3,30")


def test_what_was_counted_can_be_counted_anew(mailguard: Run, world: World) -> None:
    deliver(world, "joe@acme.test")
    assert mailguard("usage", "--month", MONTH, "--recount").code == 0
    assert world.db.read_sync(metered.position) > 0
    deliver(world, "ann@acme.test")
    assert mailguard("usage", "--month", MONTH, "--recount").code == 0
    world.db.write_sync(lambda conn: conn.execute(schema.metered.update().values(units=7)).rowcount)
    done = mailguard("usage", "--month", MONTH, "--recount")
    assert done.code == 1
    assert "acme: the events come to other figures" in done.err


def test_a_month_that_is_open_says_so(mailguard: Run, world: World) -> None:
    deliver(world, "joe@acme.test")
    assert mailguard("usage", "--month", MONTH, "--json").json["closed_at"] is None


def test_a_tenant_that_goes_is_billed_by_the_list_that_went_with_it(mailguard: Run, world: World) -> None:
    mailguard("recipient", "add", "acme", "joe@acme.test", "ann@acme.test", "--mailbox", "desk@acme.test")
    deliver(world, "joe@acme.test", "ann@acme.test", "bob@acme.test")
    assert mailguard("tenant", "remove", "acme").code == 0
    (tenant,) = mailguard("usage", "--month", MONTH, "--json").json["tenants"]
    assert tenant["billed"]["mailboxes"] == 2
    assert mailguard("usage", "--month", MONTH, "--recount").code == 0
