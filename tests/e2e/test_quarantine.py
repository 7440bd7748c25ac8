"""The quarantine of a running relay: found, looked at, released exactly once from however many places, deleted, expired."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.mails import arrived, below_our_block, infected, mail
from tests.servers.clamd import EICAR
from tests.servers.ports import wait_until
from tests.servers.relay import MAILGUARD, ROOT, Relay
from tests.servers.sink_thread import SinkThread

FORGED = mail("from the bank", sender="bank@forged.test")
"""DMARC fails, and its domain asks for rejection: quarantined by the default profile."""


def kept(relay: Relay, recipient: str, message: bytes = FORGED) -> str:
    """Send a mail that is quarantined; the unit's id."""
    code, text = relay.send(message, [recipient])
    assert code == 250, text
    (unit,) = relay.json("quarantine", "list", "--to", recipient)
    return str(unit["id"])


def history(relay: Relay, unit: str) -> list[dict[str, Any]]:
    """The events of a unit."""
    (shown,) = relay.json("quarantine", "show", unit)
    events: list[dict[str, Any]] = shown["events"]
    return events


def until_state(relay: Relay, recipient: str, *states: str) -> None:
    wait_until(lambda: relay.states(recipient) == list(states), what=f"{recipient} being {states}")


def test_it_is_listed_by_tenant_recipient_sender_reason_and_time(shared_relay: Relay, shared_sink: SinkThread) -> None:
    relay = shared_relay
    relay.add_tenant("globex", "globex.test", shared_sink.port)
    wait_until(lambda: relay.takes("u@globex.test"), what="the second tenant being served")
    forged, virus = kept(relay, "lists@client.test"), kept(relay, "lists@globex.test", infected())

    def found(*filters: str) -> set[str]:
        return {unit["id"] for unit in relay.json("quarantine", "list", "--since", "1h", *filters)} & {forged, virus}

    assert found() == {forged, virus}
    assert found("--tenant", "globex") == {virus}
    assert found("--to", "client.test") == {forged}
    assert found("--to", "lists@globex.test") == {virus}
    assert found("--from", "a@sender.test") == {forged, virus}
    assert found("--from", "elsewhere.test") == set()
    assert found("--reason", "malware") == {virus}
    assert found("--reason", "dmarc_fail") == {forged}
    assert found("--until", "1h") == set()
    table = relay.run("quarantine", "list", "--to", "lists@globex.test").stdout
    assert virus in table
    assert "Eicar" in table


def test_what_is_shown_explains_itself_and_looking_is_recorded(shared_relay: Relay) -> None:
    unit = kept(shared_relay, "shown@client.test")
    text = shared_relay.run("quarantine", "show", unit).stdout
    for word in ("from the bank", "bank@forged.test", "dmarc_fail", "dmarc=fail", "default", "shown@client.test"):
        assert word in text
    raw = subprocess.run(
        [MAILGUARD, "--config", shared_relay.config, "quarantine", "show", unit, "--raw", "--actor", "eve"],
        capture_output=True,
        check=True,
    ).stdout
    assert raw == FORGED
    (access,) = [event for event in history(shared_relay, unit) if event["kind"] == "access"]
    assert access["actor"] == "eve"


def test_five_processes_release_it_at_once_and_it_is_delivered_once(
    shared_relay: Relay, shared_sink: SinkThread
) -> None:
    unit = kept(shared_relay, "once@client.test")
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(shared_relay.cli, "quarantine", "release", unit, "--json", check=False) for _ in range(5)]
        done = [call.result() for call in calls]
    assert [one.returncode for one in done] == [0] * 5, [one.stderr for one in done]
    outcomes = [json.loads(one.stdout)[0]["outcome"] for one in done]
    assert outcomes.count("releasing") == 1
    assert set(outcomes) <= {"releasing", "under_way", "released"}
    until_state(shared_relay, "once@client.test", "released")
    shared_relay.run("quarantine", "release", unit)
    (received,) = arrived(shared_sink, "once@client.test")
    assert below_our_block(received.content) == FORGED
    assert received.mail.startswith("MAIL FROM:<a@sender.test>")
    assert [event["to_state"] for event in history(shared_relay, unit) if event["kind"] == "state"] == [
        "quarantined",
        "spooled",
        "released",
    ]


def test_who_released_it_when_and_why_stays_in_the_trace(shared_relay: Relay) -> None:
    unit = kept(shared_relay, "why@client.test")
    shared_relay.run("quarantine", "release", unit, "--actor", "alice", "--why", "the customer called")
    until_state(shared_relay, "why@client.test", "released")
    (released,) = [event for event in history(shared_relay, unit) if event["reason"] == "released_by_admin"][:1]
    assert released["actor"] == "alice"
    assert released["detail"]["why"] == "the customer called"
    text = shared_relay.run("trace", "--to", "why@client.test").stdout
    assert "alice" in text
    assert "the customer called" in text


def test_again_delivers_it_once_more(shared_relay: Relay, shared_sink: SinkThread) -> None:
    unit = kept(shared_relay, "again@client.test")
    shared_relay.run("quarantine", "release", unit)
    until_state(shared_relay, "again@client.test", "released")
    assert len(arrived(shared_sink, "again@client.test")) == 1
    assert "--again" in shared_relay.run("quarantine", "release", unit).stdout
    shared_relay.run("quarantine", "release", unit, "--again")
    wait_until(lambda: len(arrived(shared_sink, "again@client.test")) == 2, what="the second delivery")
    until_state(shared_relay, "again@client.test", "released")


