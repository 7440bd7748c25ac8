"""`mailguard probe` against a running relay: what is well, what is not and why, and that nobody pays for it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailguard.core.clock import MINUTE, system_clock
from mailguard.core.ids import new_message_id
from mailguard.watch.probe_mails import probe_mail
from mailguard.watch.probe_mark import Kind, Mark
from mailguard.watch.probe_result import line_of, read
from tests.dns_server import DnsServer
from tests.servers.clamd import Clamd, private_clamd
from tests.servers.ports import free_port, wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink

KEY = "0123456789abcdef" * 4
SECTION = f'[probe]\nkey = "{KEY}"\nsender = "probe@sender.test"\nplace = "here"\n'
MONTH = datetime.now(UTC).strftime("%Y-%m")
CANARY = "canary@client.test"


@pytest.fixture(scope="module")
def sink() -> Iterator[SinkThread]:
    with running_sink() as made:
        yield made


@pytest.fixture(scope="module")
def canary_port() -> int:
    """Where the probe listens; nobody else does."""
    return free_port()


@pytest.fixture(scope="module")
def relay(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, sink: SinkThread, canary_port: int
) -> Iterator[Relay]:
    """acme's mail goes to the probe itself, globex's to a server of its own, initech's nowhere."""
    made = Relay(tmp_path_factory.mktemp("relay"), clamd=clamd.address, dns=dns_server.address, more=SECTION)
    made.add_tenant("acme", "client.test", canary_port)
    made.add_tenant("globex", "globex.test", sink.port)
    made.add_tenant("initech", "initech.test", free_port())
    yield made.start()
    made.stop()
    made.run("ledger", "check")


