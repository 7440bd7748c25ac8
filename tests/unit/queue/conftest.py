"""A queue at work on a real database and real files, against scripted next hops, with a clock that moves on demand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select

from mailguard.core.clock import DAY
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, NextHop, RcptOptions, Recipient, Session
from mailguard.core.events import State
from mailguard.core.ids import new_message_id, unit_id
from mailguard.core.reply import OK
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, Findings
from mailguard.delivery.backoff import Backoff
from mailguard.delivery.dial import Dialler
from mailguard.delivery.forward import Forwarder
from mailguard.delivery.health import HopHealth
from mailguard.delivery.route import OutboundRoutes
from mailguard.net.dns import StaticResolver
from mailguard.net.smtp_client import Handshake
from mailguard.net.smtp_pool import ConnectionPool
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.queue.attempt import AttemptSettings, Rescan
from mailguard.queue.runner import QueueRunner
from mailguard.store import migrations, schema
from mailguard.store.blobs import FileBlobStore
from mailguard.store.db import Database
from mailguard.store.ledger import Ledger, NewMessage, NewUnit, QueueEntry
from mailguard.store.queue import QueueStore

START = 1_790_000_000_000
ORIGINAL = b"From: alice@remote.test\r\nSubject: Hello\r\n\r\nbody\r\n"
AUTHENTICATED = Findings(
    results=(CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "remote.test"),)),)
)
UNAUTHENTICATED = Findings()


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds


async def until(condition: Callable[[], Awaitable[bool] | bool], *, seconds: float = 10.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


@dataclass(slots=True)
class Queue:
    """The queue of one worker and its surroundings. `hops` maps domains to their next hops; tenant 2 owns them."""

    db: Database
    blobs: FileBlobStore
    clock: ManualClock
    hops: dict[str, tuple[NextHop, ...]] = field(default_factory=dict)
    tenants: dict[str, int] = field(default_factory=dict)
    soft_bounce: bool = False
    runners: list[QueueRunner] = field(default_factory=list)
    forwarders: list[Forwarder] = field(default_factory=list)
    settings: AttemptSettings = field(default_factory=lambda: AttemptSettings(budget=5.0))
    smarthost: NextHop | None = None
    rescan: Rescan | None = None
    monotonic: Callable[[], float] = time.monotonic

    def directory(self) -> Directory:
        return Directory.of(
            [Tenant(1, "system"), Tenant(2, "client", soft_bounce=self.soft_bounce), Tenant(3, "other")],
            [Domain(name, self.tenants.get(name, 2), hops) for name, hops in self.hops.items()],
        )

    def runner(self, holder: str = "w1", **settings: Any) -> QueueRunner:
        """Another worker's runner, not yet started."""
        forwarder = Forwarder(
            ConnectionPool(),
            Dialler(Handshake(helo="relay.test"), StaticResolver()),
            health=HopHealth(clock=lambda: self.clock() / 1000, random=Random(1)),
        )
        runner = QueueRunner(
            QueueStore(self.db),
            Ledger(self.db),
            db=self.db,
            blobs=self.blobs,
            forwarder=forwarder,
            outbound=OutboundRoutes(StaticResolver(), hostname="relay.test", smarthost=self.smarthost),
            directory=self.directory,
            holder=holder,
            authserv_id="relay.test",
            hostname="relay.test",
            from_domain="relay.test",
            log=MailLog(),
            metrics=Metrics(CollectorRegistry()),
            clock=self.clock,
            rescan=self.rescan,
            backoff=Backoff(random=Random(1)),
            settings=self.settings,
            poll=0.02,
            **({"drain": 0.2} | settings),
        )
        self.runners.append(runner)
        self.forwarders.append(forwarder)
        return runner

    async def spool(
        self,
        *addresses: str,
        purpose: str = "forward",
        mail_from: str = "alice@remote.test",
        findings: Findings = AUTHENTICATED,
        tenant: int = 2,
        content: bytes = ORIGINAL,
        notify: tuple[str, ...] = (),
        orcpt: str = "",
        options: MailOptions | None = None,
        state: State = State.SPOOLED,
        retention: int = 5 * DAY,
        holder: str = "",
        lease: int = 0,
        blob: bool = True,
        subject_tag: str = "",
    ) -> list[str]:
        """A message in the queue, one unit for each address; returns the units."""
        message = new_message_id(self.clock())
        if blob:
            self.blobs.put(message, [content])
        now = self.clock()
        units = []
        for number, address in enumerate(addresses or ("bob@client.test",), 1):
            recipient = Recipient(address, tenant, address.rpartition("@")[2], RcptOptions(notify, orcpt), number)
            units.append(
                NewUnit(
                    number=number,
                    recipient=recipient,
                    state=state,
                    reason=Reason.NEXT_HOP_UNAVAILABLE,
                    decision=Decision(number, Action.DELIVER, Reason.CLEAN, "", "default", "", OK, subject_tag),
                    headers="X-MailGuard-Id: x\r\n",
                    queue=QueueEntry(purpose, now, now + retention, holder, now + lease if lease else 0),
                )
            )
        await Ledger(self.db).begin(
            NewMessage(
                id=message,
                received_at=now,
                session=Session("s", "192.0.2.1"),
                mail_from=mail_from,
                options=options or MailOptions(),
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                findings=findings,
                blob=True,
            ),
            units,
        )
        return [unit_id(message, unit.number) for unit in units]

    async def state(self, unit: str) -> State:
        query = select(schema.units.c.state).where(schema.units.c.id == unit)
        return State(await self.db.read(lambda connection: connection.scalar(query)))

    async def reached(self, unit: str, state: State) -> None:
        """Wait until the unit is in this state."""

        async def there() -> bool:
            return await self.state(unit) is state

        await until(there)

    async def row(self, unit: str) -> Any:
        """The unit's row in the queue; None when it has none."""
        query = select(schema.queue).where(schema.queue.c.unit == unit)
        return await self.db.read(lambda connection: connection.execute(query).one_or_none())

    async def attempted(self, unit: str, attempts: int) -> None:
        """Wait until so many attempts are counted and the unit is nobody's."""

        async def there() -> bool:
            row = await self.row(unit)
            return row is not None and row.attempts == attempts and row.holder == ""

        await until(there)

    async def events(self, unit: str, kind: str = "attempt") -> Sequence[dict[str, Any]]:
        """The details of a unit's events, oldest first."""
        query = (
            select(schema.events.c.detail)
            .where(schema.events.c.unit == unit, schema.events.c.kind == kind)
            .order_by(schema.events.c.id)
        )
        rows = await self.db.read(lambda connection: connection.scalars(query).all())
        return [json.loads(row) for row in rows]

    async def reason(self, unit: str) -> str:
        query = select(schema.units.c.reason).where(schema.units.c.id == unit)
        return str(await self.db.read(lambda connection: connection.scalar(query)))

    async def units_of(self, tenant: int) -> Sequence[Any]:
        query = select(schema.units).where(schema.units.c.tenant == tenant).order_by(schema.units.c.id)
        return await self.db.read(lambda connection: connection.execute(query).all())


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated SQLite database with two tenants, to be copied."""
    path = tmp_path_factory.mktemp("queue") / "mailguard.db"
    migrations.upgrade(f"sqlite:///{path}")
    database = Database.open(f"sqlite:///{path}")
    database.write_sync(
        lambda connection: connection.execute(
            insert(schema.tenants),
            [{"id": 2, "name": "client", "created_at": 0}, {"id": 3, "name": "other", "created_at": 0}],
        )
    )
    database.close_sync()
    return path.read_bytes()


@pytest.fixture
async def queue(migrated: bytes, tmp_path: Path) -> AsyncIterator[Queue]:
    path = tmp_path / "mailguard.db"
    path.write_bytes(migrated)
    clock = ManualClock()
    database = Database.open(f"sqlite:///{path}", clock=clock)
    made = Queue(database, FileBlobStore(tmp_path / "blobs"), clock)
    yield made
    for runner in made.runners:
        await runner.stop()
    for forwarder in made.forwarders:
        forwarder.close()
    await database.close()
