"""Notes about tenants that were promised availability and are not probed: at the contract, by `mailguard sla`, and on the bill's run."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from mailguard.core.clock import HOUR, MINUTE
from mailguard.store import probes, schema
from mailguard.store.probes import ProbeResult
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

SELLER = """
[billing]
seller_name = "Provider GmbH"
seller_country = "DE"
seller_tax_id = "DE123456789"
"""
GOLD = """
description: Gold
currency: EUR
monthly_fee: 30
tax_rate: 19
"""
PROMISE = "sla: {availability: {target: 99.9, credits: [{below: 99.9, percent: 10}]}}\n"
BUYER = ("--buyer-name", "Acme Ltd", "--buyer-country", "DE")
TODAY = datetime.now(UTC).date()
MONTH = f"{TODAY:%Y-%m}"
NOT_PROBED = "availability is promised, but acme has never been probed"


@pytest.fixture
def signed(config: Path, world: World, mailguard: Run) -> Run:
    """Plans `gold`, which promises availability, and `plain`, which does not; `acme` has been there for years."""
    config.write_text(config.read_text() + SELLER)
    folder = config.parent / "policies" / "plans"
    folder.mkdir()
    (folder / "gold.yaml").write_text(GOLD + PROMISE)
    (folder / "plain.yaml").write_text(GOLD)
    world.db.write_sync(lambda conn: conn.execute(update(schema.tenants).values(created_at=0)).rowcount)
    return mailguard


def add(run: Run, plan: str, start: date, *more: str) -> object:
    """A contract."""
    return run("contract", "add", "acme", "--plan", plan, "--start", start.isoformat(), *BUYER, *more)


def probed(world: World, start: int, end: int, *, up: bool = True) -> None:
    """A result in the midst of each slot."""
    found = [ProbeResult(world.tenant, at + MINUTE, "here", up=up) for at in range(start, end, 5 * MINUTE)]
    world.db.write_sync(lambda conn: probes.record(conn, found))


def midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def test_a_contract_that_promises_availability_says_that_nobody_probes(signed: Run, world: World) -> None:
    added = signed("contract", "add", "acme", "--plan", "gold", "--start", str(TODAY), *BUYER)
    assert (added.code, NOT_PROBED in added.err, "mailguard probe --tenant acme" in added.err) == (0, True, True)
    shown = signed("contract", "show", "acme", "--json")
    assert NOT_PROBED in shown.err
    assert NOT_PROBED in shown.json["notes"][0]
    changed = signed("contract", "change", "acme", "--price", "31", "--from", str(TODAY))
    assert NOT_PROBED in changed.err

    now = world.db.read_sync(world.db.now)
    probed(world, now - HOUR, now - HOUR + 1)
    assert "acme was last probed at " in signed("contract", "show", "acme").err
    probed(world, now - MINUTE, now)
    shown = signed("contract", "show", "acme", "--json")
    assert (shown.err, shown.json["notes"]) == ("", [])


def test_where_nothing_is_promised_or_it_is_over_nothing_is_said(signed: Run) -> None:
    assert add(signed, "plain", TODAY, "--term", "0", "--renewal", "0").err == ""  # type: ignore[attr-defined]
    later = TODAY + timedelta(days=40)
    assert NOT_PROBED in signed("contract", "change", "acme", "--plan", "gold", "--from", str(later)).err
    done = signed("contract", "cancel", "acme", "--on", str(TODAY - timedelta(days=1)), "--waive-notice")
    assert done.code == 0, done.err
    assert NOT_PROBED not in signed("contract", "show", "acme").err


def test_the_service_level_says_what_counts_as_down_for_want_of_probes(signed: Run, world: World) -> None:
    start = TODAY.replace(day=1)
    add(signed, "gold", start)
    now = world.db.read_sync(world.db.now)
    if now < midnight(start) + HOUR:
        pytest.skip("the month has only begun")
    shown = signed("sla", "--month", MONTH)
    assert "nobody probed" in shown.out
    assert "10 % rather than 0 %" in shown.out
    assert "nobody probed" in signed("sla", "--month", MONTH, "--json").json[0]["notes"][0]
    probed(world, midnight(start), now)
    assert "nobody probed" not in signed("sla", "--month", MONTH).out
    assert signed("sla", "--month", MONTH, "--json").json[0]["notes"] == []


@pytest.mark.parametrize("dry", [["--dry-run"], ["--no-pdf"]])
def test_the_bill_says_which_credits_are_for_want_of_probes(signed: Run, dry: list[str]) -> None:
    add(signed, "gold", date(2025, 1, 1))
    ran = signed("bill", "run", "--month", "2025-01", *dry, "--json").json
    assert "nobody probed in 8,928 of 8,928" in ran["invoices"][0]["notes"][0]
    again = signed("bill", "run", "--month", "2025-01", *dry)
    assert "note: acme: nobody probed" in again.out
    assert "docs/probe.md" in again.out


@pytest.mark.parametrize(("up", "noted"), [(True, False), (False, False)])
def test_what_was_probed_is_no_matter_of_missing_probes(signed: Run, world: World, up: bool, noted: bool) -> None:
    add(signed, "gold", date(2025, 1, 1))
    probed(world, midnight(date(2025, 1, 1)), midnight(date(2025, 2, 1)), up=up)
    one = signed("bill", "run", "--month", "2025-01", "--no-pdf", "--json").json["invoices"][0]
    assert bool(one["notes"]) is noted
    document = signed("bill", "show", one["invoice"]["number"], "--json").json
    assert any(line["kind"] == "sla_credit" for line in document["lines"]) is not up