def test_malware_is_released_by_force_only(shared_relay: Relay, shared_sink: SinkThread) -> None:
    unit = kept(shared_relay, "force@client.test", infected())
    refused = shared_relay.run("quarantine", "release", unit, check=False)
    assert refused.returncode == 1
    assert "--force" in refused.stdout
    shared_relay.run("quarantine", "release", unit, "--force", "--actor", "bob")
    until_state(shared_relay, "force@client.test", "released")
    (received,) = arrived(shared_sink, "force@client.test")
    assert EICAR in received.content
    (released,) = [event for event in history(shared_relay, unit) if event["actor"] == "bob"]
    assert released["detail"]["forced"] is True
    assert released["detail"]["malware"] == ["Eicar-Test.UNOFFICIAL"]


def test_all_that_match_are_released_malware_left_alone(shared_relay: Relay, shared_sink: SinkThread) -> None:
    shared_relay.send(FORGED, ["a1@client.test", "a2@client.test", "a3@client.test"])
    shared_relay.send(infected(), ["a4@client.test"])
    done = shared_relay.run("quarantine", "release", "--all", "--since", "1h", "--reason", "dmarc_fail", "--to", "client.test", "--json")  # fmt: skip
    assert {result["recipient"] for result in json.loads(done.stdout)} >= {f"a{n}@client.test" for n in (1, 2, 3)}
    for number in (1, 2, 3):
        until_state(shared_relay, f"a{number}@client.test", "released")
        assert len(arrived(shared_sink, f"a{number}@client.test")) == 1
    assert shared_relay.states("a4@client.test") == ["quarantined"]


def test_a_release_that_the_next_hop_refuses_returns_to_quarantine(relay: Relay, sink: SinkThread) -> None:
    unit = kept(relay, "u@client.test")
    sink.sink.script = {"rcpt": "550 5.2.1 Mailbox disabled"}
    relay.run("quarantine", "release", unit)
    until_state(relay, "u@client.test", "quarantined")
    wait_until(lambda: len(history(relay, unit)) > 2, what="the attempt in the trace")
    assert "5.2.1" in json.dumps(history(relay, unit))
    sink.sink.script = {}
    relay.run("quarantine", "release", unit)
    until_state(relay, "u@client.test", "released")
    assert len(arrived(sink, "u@client.test")) == 1


def test_a_release_waits_while_the_next_hop_is_down(relay: Relay, sink: SinkThread) -> None:
    unit = kept(relay, "u@client.test")
    sink.stop()
    relay.run("quarantine", "release", unit)
    wait_until(lambda: "attempt" in {event["kind"] for event in history(relay, unit)}, what="an attempt")
    assert relay.states("u@client.test") == ["spooled"]
    (again,) = json.loads(relay.run("quarantine", "release", unit, "--json").stdout)
    assert again["outcome"] == "under_way"
    sink.start()
    until_state(relay, "u@client.test", "released")
    assert len(arrived(sink, "u@client.test")) == 1


def test_deleted_mail_is_gone_for_good_but_not_from_the_trace(shared_relay: Relay) -> None:
    unit = kept(shared_relay, "deleted@client.test")
    shared_relay.run("quarantine", "delete", unit, "--actor", "carol", "--why", "nobody wants it")
    assert shared_relay.states("deleted@client.test") == ["deleted"]
    assert shared_relay.run("quarantine", "release", unit, check=False).returncode == 1
    assert shared_relay.run("quarantine", "show", unit, "--raw", check=False).returncode == 1
    assert shared_relay.json("quarantine", "list", "--to", "deleted@client.test") == []
    text = shared_relay.run("trace", "--to", "deleted@client.test").stdout
    assert "carol" in text
    assert "nobody wants it" in text


def test_retention_ends_and_the_body_goes(new_relay: Callable[..., Relay], sink: SinkThread, tmp_path: Path) -> None:
    policies = Path(shutil.copytree(ROOT / "policies", tmp_path / "policies"))
    default = policies / "default.yaml"
    default.write_text(default.read_text().replace("  quarantine: 30\n", "  quarantine: 0.00001\n"))
    relay = new_relay(policies=policies)
    relay.add_tenant("acme", "client.test", sink.port)
    relay.start()
    forged, virus = kept(relay, "u@client.test"), kept(relay, "v@client.test", infected())
    relay.stop()
    relay.start()
    until_state(relay, "u@client.test", "expired")
    assert relay.states("v@client.test") == ["quarantined"]  # its own retention is longer
    (expiry,) = [event for event in history(relay, forged) if event["to_state"] == "expired"]
    assert (expiry["reason"], expiry["actor"]) == ("retention", "")
    assert relay.run("quarantine", "release", forged, check=False).returncode == 1
    relay.stop()
    relay.start()
    bodies = {path.name for path in (relay.root / "data").rglob("*") if path.is_file()}
    wait_until(lambda: not any(forged[:26] in name for name in bodies_of(relay)), what="the body being removed")
    assert any(virus[:26] in name for name in bodies)


def bodies_of(relay: Relay) -> set[str]:
    return {path.name for path in (relay.root / "data").rglob("*") if path.is_file()}


@pytest.mark.parametrize("arguments", [["release"], ["release", "--all"], ["delete", "--all"], ["release", "nonsense"]])
def test_what_is_not_named_is_not_touched(shared_relay: Relay, arguments: list[str]) -> None:
    done = shared_relay.run("quarantine", *arguments, check=False)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
