"""The state that /metrics shows, read from a real SQLite; what is away leaves out its own part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from sqlalchemy.engine import Connection

from mailguard.core.envelope import NextHop
from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.net.clamd import ClamdVersion
from mailguard.store import migrations, schema, tenants
from mailguard.store.db import Database
from mailguard.web.live import LiveState, free_space
from mailguard.web.state import KeptMail, ScannerState

NOW = 1_790_000_000_000
MESSAGE = "01J00000000000000000000000"


def fill(conn: Connection) -> None:
    acme = tenants.add_tenant(conn, name="acme", now=NOW, domains=["acme.test"], next_hops=[NextHop("mx.acme.test")])
    conn.execute(insert(schema.addresses).values(id=1, address="x@acme.test"))
    conn.execute(
        insert(schema.messages).values(
            id=MESSAGE,
            received_at=NOW,
            client_ip="192.0.2.1",
            helo="h",
            mail_from=1,
            mail_from_raw="x@acme.test",
            size=700,
            sha256="0" * 64,
        )
    )
    states = [State.SPOOLED, State.QUARANTINED, State.QUARANTINED, State.UNDELIVERABLE, State.DELIVERED]
    for number, state in enumerate(states, start=1):
        conn.execute(
            insert(schema.units).values(
                id=f"{MESSAGE}-{number}",
                message=MESSAGE,
                tenant=acme,
                recipient=1,
                recipient_raw="x@acme.test",
                domain="acme.test",
                state=state.value,
                reason="clean",
                action="deliver",
                received_at=NOW,
                changed_at=NOW,
            )
        )
    conn.execute(
        insert(schema.queue).values(
            unit=f"{MESSAGE}-1",
            message=MESSAGE,
            tenant=acme,
            domain="acme.test",
            purpose="forward",
            queued_at=NOW - 90_000,
            due_at=NOW,
            expires_at=NOW + 1_000_000,
        )
    )


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/state.db"
    migrations.upgrade(url)
    database = Database.open(url, readers=1, clock=lambda: NOW)
    await database.write(fill)
    yield database
    await database.close()


async def version() -> ClamdVersion:
    return ClamdVersion("1.4.3", 27_500, datetime.fromtimestamp(1_789_000_000, UTC))


async def no_version() -> ClamdVersion:
    raise UnavailableError("connection refused")


async def test_reads_queue_kept_mail_scanner_and_disk(db: Database, tmp_path: Path) -> None:
    state = await LiveState(db, storage=tmp_path, scanner_version=version, certificate_expires=lambda: 5.0).read()
    assert state.queue is not None
    (depth,) = state.queue
    assert (depth.tenant, depth.purpose, depth.mails, depth.oldest_age) == ("acme", "forward", 1, 90.0)
    assert sorted(state.kept or (), key=lambda group: group.state) == [
        KeptMail("acme", "quarantined", 2, 1400),
        KeptMail("acme", "undeliverable", 1, 700),
    ]
    assert state.scanner == ScannerState(up=True, signature_version=27_500, signatures_at=1_789_000_000.0)
    assert state.storage_free is not None and state.storage_free > 0
    assert state.certificate_expires == 5.0


async def test_a_scanner_that_is_away_hides_nothing_else(db: Database, tmp_path: Path) -> None:
    state = await LiveState(db, storage=tmp_path / "gone", scanner_version=no_version).read()
    assert state.scanner == ScannerState(up=False)
    assert state.queue
    assert state.storage_free is None


async def test_a_database_that_is_away_hides_nothing_else(tmp_path: Path) -> None:
    class Away:
        async def read(self, work: object) -> tuple[()]:
            raise UnavailableError("locked")

    state = await LiveState(Away(), storage=tmp_path, scanner_version=version).read()  # type: ignore[arg-type]
    assert state.queue is None and state.kept is None
    assert state.scanner is not None and state.scanner.up


async def test_kept_mail_is_counted_now_and_then(db: Database, tmp_path: Path) -> None:
    times = [0.0]
    live = LiveState(db, storage=tmp_path, scanner_version=version, kept_every=30.0, monotonic=lambda: times[-1])
    assert len((await live.read()).kept or ()) == 2
    await db.write(lambda conn: conn.execute(update(schema.units).values(state=State.DELIVERED.value)))
    times.append(29.0)
    assert len((await live.read()).kept or ()) == 2
    times.append(30.0)
    assert (await live.read()).kept == ()


def test_a_disk_that_is_not_there_has_no_free_space(tmp_path: Path) -> None:
    assert free_space(tmp_path / "missing") is None
