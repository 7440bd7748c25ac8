"""What docs/operations.md tells of backups, of draining a node and of the start: done as it is told there."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import delete

from mailguard.core.clock import DAY
from mailguard.core.ids import new_message_id
from mailguard.store import schema
from mailguard.store.blobs import FileBlobStore
from mailguard.store.db import Database
from tests.dns_server import DnsServer
from tests.e2e.mails import infected, mail
from tests.e2e.town import Town, open_town
from tests.servers.clamd import Clamd
from tests.servers.ports import accepts, free_port, wait_until
from tests.servers.relay import Relay


@pytest.fixture
def town(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Iterator[Town]:
    relay = Relay(tmp_path_factory.mktemp("relay"), clamd=clamd.address, dns=dns_server.address)
    patient = ("tenant", "set", "acme", "--queue-days", "30")
    with open_town(relay, clients={"acme": (), "beta": ()}, commands=[patient]) as town:
        yield town
        relay.stop()
        town.run("ledger", "check")


def back_up(town: Town, folder: Path) -> None:
    """The database first, by SQLite's own means, then the files; the relay runs on."""
    folder.mkdir()
    with sqlite3.connect(town.relay.root / "mailguard.db") as source, sqlite3.connect(folder / "mailguard.db") as copy:
        source.backup(copy)
    shutil.copytree(town.data, folder / "storage", ignore=shutil.ignore_patterns("mailguard.db*"))


def restore(town: Town, folder: Path) -> None:
    """Both, in place of all that there is."""
    for path in (*town.relay.root.glob("mailguard.db*"), town.data):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copy(folder / "mailguard.db", town.relay.root)
    shutil.copytree(folder / "storage", town.data)


def spool(town: Town, name: str, user: str) -> str:
    """Mail that waits since the client's server is down; the unit's id."""
    address = town[name].address(user)
    code, text = town.relay.send(mail(f"for {user}"), [address])
    assert code == 250, text
    return str(town.reached(address, "spooled")["id"])


def test_a_restored_backup_delivers_what_waited(town: Town, tmp_path: Path) -> None:
    acme = town["acme"]
    acme.sink.stop()
    spool(town, "acme", "waits")
    assert town.relay.send(infected(), [acme.address("kept")])[0] == 250
    kept = str(town.reached(acme.address("kept"), "quarantined")["id"])
    back_up(town, tmp_path / "backup")
    assert town.relay.send(mail("too late"), [acme.address("later")])[0] == 250
    town.relay.stop()
    restore(town, tmp_path / "backup")
    town.relay.cli("db", "upgrade")
    town.run("ledger", "check")
    acme.sink.start()
    town.relay.start()
    town.reached(acme.address("waits"), "delivered")
    town.run("quarantine", "release", kept, "--force")
    town.reached(acme.address("kept"), "released")
    assert len(acme.got) == 2
    assert town.units(acme.address("later")) == []  # it came after the backup: that is what a backup loses


def test_at_start_rows_and_bodies_are_mended_and_told(town: Town) -> None:
    acme = town["acme"]
    acme.sink.stop()
    lost, gone = spool(town, "acme", "lost"), spool(town, "acme", "gone")
    town.relay.stop()
    orphan = new_message_id(1_700_000_000_000)
    FileBlobStore(town.data).put(orphan, [b"x"])
    next(town.data.glob(f"??/{gone[:26]}")).unlink()
    db = Database.open(town.relay.database)
    db.write_sync(lambda c: c.execute(delete(schema.queue).where(schema.queue.c.unit == lost)).rowcount)
    db.close_sync()
    code, told = town.run("ledger", "check", check=False)
    assert code == 1
    assert all(kind in told for kind in ("not_queued", "body_missing", "body_orphaned"))
    acme.sink.start()
    town.relay.start()
    wait_until(lambda: town.logged("reconciled", requeued=1), what="the start being told of")
    (line,) = town.logged("reconciled", requeued=1)
    assert (line["missing"], line["orphans"], line["dequeued"], line["marked"]) == (1, 1, 0, 0)
    assert (line["units"], line["bodies"], line["level"]) == ([lost], [gone[:26]], "error")
    assert town.relay.metric('mailguard_reconciled_total{what="requeued"}') == 1
    town.reached(acme.address("lost"), "delivered")
    town.reached(acme.address("gone"), "parked")
    assert orphan not in town.bodies()
    town.run("queue", "cancel", gone, "--dsn", "--why", "its body is lost")


def test_a_tenants_mail_waits_as_long_as_its_own_time_says(town: Town) -> None:
    for name, days in (("acme", 30), ("beta", 5)):
        town[name].sink.stop()
        spool(town, name, "patient")
        (row,) = town.json("queue", "list", "--tenant", name)
        received, expires = (
            datetime.fromisoformat(text).timestamp() for text in (row["received_at"], row["queue"]["expires_at"])
        )
        assert abs(expires - received - days * DAY / 1000) < 60
        assert row["queue"]["last_reply"]  # why it waits, from the attempt in the sender's session
        assert row["next_hops"] == [f"127.0.0.1:{town[name].sink.port}"]


def test_a_node_is_drained_without_taking_mail(town: Town) -> None:
    acme = town["acme"]
    acme.sink.stop()
    spool(town, "acme", "last")
    town.relay.stop()
    town.relay.environment["MAILGUARD_SERVER__LISTEN"] = f'["127.0.0.1:{free_port()}"]'
    acme.sink.start()
    town.relay.start(ready=False)
    town.run("queue", "retry", "--all", "--older", "0s", check=False)  # what is delivered at this moment is left alone
    town.reached(acme.address("last"), "delivered")
    assert town.json("queue", "list") == []
    assert not accepts(town.relay.port)
