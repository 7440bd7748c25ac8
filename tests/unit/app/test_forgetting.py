"""Retention: what is personal in old mail goes by itself, in small steps, and nothing that is counted becomes another number."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import String, Text, select

from mailguard.app.forgetting import Forgetting
from mailguard.billing import closing, meter
from mailguard.billing.months import Month
from mailguard.core.decision import Action, Reason
from mailguard.core.envelope import NextHop
from mailguard.core.events import State
from mailguard.core.reply import Reply
from mailguard.quarantine import hold
from mailguard.store import retention, schema, tenants, trace
from mailguard.store.audit import AuditQuery, search
from mailguard.store.audit_check import verify_in
from mailguard.store.consistency import check_in
from mailguard.store.history import History
from mailguard.store.refusals import Refusals
from mailguard.store.schema_audit import metadata
from tests.ledger_of import Clock, World
from tests.unit.store.conftest import sqlite_template, url

__all__ = ["sqlite_template", "url"]

ZONE = ZoneInfo("Europe/Berlin")
JOE = "joe@acme.test"


def day(month: int, number: int) -> int:
    return int(datetime(2026, month, number, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    world = World(tmp_path, url=url, clock=Clock(day(1, 5)))
    yield world
    world.close()


def at(world: World, month: int, number: int) -> None:
    assert world.clock is not None
    world.clock.now = day(month, number)


def deliver(world: World, *recipients: str, **fields: Any) -> list[str]:
    units = world.mail(State.SPOOLED, recipients=recipients, **fields)
    for unit in units:
        world.move(unit, State.DELIVERED)
    return units


def close(world: World, name: str) -> Month:
    period = meter.month(name, zone=ZONE)
    closing.close_month(world.db.write_sync, period, zone=ZONE)
    return period


def counts(world: World, *months: Month) -> list[Any]:
    """The usage, and the mailboxes' figures without their names; counted anew it is the same."""

    def work(conn: Any) -> list[Any]:
        found = []
        for period in months:
            usage = meter.usage(conn, period)
            assert meter.recount(conn, period) == usage
            billed = meter.billed_mailboxes(conn, period, world.tenant)
            found.append((usage, sorted((one.unit, one.messages, one.octets, len(one.addresses)) for one in billed)))
        return found

    return world.db.read_sync(work)


def texts(world: World) -> str:
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


def forgetting(world: World) -> Forgetting:
    assert world.clock is not None
    return Forgetting(world.db, zone=ZONE, clock=world.clock)


def keep(world: World, days: float | None) -> None:
    world.db.write_sync(lambda conn: retention.set_keep_days(conn, tenant="acme", days=days))


async def test_old_mail_is_erased_month_by_month_and_counts_stay(world: World) -> None:
    deliver(world, JOE, "ann@acme.test", subject="Secret January")
    deliver(world, "joe+news@acme.test", subject="Secret news")
    world.mail(State.DISCARDED, recipients=["stranger@acme.test"], subject="Secret spam")
    at(world, 1, 31)
    deliver(world, JOE, subject="Secret end")
    at(world, 2, 10)
    deliver(world, JOE, "bob@acme.test", subject="Secret February")
    january = close(world, "2026-01")
    at(world, 3, 5)
    february = close(world, "2026-02")
    deliver(world, JOE, subject="Fresh March")
    before = counts(world, january, february)
    assert [usage[0].billed_mailboxes for usage, _ in before] == [2, 2]
    assert await forgetting(world).run() == 0  # nobody asked for it
    keep(world, 30)
    at(world, 3, 20)
    assert await forgetting(world).run() == 7
    left = texts(world)
    assert "secret" not in left.replace("secret:", "")
    assert "fresh march" in left
    assert "stranger@" not in left
    assert counts(world, january, february) == before
    at(world, 4, 1)  # all of February is over for 30 days now
    await forgetting(world).run()
    left = texts(world)
    assert "ann@" not in left
    assert "bob@" not in left
    assert "joe+news@" not in left
    assert JOE in left  # of March
    assert counts(world, january, february) == before
    at(world, 4, 20)
    assert await forgetting(world).run() == 1
    assert await forgetting(world).run() == 0
    assert world.db.read_sync(check_in) == []
    report = world.db.read_sync(verify_in)
    assert report.holds
    assert report.entries == 3  # one for each run that erased something


async def test_authors_are_forgotten_as_their_mail_is(world: World) -> None:
    keep(world, 30)
    deliver(world, JOE, action=Action.DELIVER, mail_from="old@friend.test")
    at(world, 1, 30)
    deliver(world, JOE, action=Action.DELIVER, mail_from="new@friend.test")
    history = History(world.db)
    at(world, 1, 31)
    await history.record()
    assert "old@friend.test" in texts(world)
    at(world, 2, 20)
    await forgetting(world).run()
    left = texts(world)
    assert "old@friend.test" not in left
    assert "new@friend.test" in left
    (entry,) = world.db.read_sync(lambda conn: search(conn, AuditQuery()))
    assert entry.detail["correspondents"] == 1


