"""`mailguard scan` says offline what the door of a running relay decides: the same score, the same decision, the same why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.mails import infected, mail, spam, with_attachment
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

AS_SENT = ("--client-ip", "127.0.0.1", "--helo", "mail.sender.test", "--mail-from", "a@sender.test")

MAILS = {
    "clean": mail(),
    "infected": infected(),
    "spam": spam(),
    "forged": mail(sender="bank@forged.test"),
    "program": with_attachment(b"MZ\x90\x00" + bytes(60), "invoice.exe"),
    "two froms": b"From: b@sender.test\r\n" + mail(),
    "shouting": mail(
        "URGENT!!! $$$ FREE MONEY", "Dear friend, click http://203.0.113.9/win to claim your prize NOW!!!"
    ),
    "no header": b"\r\njust text\r\n",
    "wreck": b"Content-Type: multipart/mixed; boundary=x\r\nFrom: <<>>\r\n\r\n--x\r\n--x\r\n--x--\r\n--x",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mails")
    for name, message in MAILS.items():
        (folder / f"{name}.eml").write_bytes(message)
    return {name: folder / f"{name}.eml" for name in MAILS}


def scanned(relay: Relay, *arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in relay.run("scan", "--json", *arguments).stdout.splitlines()]


def said_by_the_door(relay: Relay, message: bytes, recipient: str) -> dict[str, Any]:
    """What the trace of a running relay tells of a mail that is sent to it now."""
    relay.send(message, [recipient])
    found: dict[str, Any] = relay.json("trace", "--to", recipient)[-1]
    return found


def offline_and_at_the_door(
    relay: Relay, file: Path, *, recipient: str, tenant: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both say of one mail, while what the relay knows of its sender stays as it is."""
    looks: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def seen_offline() -> dict[str, Any]:
        (one,) = scanned(relay, *AS_SENT, "--rcpt", recipient, "--tenant", tenant, file)
        return one

    def undisturbed() -> bool:
        before = seen_offline()
        door = said_by_the_door(relay, file.read_bytes(), recipient)
        looks.append((seen_offline(), door))
        return bool(before["symbols"] == looks[-1][0]["symbols"])

    wait_until(undisturbed, what="a look at both while nothing is learned")
    return looks[-1]


@pytest.mark.parametrize("name", MAILS)
def test_the_same_as_at_the_door(shared_relay: Relay, files: dict[str, Path], name: str) -> None:
    recipient = f"{name.replace(' ', '.')}@client.test"
    offline, door = offline_and_at_the_door(shared_relay, files[name], recipient=recipient, tenant="acme")
    for key in ("action", "explanation", "policy", "policy_hash", "malware"):
        assert offline[key] == door[key], key
    assert offline["score"] == pytest.approx(door["score"])
    points = [{symbol["name"]: symbol["points"] for symbol in one["symbols"]} for one in (offline, door)]
    assert points[0] == points[1]
    for key in ("auth", "attachments", "link_hosts"):
        assert offline["findings"][key] == door["findings"][key], key


def test_a_tenants_lists_and_profile_count(relay: Relay, files: dict[str, Path], sink: SinkThread) -> None:
    relay.run("tenant", "deny", "add", "acme", "sender.test", "--reason", "no thanks")
    relay.add_tenant("globex", "globex.test", sink.port, "--policy", "tag-only")
    wait_until(lambda: relay.send(mail())[0] == 550, what="the deny entry being used")
    wait_until(lambda: relay.takes("u@globex.test"), what="the other tenant being served")
    for tenant, recipient in (("acme", "v@client.test"), ("globex", "v@globex.test")):
        offline, door = offline_and_at_the_door(relay, files["clean"], recipient=recipient, tenant=tenant)
        assert (offline["action"], offline["explanation"]) == (door["action"], door["explanation"])


def test_tsv_of_paths_from_standard_input(shared_relay: Relay, files: dict[str, Path]) -> None:
    paths = [str(path) for path in files.values()]
    done = shared_relay.cli("scan", *AS_SENT, "--tsv", "-", stdin="\n".join(paths) + "\n")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [path for path, _ in lines] == paths
    scores = {Path(path).stem: float(score) for path, score in lines}
    offline = {Path(one["path"]).stem: one["score"] for one in scanned(shared_relay, *AS_SENT, *paths)}
    assert scores == pytest.approx(offline, abs=0.005)
    assert scores["spam"] > 500 > scores["clean"]


def test_without_scanner_and_network_it_still_explains(new_relay: Callable[..., Relay], files: dict[str, Path]) -> None:
    relay = new_relay(clamd="127.0.0.1:1", dns="127.0.0.1:1")
    done = relay.run("scan", files["clean"])
    assert "does not answer" in done.stderr
    assert "deliver (clean)" in done.stdout
    assert "score" in done.stdout


def test_what_cannot_be_read_ends_nothing_but_the_exit_code(shared_relay: Relay, files: dict[str, Path]) -> None:
    done = shared_relay.run("scan", "--tsv", files["clean"], "/nowhere/at-all.eml", files["spam"], check=False)
    assert done.returncode == 1
    assert "/nowhere/at-all.eml" in done.stderr
    assert len(done.stdout.splitlines()) == 2
