"""The relay on PostgreSQL, with two workers: the whole road, many at once, and a database that goes away and comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests.e2e.mails import arrived, below_our_block, infected, mail, spam
from tests.servers.clamd import EICAR
from tests.servers.ports import wait_until
from tests.servers.postgres import Postgres
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.servers.smtp_sink import Say


@pytest.fixture
def pg_relay(new_relay: Callable[..., Relay], sink: SinkThread, postgres: Postgres) -> Iterator[Relay]:
    relay = new_relay(database=postgres.new_database(migrated=False), workers=2)
    relay.add_tenant("acme", "client.test", sink.port)
    yield relay.start()
    if postgres.process is None:
        postgres.start()


def test_the_whole_road(pg_relay: Relay, sink: SinkThread) -> None:
    relay = pg_relay
    assert relay.send(mail())[0] == 250
    assert below_our_block(sink.messages[0].content) == mail()
    assert relay.send(spam(), ["s@client.test"])[0] == 550
    assert relay.send(mail(), ["u@elsewhere.test"])[0] == 550
    assert relay.send(infected(), ["v@client.test"])[0] == 250
    (kept,) = relay.json("quarantine", "list")
    assert kept["malware"] == ["Eicar-Test.UNOFFICIAL"]
    relay.run("quarantine", "release", kept["id"], "--force", "--actor", "ops")
    wait_until(lambda: relay.states("v@client.test") == ["released"], what="the release")
    (released,) = arrived(sink, "v@client.test")
    assert EICAR in released.content

    sink.stop()
    assert relay.send(mail("later"), ["w@client.test"])[0] == 250
    assert relay.states("w@client.test") == ["spooled"]
    sink.start()
    wait_until(lambda: relay.states("w@client.test") == ["delivered"], what="the queue's delivery")

    (usage,) = relay.json("usage", "--month", datetime.now(UTC).strftime("%Y-%m"))["tenants"]
    counts = {name: usage[name]["units"] for name in ("received", "delivered", "quarantined", "rejected", "released")}
    assert counts == {"received": 4, "delivered": 2, "quarantined": 1, "rejected": 1, "released": 1}
    assert relay.get("/readyz")[0] == 200
    assert "postgresql" in relay.get("/readyz")[1]
    assert relay.metric("mailguard_messages_received_total") == 4


def test_many_at_once_over_two_workers(pg_relay: Relay, sink: SinkThread) -> None:
    """To recipients that overlap, so that both workers write the same addresses at the same time."""
    recipients = [f"u{number}@client.test" for number in range(6)]

    def send(number: int) -> int:
        some = [recipients[(number + step) % 6] for step in range(3)]
        return pg_relay.send(mail(f"number {number}"), some, f"s{number % 4}@sender.test")[0]

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(send, range(60))) == {250}
    assert len(sink.messages) == 60
    assert len({below_our_block(one.content) for one in sink.messages}) == 60
    assert pg_relay.metric('mailguard_dispositions_total{disposition="delivered",tenant="acme"}') == 180


def test_five_processes_release_once(pg_relay: Relay, sink: SinkThread) -> None:
    assert pg_relay.send(infected())[0] == 250
    (kept,) = pg_relay.json("quarantine", "list")
    with ThreadPoolExecutor(5) as pool:
        release = ("quarantine", "release", kept["id"], "--force")
        calls = [pool.submit(pg_relay.cli, *release, check=False) for _ in range(5)]
        assert [call.result().returncode for call in calls] == [0] * 5
    wait_until(lambda: pg_relay.states("u@client.test") == ["released"], what="the release")
    assert len(sink.messages) == 1


def test_without_the_database_the_sender_keeps_the_mail(pg_relay: Relay, sink: SinkThread, postgres: Postgres) -> None:
    relay = pg_relay
    assert relay.send(mail("before"))[0] == 250
    postgres.stop()
    for _ in range(4):
        code, text = relay.send(mail("meanwhile"))
        assert (code, text[:5]) == (451, "4.3.0")
        assert "psycopg" not in text
    assert relay.get("/healthz")[0] == 200
    wait_until(lambda: relay.get("/readyz")[0] == 503, what="/readyz noticing")
    assert relay.metric("mailguard_database_up") == 0
    assert relay.metric("mailguard_messages_received_total") == 5
    assert len(sink.messages) == 1

    postgres.start()
    wait_until(lambda: relay.get("/readyz")[0] == 200, what="/readyz noticing that it is back")
    for number in range(8):
        assert relay.send(mail(f"after {number}"))[0] == 250
    assert len(sink.messages) == 9
    assert relay.metric("mailguard_worker_restarts_total") == 0
    relay.add_tenant("globex", "globex.test", sink.port)
    wait_until(lambda: all(relay.takes("u@globex.test") for _ in range(8)), what="changes being seen again")


def test_what_the_next_hop_took_while_the_database_went_away_is_recorded_later(
    pg_relay: Relay, sink: SinkThread, postgres: Postgres
) -> None:
    """The point of no return is passed: 250, kept in the journal, in the ledger when the database is back; nothing twice."""
    relay = pg_relay
    sink.sink.script = {"content": Say("250 2.0.0 Taken", delay=1)}
    replies: list[tuple[int, str]] = []
    sending = threading.Thread(target=lambda: replies.append(relay.send(mail("in flight"))))
    sending.start()
    wait_until(lambda: sink.messages, what="the next hop having the content")
    postgres.stop()
    sending.join(30)
    assert [code for code, _ in replies] == [250]
    assert relay.metric("mailguard_journal_writes_total") == 1
    postgres.start()
    wait_until(lambda: relay.states("u@client.test") == ["delivered"], what="the journal being replayed")
    assert len(sink.messages) == 1


def test_the_queue_goes_on_when_the_database_is_back(pg_relay: Relay, sink: SinkThread, postgres: Postgres) -> None:
    sink.stop()
    assert pg_relay.send(mail())[0] == 250
    postgres.stop()
    sink.start()
    postgres.start()
    wait_until(lambda: pg_relay.states("u@client.test") == ["delivered"], seconds=40, what="the queue's delivery")
    assert len(sink.messages) == 1