async def test_mail_that_was_billed_in_two_months_ties_them_together(world: World) -> None:
    (unit,) = world.mail(recipients=[JOE])
    deliver(world, JOE)
    at(world, 1, 20)
    world.move(unit, State.SPOOLED, State.RELEASED)
    at(world, 2, 3)
    january = close(world, "2026-01")
    world.move(unit, State.SPOOLED, State.RELEASED)  # once more, since it was lost
    deliver(world, JOE)
    world.move(unit, State.DELETED)
    at(world, 3, 3)
    february = close(world, "2026-02")
    before = counts(world, january, february)
    keep(world, 30)
    at(world, 3, 10)  # January is due, February is not
    await forgetting(world).run()
    assert counts(world, january, february) == before
    assert JOE in texts(world)
    at(world, 4, 5)
    await forgetting(world).run()
    assert counts(world, january, february) == before
    assert JOE not in texts(world)


async def test_what_is_still_kept_waits_until_that_ends(world: World) -> None:
    (kept,) = world.mail(recipients=[JOE], subject="Kept")
    deliver(world, "ann@acme.test", subject="Gone")
    keep(world, 5)
    at(world, 1, 20)
    assert await forgetting(world).run() == 1
    left = texts(world)
    assert "kept" in left.split("\n")
    assert JOE in left
    at(world, 1, 25)
    unit = world.db.read_sync(lambda conn: trace.look_up(conn, [kept]))
    world.db.write_sync(lambda conn: hold.delete(conn, unit, actor="bob", why=f"{JOE} asked"))
    assert await forgetting(world).run() == 1
    assert JOE in texts(world)  # in the audit log, of today
    at(world, 2, 20)
    await forgetting(world).run()
    assert JOE not in texts(world)
    report = world.db.read_sync(verify_in)
    assert (report.holds, report.erased) == (True, 3)


async def test_a_message_of_two_tenants_is_erased_when_both_let_it_go(world: World) -> None:
    beta = world.db.write_sync(
        lambda conn: tenants.add_tenant(
            conn, name="beta", now=1, domains=["beta.test"], next_hops=[NextHop("mx.beta.test")]
        )
    )
    from mailguard.store.ledger import begin_in
    from tests.unit.store.mail import a_message, a_unit

    message = a_message(received_at=day(1, 5), subject="For both", message_id="")
    units = [
        a_unit(State.DISCARDED, 1, tenant=world.tenant, address=JOE, domain="acme.test"),
        a_unit(State.DISCARDED, 2, tenant=beta, address="bea@beta.test", domain="beta.test"),
    ]
    world.db.write_sync(lambda conn: begin_in(conn, message, units))
    keep(world, 5)
    at(world, 1, 20)
    assert await forgetting(world).run() == 1
    left = texts(world)
    assert (JOE in left, "bea@beta.test" in left, "for both" in left) == (False, True, True)
    world.db.write_sync(lambda conn: retention.set_keep_days(conn, tenant="beta", days=5))
    assert await forgetting(world).run() == 1
    left = texts(world)
    assert ("bea@beta.test" in left, "for both" in left, "alice@sender.example" in left) == (False, False, False)


async def test_refusals_stay_counted_without_addresses(world: World) -> None:
    refusals = Refusals(world.db, lambda: day(1, 5))
    refusals.record(
        world.tenant,
        Reason.UNKNOWN_RECIPIENT,
        Reply(550, "5.1.1", f"<{JOE}>: no"),
        mail_from="eve@evil.test",
        recipient=JOE,
    )
    await refusals.flush()
    keep(world, 5)
    at(world, 1, 20)
    await forgetting(world).run()
    row = world.db.read_sync(lambda conn: conn.execute(select(schema.refusals)).one())
    assert (row.recipient, row.mail_from, row.reply, row.code, row.count) == (None, None, "", 550, 1)


async def test_many_are_erased_in_small_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailguard.app.forgetting.BATCH", 3)
    monkeypatch.setattr("mailguard.store.retention.erase_old_mail_in.__kwdefaults__", {"limit": 3})
    monkeypatch.setattr("mailguard.billing.pseudonyms.replace_recipients_in.__kwdefaults__", {"limit": 2})
    for number in range(7):
        deliver(world, f"u{number}@acme.test")
    at(world, 2, 2)
    january = close(world, "2026-01")
    before = counts(world, january)
    keep(world, 5)
    at(world, 2, 10)
    assert await forgetting(world).run() == 7
    assert counts(world, january) == before
    assert "u3@acme.test" not in texts(world)


async def test_a_mailbox_that_is_really_called_so_is_replaced_as_any_other(world: World) -> None:
    deliver(world, "erased@acme.test", JOE)
    at(world, 2, 2)
    january = close(world, "2026-01")
    before = counts(world, january)
    keep(world, 5)
    at(world, 2, 10)
    assert await forgetting(world).run() == 2
    assert counts(world, january) == before
    assert JOE not in texts(world)
