"""Erasing a person who was billed for: invoices stay byte for byte, and what is behind their lines is still as much."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailguard.core.events import State
from tests.ledger_of import Clock, World
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_bill import BILLING, BUYER, GOLD

JOE = "joe@acme.test"


@pytest.fixture
def world(config: Path) -> Iterator[World]:
    """A tenant with a contract, whose mail came in March 2025."""
    config.write_text(config.read_text() + BILLING)
    folder = config.parent / "policies" / "plans"
    folder.mkdir()
    (folder / "gold.yaml").write_text(GOLD)
    at = int(datetime(2025, 3, 5, 12, tzinfo=UTC).timestamp() * 1000)
    world = World(config.parent, clock=Clock(at))
    for recipients in ([JOE, "ann@acme.test"], ["joe+news@acme.test"], ["bob@acme.test"]):
        for unit in world.mail(State.SPOOLED, recipients=recipients):
            world.move(unit, State.DELIVERED)
    yield world
    world.close()


def ok(mailguard: Run, *arguments: str) -> Any:
    done = mailguard(*arguments)
    assert done.code == 0, done.err
    return done


def test_invoices_and_their_evidence_hold(world: World, mailguard: Run) -> None:
    ok(mailguard, "contract", "add", "acme", "--plan", "gold", "--start", "2025-03-01", *BUYER, "--buyer-email", JOE)
    ok(mailguard, "bill", "run", "--month", "2025-03", "--tenant", "acme")
    (invoice,) = (row["number"] for row in ok(mailguard, "bill", "list", "--json").json)
    document = ok(mailguard, "bill", "show", invoice, "--json").out
    lines = range(1, len(ok(mailguard, "bill", "show", invoice, "--json").json["lines"]) + 1)

    def evidence() -> list[list[tuple[str, ...]]]:
        explained = [ok(mailguard, "bill", "explain", invoice, str(line), "--json").json for line in lines]
        return [
            sorted((one["first_mail"], str(one["messages"]), str(one["octets"])) for one in found.get("mailboxes", ()))
            for found in explained
        ]

    before = evidence()
    assert max(map(len, before)) == 3
    usage = ok(mailguard, "usage", "--month", "2025-03", "--json").json["tenants"]
    done = ok(mailguard, "privacy", "erase", JOE, "--json").json
    assert done["erased"]["messages"] == 2
    assert [note.split(" names")[0] for note in done["kept"]] == ["contract 1", f"invoice {invoice}"]
    assert evidence() == before
    assert ok(mailguard, "bill", "show", invoice, "--json").out == document
    assert ok(mailguard, "usage", "--month", "2025-03", "--json").json["tenants"] == usage
    ok(mailguard, "usage", "--month", "2025-03", "--recount")
    explained = "".join(ok(mailguard, "bill", "explain", invoice, str(line)).out for line in lines)
    assert JOE not in explained
    assert "ann@acme.test" in explained
    for proof in (("ledger", "check"), ("audit", "verify")):
        ok(mailguard, *proof)
