"""Which waiting mail `mailguard queue` means: by next hop and age; tenants' time in the queue; senders told of what is cancelled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import Connection, select, update

from mailguard.core.clock import DAY, HOUR, SECOND
from mailguard.core.envelope import NextHop, RcptOptions
from mailguard.core.events import State
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, Findings
from mailguard.store import aliases, schema, tenants
from mailguard.store.texts import to_json
from tests import ledger_of
from tests.ledger_of import World
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_queue import unit_of

AUTHENTICATED = Findings(
    results=(CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "evil.test"),)),)
)


def listed(mailguard: Run, *arguments: str) -> list[str]:
    return [unit["id"] for unit in mailguard("queue", "list", *arguments, "--json").json]


def authenticated(world: World, *recipients: str, **fields: Any) -> list[str]:
    """Mail whose sender is authenticated, so that it may be told."""
    with mock.patch.object(ledger_of, "findings", lambda **_: AUTHENTICATED):
        return world.mail(State.SPOOLED, recipients=recipients or ("joe@acme.test",), **fields)


def add_beta(world: World) -> int:
    """Another tenant, with two next hops and an alias."""

    def work(conn: Connection) -> int:
        made = tenants.add_tenant(
            conn, name="beta", now=1, domains=["beta.test"],
            next_hops=[NextHop("192.0.2.7", 2525, 20), NextHop("mx.beta.test", 25, 10)],
        )  # fmt: skip
        aliases.set_alias(conn, tenant="beta", alias="beta-alias.test", of="beta.test", rewrite=False)
        return made

    return world.db.write_sync(work)


def test_by_next_hop(mailguard: Run, world: World) -> None:
    beta = add_beta(world)
    (acme,) = world.mail(State.SPOOLED)
    (ours,) = world.mail(State.SPOOLED, recipients=["b@beta.test"], tenant=beta)
    (alias,) = world.mail(State.SPOOLED, recipients=["b@beta-alias.test"], tenant=beta)
    (report,) = world.mail(State.SPOOLED, recipients=["r@acme.test"], tenant=SYSTEM_TENANT, purpose="dsn")
    (elsewhere,) = world.mail(State.SPOOLED, recipients=["r@far.test"], tenant=SYSTEM_TENANT, purpose="dsn")
    assert listed(mailguard, "--next-hop", "mx.acme.test") == sorted([acme, report])
    assert listed(mailguard, "--next-hop", "MX.acme.test:25") == sorted([acme, report])
    assert listed(mailguard, "--next-hop", "mx.acme.test:26") == []
    assert listed(mailguard, "--next-hop", "mx.beta.test") == sorted([ours, alias])
    assert listed(mailguard, "--next-hop", "192.0.2.7:2525") == sorted([ours, alias])
    assert listed(mailguard, "--next-hop", "192.0.2.7", "--to", "beta.test") == [ours]
    assert mailguard("queue", "list", "--next-hop", "no host").code == 2
    rows = {row["id"]: row for row in mailguard("queue", "list", "--json").json}
    assert rows[ours]["next_hops"] == ["mx.beta.test:25", "192.0.2.7:2525"]
    assert rows[alias]["next_hops"] == rows[ours]["next_hops"]
    assert rows[elsewhere]["next_hops"] == []  # by MX
    assert "mx.acme.test:25" in mailguard("queue", "list").out


def test_mail_of_our_own_goes_by_the_smarthost(mailguard: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILGUARD_OUTBOUND__SMARTHOST", "smart.provider.test:587")
    (report,) = world.mail(State.SPOOLED, recipients=["r@far.test"], tenant=SYSTEM_TENANT, purpose="dsn")
    world.mail(State.SPOOLED)
    assert listed(mailguard, "--next-hop", "smart.provider.test") == [report]
    assert listed(mailguard, "--next-hop", "smart.provider.test:25") == []
    assert mailguard("queue", "list", "--tenant", "system", "--json").json[0]["next_hops"] == [
        "smart.provider.test:587"
    ]


def test_by_age(mailguard: Run, world: World) -> None:
    now = world.db.read_sync(world.db.now)
    (old,) = world.mail(State.SPOOLED, received_at=now - 3 * HOUR)
    (young,) = world.mail(State.SPOOLED)
    assert listed(mailguard, "--older", "2h") == [old]
    assert listed(mailguard, "--older", "4h") == []
    assert mailguard("queue", "list", "--older", "yesterday").code == 2
    assert mailguard("queue", "cancel", "--all", "--older", "2h", "--json").json[0]["id"] == old
    assert unit_of(world, young).state == "spooled"


@pytest.mark.parametrize("command", ["retry", "hold", "unhold", "cancel"])
def test_all_with_a_next_hop(mailguard: Run, world: World, command: str) -> None:
    beta = add_beta(world)
    (ours,) = world.mail(State.SPOOLED, recipients=["b@beta.test"], tenant=beta)
    (acme,) = world.mail(State.SPOOLED)
    if command == "unhold":
        mailguard("queue", "hold", ours, acme)
    before = unit_of(world, acme)
    done = mailguard("queue", command, "--all", "--next-hop", "mx.beta.test", "--json")
    assert done.code == 0
    assert [(change["id"], change["done"]) for change in done.json] == [(ours, True)]
    assert unit_of(world, acme) == before


def test_the_first_attempts_reply_and_due_time_are_listed(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.SPOOLED)
    change = update(schema.queue).where(schema.queue.c.unit == unit)
    values = {"last_reply": "450 4.2.1 Busy", "attempts": 3}
    world.db.write_sync(lambda conn: conn.execute(change.values(**values)).rowcount)
    (row,) = mailguard("queue", "list", "--json").json
    assert (row["queue"]["last_reply"], row["queue"]["attempts"]) == ("450 4.2.1 Busy", 3)
    assert row["queue"]["due_at"] < row["queue"]["expires_at"]
    assert row["next_hops"] == ["mx.acme.test:25"]


# --- cancelling, with senders told ------------------------------------------------------------------------------------


def reports(world: World) -> list[bytes]:
    """The bodies of the reports in the queue."""
    query = select(schema.queue.c.message).where(schema.queue.c.purpose == "dsn").order_by(schema.queue.c.message)
    return [world.blobs.get(message) for message in world.db.read_sync(lambda conn: conn.scalars(query).all())]


def test_a_sender_that_may_be_told_is_told_once_a_message(mailguard: Run, world: World) -> None:
    units = authenticated(world, "joe@acme.test", "ann@acme.test")
    done = mailguard("queue", "cancel", *units, "--dsn", "--why", "asked for", "--json")
    assert done.code == 0
    (report,) = reports(world)
    assert b"Final-Recipient: rfc822; joe@acme.test" in report
    assert b"Final-Recipient: rfc822; ann@acme.test" in report
    assert b"Action: failed" in report
    assert b"took it out of the queue" in report
    assert b"Subject: Hello" in report
    event = unit_of(world, units[0]).events[-1]
    assert (event.to_state, event.detail["why"]) == ("cancelled", "asked for")
    assert str(event.detail["dsn"]) in done.json[0]["outcome"]
    assert mailguard("ledger", "check").code == 0


def test_without_dsn_nobody_is_told(mailguard: Run, world: World) -> None:
    assert mailguard("queue", "cancel", *authenticated(world)).code == 0
    assert reports(world) == []


def test_a_sender_that_may_not_be_told_is_not(mailguard: Run, world: World) -> None:
    (forged,) = world.mail(State.SPOOLED)
    (bounce,) = authenticated(world, mail_from="")
    (release,) = authenticated(world, purpose="release")
    (unwanted,) = authenticated(world)
    options = to_json(replace(RcptOptions(), notify=("NEVER",)))
    change = update(schema.units).where(schema.units.c.id == unwanted).values(options=options)
    world.db.write_sync(lambda conn: conn.execute(change).rowcount)
    done = mailguard("queue", "cancel", forged, bounce, release, unwanted, "--dsn", "--json")
    assert [change["done"] for change in done.json] == [True] * 4
    assert all("may not or would not be told" in change["outcome"] for change in done.json)
    assert reports(world) == []
    assert mailguard("ledger", "check").code == 0


def test_parked_mail_whose_body_is_gone_is_told_of_too(mailguard: Run, world: World) -> None:
    (unit,) = authenticated(world)
    world.move(unit, State.PARKED)
    world.blobs.delete(unit[:26])
    assert mailguard("queue", "cancel", "--all", "--tenant", "acme", "--dsn").code == 0
    assert len(reports(world)) == 1


# --- how long a tenant's mail waits ------------------------------------------------------------------------------------


def expires(world: World, unit: str) -> int:
    queue = unit_of(world, unit).queue
    assert queue is not None
    return queue.expires_at


def test_a_tenants_own_time_in_the_queue(mailguard: Run, world: World) -> None:
    assert mailguard("tenant", "show", "acme", "--json").json["queue_days"] is None
    (waiting,) = world.mail(State.SPOOLED)
    (kept,), (parked,) = world.mail(), world.mail(State.SPOOLED)
    world.move(parked, State.PARKED)
    assert mailguard("tenant", "set", "acme", "--queue-days", "30", "--json").json["queue_days"] == 30
    assert "30 days at most" in mailguard("tenant", "show", "acme").out
    now = world.db.read_sync(world.db.now)
    assert mailguard("quarantine", "release", kept).code == 0
    assert mailguard("queue", "retry", parked).code == 0
    for unit in (waiting, kept, parked):
        assert abs(expires(world, unit) - now - 30 * DAY) < 60 * SECOND, unit
    # Shorter for what comes, never for what waits.
    assert mailguard("tenant", "set", "acme", "--queue-days", "0.01").code == 0
    assert abs(expires(world, waiting) - now - 30 * DAY) < 60 * SECOND
    assert mailguard("tenant", "set", "acme", "--queue-days", "default", "--json").json["queue_days"] is None
    assert "as set for all" in mailguard("tenant", "show", "acme").out


@pytest.mark.parametrize("value", ["0", "0.009", "30.1", "-1", "nan", "inf", "", "week"])
def test_a_time_that_is_out_of_bounds(mailguard: Run, world: World, value: str) -> None:
    done = mailguard("tenant", "set", "acme", f"--queue-days={value}")
    assert done.code == 2
    assert "0.01 to 30" in done.out + done.err
