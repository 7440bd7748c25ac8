"""`mailguard usage` and `mailguard ledger check` of a running relay: what was sent adds up, to the octet."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.e2e.mails import infected, mail, spam
from tests.servers.ports import wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

MONTH = datetime.now(UTC).strftime("%Y-%m")
COUNTS = ("received", "delivered", "quarantined", "rejected", "deferred", "released")


@pytest.fixture
def used(new_relay: Callable[..., Relay], sink: SinkThread) -> tuple[Relay, Counter[str], Counter[str]]:
    """A relay by which mail of every kind went; how many units and octets that makes, per tenant and count."""
    relay = new_relay(workers=2)
    relay.add_tenant("acme", "client.test", sink.port)
    relay.add_tenant("globex", "globex.test", sink.port)
    relay.start()
    units: Counter[str] = Counter()
    octets: Counter[str] = Counter()

    def send(message: bytes, recipients: list[str], code: int, **came: str) -> None:
        """`came` says for each tenant what its mails count as; a message counts once, however many its recipients."""
        assert relay.send(message, recipients)[0] == code
        for tenant, what in came.items():
            mails = sum(("globex" if "globex" in recipient else "acme") == tenant for recipient in recipients)
            for count in {"received", what}:
                units[f"{tenant} {count}"] += mails
                octets[f"{tenant} {count}"] += len(message)

    send(mail("one"), ["u@client.test"], 250, acme="delivered")
    send(mail("two"), ["u@client.test", "v@client.test", "w@client.test"], 250, acme="delivered")
    send(mail("both"), ["u@client.test", "u@globex.test"], 250, acme="delivered", globex="delivered")
    send(infected("virus"), ["v@globex.test", "u@globex.test"], 250, globex="quarantined")
    send(spam("offer"), ["x@client.test"], 550, acme="rejected")
    assert relay.send(mail("not ours"), ["u@elsewhere.test"])[0] == 550
    return relay, units, octets


def figures(relay: Relay, *arguments: str) -> tuple[Counter[str], Counter[str], dict[str, int]]:
    usage = relay.json("usage", "--month", MONTH, *arguments)
    assert (usage["month"], usage["time_zone"]) == (MONTH, "UTC")
    units: Counter[str] = Counter()
    octets: Counter[str] = Counter()
    for one in usage["tenants"]:
        for count in COUNTS:
            units[f"{one['tenant']} {count}"] = one[count]["units"]
            octets[f"{one['tenant']} {count}"] = one[count]["bytes"]
    return +units, +octets, {one["tenant"]: one["active_recipients"] for one in usage["tenants"]}


def test_it_adds_up_to_the_octet(used: tuple[Relay, Counter[str], Counter[str]]) -> None:
    relay, sent_units, sent_octets = used
    units, octets, active = figures(relay)
    assert units == sent_units
    assert octets == sent_octets
    assert active == {"acme": 3, "globex": 1}  # to whom something was delivered
    assert relay.run("ledger", "check").returncode == 0


def test_a_release_is_counted_when_it_is_delivered_once(
    used: tuple[Relay, Counter[str], Counter[str]], sink: SinkThread
) -> None:
    relay, sent_units, _ = used
    (kept,) = relay.json("quarantine", "list", "--to", "v@globex.test")
    relay.run("quarantine", "release", kept["id"], "--force")
    wait_until(lambda: relay.states("v@globex.test") == ["released"], what="the release")
    relay.run("quarantine", "release", kept["id"], "--force")
    units, _, _ = figures(relay, "--tenant", "globex")
    assert units["globex released"] == 1
    assert units["globex quarantined"] == sent_units["globex quarantined"]
    assert units["globex received"] == sent_units["globex received"]
    assert not any(name.startswith("acme") for name in units)


def test_mail_that_had_to_wait_counts_once(relay: Relay, sink: SinkThread) -> None:
    sink.stop()
    assert relay.send(mail())[0] == 250
    assert relay.states("u@client.test") == ["spooled"]
    sink.start()
    wait_until(lambda: relay.states("u@client.test") == ["delivered"], what="the delivery")
    units, octets, _ = figures(relay)
    assert units == {"acme received": 1, "acme delivered": 1}
    assert octets == {"acme received": len(mail()), "acme delivered": len(mail())}


def test_csv_and_table_tell_the_same(used: tuple[Relay, Counter[str], Counter[str]]) -> None:
    relay, sent_units, sent_octets = used
    rows = list(csv.DictReader(io.StringIO(relay.run("usage", "--month", MONTH, "--csv").stdout)))
    for row in rows:
        for count in COUNTS:
            assert int(row[f"{count}_units"]) == sent_units[f"{row['tenant']} {count}"]
            assert int(row[f"{count}_bytes"]) == sent_octets[f"{row['tenant']} {count}"]
    table = relay.run("usage", "--month", MONTH).stdout
    assert "acme" in table
    assert "globex" in table


def test_another_month_is_empty_and_nonsense_is_refused(shared_relay: Relay) -> None:
    assert shared_relay.json("usage", "--month", "2001-01")["tenants"] == []
    for nonsense in ("2026-13", "yesterday", ""):
        done = shared_relay.run("usage", "--month", nonsense, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_the_service_level_knows_how_long_each_mail_took(used: tuple[Relay, Counter[str], Counter[str]]) -> None:
    relay, sent_units, _ = used
    (acme,) = relay.json("sla", "--month", MONTH, "--tenant", "acme")
    assert acme["delay_ms"]["mails"] == acme["good"] == sent_units["acme delivered"]
    assert 0 < acme["delay_ms"]["p50"] <= acme["delay_ms"]["p99"] < 60_000
    assert acme["spam"] == {"stopped": 1, "missed": 0}
    (globex,) = relay.json("sla", "--month", MONTH, "--tenant", "globex")
    assert globex["virus"] == {"stopped": 2, "missed": 0}
