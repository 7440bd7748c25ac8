"""`mailguard sla`, `maintenance`, `report spam|virus|false-positive` and `quarantine request`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import update
from sqlalchemy.engine import Connection

from mailguard.core.clock import HOUR, MINUTE
from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from mailguard.store import probes, schema
from mailguard.store.probes import ProbeResult
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

MONTH = datetime.now(UTC).strftime("%Y-%m")


def measured(mailguard: Run) -> dict[str, object]:
    (found,) = mailguard("sla", "--month", MONTH, "--tenant", "acme", "--json").json
    assert isinstance(found, dict)
    return found


def delivered(world: World) -> str:
    (unit,) = world.mail(State.FORWARDING, reason=Reason.CLEAN, action=Action.DELIVER)
    world.move(unit, State.DELIVERED)
    return unit


def test_without_mail_and_probes_nothing_is_promised_and_all_is_said(mailguard: Run, world: World) -> None:
    found = measured(mailguard)
    assert (found["tenant"], found["plan"], found["commitments"]) == ("acme", None, [])
    assert found["delay_ms"] is None
    shown = mailguard("sla", "--month", MONTH).out
    assert "acme (no contract, so nothing is promised)" in shown
    assert "no mail was delivered" in shown
    assert mailguard("sla", "--month", "2026-13").code == 2
    assert mailguard("sla", "--month", MONTH, "--tenant", "nobody").code == 1


def test_reports_are_counted_once_and_can_be_taken_back(mailguard: Run, world: World) -> None:
    unit = delivered(world)
    kept, other = world.mail(recipients=["a@acme.test", "b@acme.test"])
    assert mailguard("report", "spam", unit, "--why", "an offer", "--no-learn").out.endswith("reported as spam\n")
    assert "was reported so already" in mailguard("report", "spam", unit).out
    assert mailguard("report", "virus", unit, "--json").json == [
        {"id": unit, "recipient": "joe@acme.test", "changed": True}
    ]
    assert measured(mailguard)["spam"] == {"stopped": 2, "missed": 1}
    assert mailguard("report", "spam", unit, "--undo").out.endswith("taken back\n")
    assert measured(mailguard)["spam"] == {"stopped": 2, "missed": 0}
    refused = mailguard("report", "spam", kept)
    assert (refused.code, "only mail that was delivered" in refused.err) == (1, True)
    assert mailguard("report", "false-positive", unit).code == 1
    assert mailguard("report", "spam", "01J00000000000000000000000").code == 1
    actions = {entry["action"] for entry in mailguard("audit", "list", "--json").json}
    assert "report.mail" in actions
    assert mailguard("report", "false-positive", other, "--json").json[0]["changed"]
    found = measured(mailguard)
    assert (found["false_positives"], found["spam"]) == (1, {"stopped": 1, "missed": 0})


def test_a_release_can_be_marked_as_a_false_positive(mailguard: Run, world: World) -> None:
    (unit,) = world.mail()
    assert mailguard("quarantine", "release", unit, "--force", "--false-positive").code == 0
    assert measured(mailguard)["false_positives"] == 1
    assert mailguard("quarantine", "release", unit, "--false-positive").code == 0
    assert measured(mailguard)["false_positives"] == 1


def test_a_request_waits_until_it_is_answered(mailguard: Run, world: World) -> None:
    one, other = world.mail(recipients=["a@acme.test", "b@acme.test"])
    assert mailguard("quarantine", "request", one[:26]).out.count("requested") == 2
    assert "was requested already" in mailguard("quarantine", "request", one).out
    assert measured(mailguard)["release_requests"] == {"made": 2, "unanswered": 2}
    mailguard("quarantine", "release", one, "--force")
    mailguard("quarantine", "delete", other)
    assert measured(mailguard)["release_requests"] == {"made": 2, "unanswered": 0}
    assert mailguard("quarantine", "request", other).code == 1


def test_maintenance_is_announced_listed_and_taken_back(mailguard: Run, world: World) -> None:
    added = mailguard("maintenance", "add", "--from", "2d", "--for", "2h", "--why", "new disks", "--json").json
    assert (added["tenant"], added["by"], added["why"]) == (None, "ann", "new disks")
    soon = mailguard("maintenance", "add", "--from", "1h", "--for", "1h", "--tenant", "acme")
    assert "it does not count for the SLA" in soon.out
    listed = mailguard("maintenance", "list", "--json").json
    assert [window["tenant"] for window in listed] == ["acme", None]
    assert "new disks" in mailguard("maintenance", "list").out
    assert mailguard("maintenance", "remove", str(added["id"])).code == 0
    assert len(mailguard("maintenance", "list", "--json").json) == 1
    assert mailguard("maintenance", "remove", str(added["id"])).code == 1
    actions = [entry["action"] for entry in mailguard("audit", "list", "--json").json]
    assert actions.count("maintenance.add") == 2
    assert actions.count("maintenance.remove") == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--from", "2020-01-01", "--for", "2h"], 1),
        (["--from", "2h"], 2),
        (["--from", "2h", "--to", "1h"], 1),
        (["--from", "2h", "--to", "1h", "--for", "1h"], 2),
        (["--from", "soon", "--for", "1h"], 2),
        (["--from", "2h", "--for", "1h", "--tenant", "nobody"], 1),
    ],
)
def test_what_cannot_be_announced(mailguard: Run, world: World, arguments: list[str], code: int) -> None:
    assert mailguard("maintenance", "add", *arguments).code == code
    assert mailguard("maintenance", "list", "--json").json == []


def test_the_door_is_measured_from_the_tenants_beginning(mailguard: Run, world: World) -> None:
    def begin_earlier(conn: Connection) -> int:
        at = world.db.now(conn) - 2 * HOUR
        conn.execute(update(schema.tenants).values(created_at=at))
        return at

    at = world.db.write_sync(begin_earlier)
    results = [ProbeResult(2, at + minute * MINUTE, "here", up=True) for minute in range(0, 120, 5)]
    world.db.write_sync(lambda conn: probes.record(conn, results))
    door = measured(mailguard)["door"]
    assert isinstance(door, dict)
    assert door["down"] <= 1  # the first of the month may have begun meanwhile
    assert "times up" in mailguard("sla", "--month", MONTH).out
