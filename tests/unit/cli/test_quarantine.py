"""`mailguard quarantine`: finding kept mail, looking at it, releasing and deleting it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailguard.core.clock import DAY
from mailguard.core.decision import Reason
from mailguard.core.events import State
from mailguard.store import trace
from mailguard.store.trace import TracedUnit
from tests.ledger_of import RAW, World
from tests.unit.cli.conftest import Ran, Run


def unit_of(world: World, unit: str) -> TracedUnit:
    (found,) = world.db.read_sync(lambda conn: trace.with_events(conn, trace.look_up(conn, [unit])))
    return found


def ids_of(done: Ran) -> list[str]:
    assert done.code == 0, done.err
    return [unit["id"] for unit in done.json]


def test_list_with_filters(mailguard: Run, world: World) -> None:
    now = world.db.read_sync(world.db.now)
    (old,) = world.mail(received_at=now - 9 * DAY)
    (malware,) = world.mail(
        reason=Reason.MALWARE, malware=["Eicar"], recipients=["ann@acme.test"], mail_from="b@o.test"
    )
    quarantine = "quarantine", "list", "--json"
    assert ids_of(mailguard(*quarantine)) == [old, malware]
    assert ids_of(mailguard(*quarantine, "--since", "7d")) == [malware]
    assert ids_of(mailguard(*quarantine, "--until", "7d")) == [old]
    assert ids_of(mailguard(*quarantine, "--tenant", "acme", "--reason", "malware")) == [malware]
    assert ids_of(mailguard(*quarantine, "--recipient", "joe@acme.test")) == [old]
    assert ids_of(mailguard(*quarantine, "--from", "o.test")) == [malware]
    assert ids_of(mailguard(*quarantine, "--limit", "1")) == [malware]
    out = mailguard("quarantine", "list").out
    assert "Eicar" in out
    assert "ann@acme.test" in out
    assert mailguard("quarantine", "list", "--tenant", "nobody").code == 1
    assert mailguard("quarantine", "list", "--since", "soon").code == 2
    assert mailguard("quarantine", "list", "--reason", "mood").code == 2


def test_show_explains_and_escapes(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(subject="Pay \x1b[2J\u202e[bold red]now[/]\n")
    out = mailguard("quarantine", "show", unit[:26]).out
    assert "Pay [2J[bold red]now[/]" in out
    assert "score 8.2 ≥ quarantine at 8.0" in out
    lines = [line.strip() for line in out.splitlines()]
    at = lines.index("+4.20  SPF_FAIL")
    assert lines[at + 1 : at + 5] == [
        "(what it was seen in is not recorded)",
        "+4.00  SUSPICIOUS_LINK: a link",
        "http://evil.test/[31m",
        "→ docs/checks/rules.md",
    ]
    assert "invoice.exe: application/x-dosexec, 99 octets, SHA-256 ab" in out
    assert not {"\x1b", "\u202e"} & set(out)
    (shown,) = mailguard("quarantine", "show", unit, "--json").json
    assert shown["subject"] == "Pay \x1b[2J\u202e[bold red]now[/]\n"  # JSON is for programs, escaped as ASCII
    assert shown["events"][0]["to_state"] == "quarantined"
    assert shown["findings"]["checks"][2]["symbols"][0]["evidence"] == ["http://evil.test/\x1b[31m"]


def test_show_raw_prints_the_message_and_records_who_looked(world: World, config: Path) -> None:
    (unit,) = world.mail()
    command = [sys.executable, "-m", "mailguard", "--config", str(config), "quarantine", "show", "--raw", unit]
    done = subprocess.run([*command, "--actor", "bob", "--why", "asked"], capture_output=True, check=True)
    assert done.stdout == RAW
    event = unit_of(world, unit).events[-1]
    assert (event.kind, event.actor, event.detail["why"]) == ("access", "bob", "asked")


def test_show_raw_of_what_is_gone(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.QUARANTINED)
    assert mailguard("quarantine", "show", "--raw", "01J00000000000000000000000").code == 1
    world.blobs.delete(unit[:26])
    done = mailguard("quarantine", "show", "--raw", unit)
    assert done.code == 1
    assert "not kept" in done.err


def test_release_once_and_once_only(mailguard: Run, world: World) -> None:
    (unit,) = world.mail()
    done = mailguard("quarantine", "release", unit, "--why", "a customer", "--json")
    assert (done.code, [entry["outcome"] for entry in done.json]) == (0, ["releasing"])
    done = mailguard("quarantine", "release", unit, "--json")
    assert (done.code, [entry["outcome"] for entry in done.json]) == (0, ["under_way"])
    event = unit_of(world, unit).events[-1]
    assert (event.actor, event.detail["why"]) == ("ann", "a customer")
    world.move(unit, State.RELEASED)
    done = mailguard("quarantine", "release", unit)
    assert done.code == 0
    assert "--again" in done.out
    done = mailguard("quarantine", "release", unit, "--again", "--json")
    assert [entry["outcome"] for entry in done.json] == ["releasing"]


def test_malware_is_left_alone_without_force(mailguard: Run, world: World) -> None:
    (unit,), (spam,) = world.mail(reason=Reason.MALWARE, malware=["Eicar-Signature"]), world.mail()
    done = mailguard("quarantine", "release", unit, spam)
    assert done.code == 1
    assert "holds malware; --force releases it all the same (Eicar-Signature)" in done.out
    assert [unit_of(world, one).state for one in (unit, spam)] == ["quarantined", "spooled"]
    assert mailguard("quarantine", "release", unit, "--force").code == 0
    assert unit_of(world, unit).events[-1].detail["malware"] == ["Eicar-Signature"]


def test_release_all_takes_filters_and_batches(mailguard: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailguard.cli.quarantine.BATCH", 2)
    wanted = [world.mail(recipients=["ann@acme.test"])[0] for _ in range(5)]
    (other,) = world.mail()
    done = mailguard("quarantine", "release", "--all", "--to", "ann@acme.test", "--json")
    assert sorted(entry["id"] for entry in done.json) == sorted(wanted)
    assert {unit_of(world, unit).state for unit in wanted} == {"spooled"}
    assert unit_of(world, other).state == "quarantined"
    done = mailguard("quarantine", "release", "--all", "--to", "ann@acme.test")
    assert (done.code, done.out) == (0, "nothing in quarantine matches\n")


def test_which_mail_must_be_said_clearly(mailguard: Run, world: World) -> None:
    (unit,) = world.mail()
    for arguments in ((), ("--all",), (unit, "--all"), (unit, "--to", "joe@acme.test")):
        for command in ("release", "delete"):
            assert mailguard("quarantine", command, *arguments).code == 2, arguments
    assert mailguard("quarantine", "release", "01J00000000000000000000000-1").code == 1
    assert mailguard("quarantine", "release", "../../etc/passwd").code == 1
    assert unit_of(world, unit).state == "quarantined"


def test_delete(mailguard: Run, world: World) -> None:
    units = world.mail(recipients=["a@acme.test", "b@acme.test"])
    assert mailguard("quarantine", "delete", units[0], "--why", "spam").out == "1 mail deleted\n"
    assert unit_of(world, units[0]).events[-1].actor == "ann"
    assert mailguard("quarantine", "delete", units[0]).code == 1  # it is no longer kept
    assert mailguard("quarantine", "delete", "--all", "--tenant", "acme").out == "1 mail deleted\n"
    assert mailguard("quarantine", "list", "--json").json == []


def test_a_restored_database_without_its_files_says_so(mailguard: Run, world: World, config: Path) -> None:
    (unit,) = world.mail()
    world.blobs.delete(unit[:26])
    done = mailguard("ledger", "check")
    assert done.code == 1
    assert unit[:26] in done.out