def probed(relay: Relay, *options: object) -> tuple[int, dict[str, Any]]:
    done = relay.run("probe", *options, "--json", check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def fates(result: dict[str, Any]) -> tuple[object, ...]:
    return tuple(result[name] for name in ("up", "delivered", "virus_stopped", "spam_stopped"))


def delivered(relay: Relay, tenant: str) -> int:
    """How many mails the tenant is billed for."""
    (one,) = relay.json("usage", "--month", MONTH, "--tenant", tenant)["tenants"]
    return int(one["delivered"]["units"])


def test_all_is_well_and_nobody_pays_or_is_disturbed(relay: Relay, canary_port: int) -> None:
    code, result = probed(relay, "--tenant", "acme", "--listen", f"127.0.0.1:{canary_port}", "--record")
    assert code == 0, result["detail"]
    assert fates(result) == (True, True, True, True)
    assert (result["recipient"], result["place"], result["detail"]) == (CANARY, "here", "")
    clean = next(mail for mail in result["mails"] if mail["kind"] == "clean")
    assert 0 <= clean["connect_ms"] <= clean["reply_ms"] == result["door_ms"]
    assert result["delivery_ms"] == clean["arrival_ms"] is not None

    usage = relay.json("usage", "--month", MONTH, "--tenant", "acme")["tenants"]
    assert all(one[count]["units"] == 0 for one in usage for count in ("received", "delivered", "quarantined"))
    assert relay.json("quarantine", "list", "--tenant", "acme") == []
    kept = relay.json("quarantine", "list", "--tenant", "acme", "--probes")
    assert [(unit["reason"], unit["probe"]) for unit in kept] == [("malware", True)]
    relay.run("quarantine", "release", "--all", "--tenant", "acme", "--force", check=False)
    assert sorted(relay.states(CANARY)) == ["delivered", "quarantined", "rejected"]
    traced = relay.json("trace", "--to", CANARY)
    assert {(unit["state"], unit["probe"]) for unit in traced} >= {("delivered", True), ("quarantined", True)}
    assert "a mail of `mailguard probe`" in relay.run("trace", "--to", CANARY).stdout
    sla = relay.json("sla", "--month", MONTH, "--tenant", "acme")[0]
    assert (sla["virus"]["stopped"], sla["spam"]["stopped"], sla["good"], sla["delay_ms"]) == (0, 0, 0, None)
    assert 'mailguard_probe_well{tenant="acme"} 1.0' in relay.get("/metrics")[1]


def test_the_record_alone_shows_it_too(relay: Relay) -> None:
    done = relay.run("probe", "--tenant", "globex")
    assert "all is as it must be" in done.stdout
    before = delivered(relay, "globex")
    assert probed(relay, "--tenant", "globex", "--only", "clean")[0] == 0
    assert delivered(relay, "globex") == before


def test_results_of_another_host_are_recorded_once_and_only_if_genuine(relay: Relay, canary_port: int) -> None:
    place = ("--place", "elsewhere", "--to", CANARY, "--no-database")
    code, result = probed(relay, "--tenant", "acme", "--listen", f"127.0.0.1:{canary_port}", *place)
    assert (code, fates(result)) == (0, (True, True, True, True)), result["detail"]
    line = json.dumps(result)
    recorded = [relay.cli("probe", "record", "-", stdin=f"{line}\n{line}\n").stdout for _ in range(2)]
    assert recorded[0].startswith("1 recorded, 1 recorded before")
    assert recorded[1].startswith("0 recorded, 2 recorded before")
    forged = json.dumps({**result, "delivered": False})
    future = line_of(replace(read(line, key=KEY), at=system_clock() + 10 * MINUTE), key=KEY)
    for wrong, word in ((forged, "signed"), (future, "future"), ("nonsense", "not a line")):
        done = relay.cli("probe", "record", "-", stdin=f"{wrong}\n", check=False)
        assert done.returncode == 2
        assert word in done.stderr
        assert "line 1" in done.stderr


def test_a_dead_next_hop_shows_as_not_delivered_while_the_door_is_up(relay: Relay) -> None:
    code, result = probed(relay, "--tenant", "initech", "--timeout", 5, "--record")
    assert code == 1
    assert fates(result) == (True, False, True, True)
    assert "not delivered within 5 s: it is spooled" in result["detail"]
    assert 'mailguard_probe_well{tenant="initech"} 0.0' in relay.get("/metrics")[1]


def test_a_door_that_is_shut_shows_as_down(relay: Relay) -> None:
    code, result = probed(relay, "--tenant", "acme", "--server", f"127.0.0.1:{free_port()}", "--timeout", 5)
    assert code == 1
    assert fates(result) == (False, False, None, None)
    assert "the door did not take the clean mail" in result["detail"]


def test_tls_is_insisted_on(relay: Relay) -> None:
    assert probed(relay, "--tenant", "globex", "--only", "clean", "--starttls")[0] == 0
    code, result = probed(relay, "--tenant", "globex", "--only", "clean", "--verify")
    assert (code, result["up"]) == (1, False)
    assert "certificate" in result["detail"]  # the relay's is a self-made one


def test_a_relay_with_another_key_bills_it_and_the_probe_says_so(relay: Relay, sink: SinkThread) -> None:
    before = delivered(relay, "globex")
    relay.environment["MAILGUARD_PROBE__KEY"] = "x" * 32
    try:
        code, result = probed(relay, "--tenant", "globex", "--only", "clean")
    finally:
        del relay.environment["MAILGUARD_PROBE__KEY"]
    assert (code, result["delivered"]) == (1, True)
    assert "did not know it for a probe" in result["detail"]
    assert delivered(relay, "globex") == before + 1


def test_a_mark_makes_one_mail_free_and_no_copy_of_it(relay: Relay, sink: SinkThread) -> None:
    before, to = delivered(relay, "globex"), "replayed@globex.test"
    at = system_clock()
    mark = Mark(new_message_id(at), at, Kind.CLEAN)
    content = probe_mail(mark, sender="probe@sender.test", recipient=to)
    marked = mark.put_on(content, recipient=to, key=KEY)
    for message, recipients, billed in (
        (marked, [to], 0),
        (marked, [to], 1),
        (marked.replace(b"Nobody", b"Buy! No"), [to], 2),
        (marked, ["another@globex.test"], 3),
        (Mark(new_message_id(at), at, Kind.CLEAN).put_on(content, recipient=to, key="y" * 32), [to], 4),
    ):
        assert relay.send(message, recipients)[0] == 250
        assert delivered(relay, "globex") == before + billed
    wait_until(lambda: relay.states(to) == ["delivered"] * 4, what="all of them having been delivered")
    assert [unit["probe"] for unit in relay.json("trace", "--to", to)] == [True, False, False, False]
    assert not any(b"X-MailGuard-Probe" in mail.content for mail in sink.messages)


def test_a_scanner_that_is_switched_off_is_found_out(new_relay: Callable[..., Relay], new_sink: Any) -> None:
    relay = new_relay(more=f'[checks]\nenabled = ["spf", "rules"]\n{SECTION}')
    relay.add_tenant("acme", "client.test", new_sink().port)
    relay.start()
    code, result = probed(relay, "--tenant", "acme")
    assert code == 1
    assert fates(result) == (True, True, False, True)
    assert "EICAR was not stopped, it is delivered" in result["detail"]
    assert "the virus scanner is switched off" in result["detail"]


def test_a_scanner_that_lacks_the_signature_is_found_out(
    tmp_path: Path, new_relay: Callable[..., Relay], new_sink: Any
) -> None:
    """It answers, and says of each mail that it is clean: only EICAR tells."""
    with private_clamd(tmp_path / "clamd") as scanner:
        scanner.stop()
        (scanner.root / "db" / "eicar.ndb").write_text("Another-Test:0:*:6e6f626f64792073656e64732074686973\n")
        scanner.start()
        relay = new_relay(clamd=scanner.address, more=SECTION)
        relay.add_tenant("acme", "client.test", new_sink().port)
        relay.start()
        done = relay.run("probe", "--tenant", "acme", "--record", check=False)
        assert done.returncode == 1
        assert "EICAR was not stopped, it is delivered" in done.stdout + done.stderr
        assert "has no signatures" in done.stdout + done.stderr
        assert fates(probed(relay, "--tenant", "acme")[1]) == (True, True, False, True)
        assert 'mailguard_probe_well{tenant="acme"} 0.0' in relay.get("/metrics")[1]


def test_what_was_not_probed_counts_as_down(relay: Relay, tmp_path: Path) -> None:
    """Two hours of a month that has passed: of 24 probes 20 came, of which one found the door shut."""
    start = int(datetime(2025, 4, 30, 22, tzinfo=UTC).timestamp() * 1000)
    relay.add_tenant("hooli", "hooli.test", free_port())
    with sqlite3.connect(relay.database.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE tenants SET created_at = ? WHERE name = 'hooli'", (start,))
    _, one = probed(relay, "--tenant", "globex", "--only", "clean")
    result = replace(read(json.dumps(one), key=KEY), tenant="hooli")
    lines = tmp_path / "lines"
    lines.write_text(
        "\n".join(
            line_of(replace(result, at=start + slot * 5 * MINUTE, up=slot != 7), key=KEY)
            for slot in range(24)
            if slot not in (3, 10, 11, 23)
        )
    )
    assert relay.run("probe", "record", lines).stdout == "20 recorded\n"
    (measured,) = relay.json("sla", "--month", "2025-04", "--tenant", "hooli")
    assert measured["door"] == {"up": 19, "down": 5, "missing": 4, "maintenance": 0}
    assert measured["figures"]["availability"] == 79.1666
