"""`mailguard audit`: every change that the command line makes is in it, with who made it and why; and it proves itself."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mailguard.core.decision import Reason
from mailguard.core.events import State
from mailguard.store.audit import AuditAction
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

BY = ("--actor", "bob", "--why", "asked by phone")


def entries(mailguard: Run, *filters: str) -> list[dict[str, Any]]:
    done = mailguard("audit", "list", "--json", *filters)
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = done.json
    return found


def texts(entry: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in entry["texts"]:
        found.setdefault(one["role"], []).append(one["text"])
    return found


def ok(mailguard: Run, *arguments: str) -> None:
    done = mailguard(*arguments)
    assert done.code == 0, done.err


def test_quarantine_and_queue_changes_are_recorded(mailguard: Run, world: World, config: Path) -> None:
    (released,), (deleted,) = world.mail(reason=Reason.MALWARE, malware=["Eicar"]), world.mail()
    (waiting,), (parked,) = world.mail(State.SPOOLED), world.mail(State.SPOOLED)
    viewing = [sys.executable, "-m", "mailguard", "--config", str(config), "quarantine", "show", "--raw", released, *BY]
    subprocess.run(viewing, check=True, stdout=subprocess.DEVNULL)
    ok(mailguard, "quarantine", "release", released, "--force", *BY)
    ok(mailguard, "quarantine", "release", released)  # under way already: nothing is done, nothing recorded
    ok(mailguard, "quarantine", "delete", deleted, *BY)
    for command in ("hold", "unhold", "retry", "cancel"):
        ok(mailguard, "queue", command, waiting, *BY)
    assert mailguard("queue", "hold", waiting).code == 1  # it is cancelled: left alone, and so is the log
    found = entries(mailguard)
    assert [(entry["action"], entry["subject"]) for entry in found] == [
        ("quarantine.view", released),
        ("quarantine.release", released),
        ("quarantine.delete", deleted),
        ("queue.hold", waiting),
        ("queue.unhold", waiting),
        ("queue.retry", waiting),
        ("queue.cancel", waiting),
    ]
    people = {"recipient": ["joe@acme.test"], "sender": ["eve@evil.test"]}
    assert all(texts(entry) == {"actor": ["bob"], "why": ["asked by phone"], **people} for entry in found)
    assert {entry["tenant"] for entry in found} == {"acme"}
    assert found[1]["detail"] == {"from": "quarantined", "forced": True, "malware": ["Eicar"]}
    assert [entry["action"] for entry in entries(mailguard, "--action", "queue", "--limit", "1")] == ["queue.cancel"]
    assert entries(mailguard, "--subject", parked) == []
    ok(mailguard, "audit", "verify")


def test_changes_of_tenants_domains_lists_and_recipients_are_recorded(
    mailguard: Run, world: World, tmp_path: Path
) -> None:
    csv = tmp_path / "list.csv"
    csv.write_text("address\njoe@acme.test\nann@acme.test\n")
    commands = (
        "tenant add beta --domain beta.test --next-hop mx.beta.test",
        "tenant set beta --policy strict --soft-bounce --next-hop mx2.beta.test",
        "tenant ldap beta --url ldaps://dir.beta.test --base dc=beta --bind-dn cn=joe --password secret:env:P",
        "tenant domain add beta b2.test",
        "tenant domain alias beta b3.test --of beta.test",
        "tenant domain set beta b2.test --tls required --auth-user joe --auth-password secret:env:Q",
        "tenant domain remove beta b2.test",
        "tenant allow add beta friend@out.test",
        "tenant allow remove beta friend@out.test",
        f"recipient import acme {csv}",
        "recipient add acme eve@acme.test",
        "recipient remove acme joe@acme.test",
        "recipient forget acme",
        "tenant remove beta",
    )
    for command in commands:
        reason = ("--reason", BY[3], *BY[:2]) if "allow add" in command else BY
        ok(mailguard, *command.split(), *reason)
    found = entries(mailguard)
    assert [entry["action"] for entry in found] == [
        "tenant.add",
        "tenant.change",
        "tenant.change",
        "domain.add",
        "domain.alias",
        "domain.change",
        "domain.remove",
        "list.add",
        "list.remove",
        "recipient.import",
        "recipient.add",
        "recipient.remove",
        "recipient.forget",
        "tenant.remove",
    ]
    assert all(texts(entry)["actor"] == ["bob"] for entry in found)
    assert all(texts(entry)["why"] == ["asked by phone"] for entry in found)
    added, changed, ldap, _, alias, security, *_ = found
    assert (added["detail"]["policy"], added["detail"]["domain beta.test"]) == ("default", True)
    assert changed["detail"]["policy"] == ["default", "strict"]
    assert changed["detail"]["soft_bounce"] == [False, True]
    assert changed["detail"]["domain beta.test next_hops"][1][0]["host"] == "mx2.beta.test"
    assert ldap["detail"]["ldap.url"] == [None, "ldaps://dir.beta.test"]
    assert alias["detail"]["domain b3.test alias_of"] == [None, "beta.test"]
    assert security["detail"]["domain b2.test tls"] == [None, "required"]
    # who the directory and the next hop are told we are may be a person's name
    assert "joe" not in json.dumps([ldap["detail"], security["detail"]])
    assert "joe" in texts(security)["change"][0]
    assert texts(found[7])["pattern"] == ["friend@out.test"]
    assert texts(found[9])["added"] == ["ann@acme.test", "joe@acme.test"]
    assert {name: found[9]["detail"][name] for name in ("added", "removed", "total")} == {
        "added": 2,
        "removed": 0,
        "total": 2,
    }
    assert texts(found[11])["removed"] == ["joe@acme.test"]
    ok(mailguard, "audit", "verify")


def test_what_fails_is_not_recorded(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.DISCARDED)
    assert mailguard("quarantine", "delete", unit).code == 1
    assert mailguard("quarantine", "release", unit).code == 1
    assert mailguard("tenant", "set", "nobody", "--policy", "strict").code == 1
    assert mailguard("tenant", "domain", "remove", "acme", "other.test").code == 1
    assert mailguard("recipient", "remove", "acme", "joe@acme.test").code == 1
    assert entries(mailguard) == []


def test_the_list_is_for_people_and_the_user_acts(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(mail_from="e\u202eve@evil.test")
    ok(mailguard, "quarantine", "delete", unit, "--why", "\x1b[2Jspam")
    out = mailguard("audit", "list").out
    assert "ann" in out
    assert "quarantine.delete" in out
    assert "recipient joe@acme.test; sender eve@evil.test; reason spam_score; state quarantined" in out
    assert not {"\x1b", "\u202e"} & set(out)
    shown = mailguard("audit", "show", "1").out
    assert unit in shown
    assert "spam_score" in shown
    assert mailguard("audit", "show", "1", "--json").json["entry"] == 1
    assert mailguard("audit", "show", "2").code == 1
    done = mailguard("audit", "list", "--action", "nonsense")
    assert (done.code, "the nouns are quarantine, queue" in done.err) == (2, True)
    assert mailguard("audit", "list", "--tenant", "nobody").code == 1
    assert mailguard("audit", "list", "--since", "soon").code == 2


def test_verify_says_what_to_keep_and_takes_it_back(mailguard: Run, world: World) -> None:
    units = [world.mail()[0] for _ in range(3)]
    empty = mailguard("audit", "verify", "--json").json
    assert (empty["holds"], empty["entries"]) == (True, 0)
    ok(mailguard, "quarantine", "delete", *units[:2])
    noted = mailguard("audit", "verify", "--json").json["head"]
    assert noted in mailguard("audit", "verify").out
    ok(mailguard, "quarantine", "delete", units[2])
    done = mailguard("audit", "verify", "--head", noted)
    assert (done.code, "noted     entry 2; 1 entries since" in done.out) == (0, True)
    done = mailguard("audit", "verify", "--head", "ab" * 32)
    assert (done.code, "unknown_head" in done.out) == (1, True)
    assert mailguard("audit", "verify", "--head", "abc").code == 2


def test_an_export_is_enough_to_check_the_chain_elsewhere(mailguard: Run, world: World) -> None:
    units = [world.mail()[0] for _ in range(3)]
    ok(mailguard, "quarantine", "delete", *units, "--why", "é\u202e")
    previous = "0" * 64
    for line in mailguard("audit", "export").out.splitlines():
        one = json.loads(line)
        made = json.dumps(one["entry"], sort_keys=True, separators=(",", ":")).encode()
        assert hashlib.sha256(made).hexdigest() == one["hash"]
        assert one["entry"]["previous"] == previous
        previous = one["hash"]
        for (role, committed), text in zip(one["entry"]["commitments"], one["texts"], strict=True):
            said = json.dumps([role, text["text"]], separators=(",", ":")).encode()
            assert hmac.new(bytes.fromhex(text["salt"]), said, "sha256").hexdigest() == committed
    assert previous == mailguard("audit", "verify", "--json").json["head"]
    anonymous = mailguard("audit", "export", "--anonymous", "--after", "1").out
    assert len(anonymous.splitlines()) == 2
    assert "joe@acme.test" not in anonymous


@pytest.mark.parametrize("action", AuditAction)
def test_every_action_fits_its_column(action: AuditAction) -> None:
    assert len(action) <= 32
    assert action.count(".") == 1
