"""A disk that fails at any step of taking a mail in: the sender keeps it (451), or the next hop has it (250); nothing is half kept.

The real pipeline, ledger, queue and files, with file operations that fail on demand, before a scripted next hop.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mailguard.core.clock import DAY, MINUTE
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.core.ids import new_message_id, unit_id
from mailguard.core.reply import Reply
from mailguard.core.verdict import Findings, Verdict
from mailguard.delivery.route import OutboundRoutes, Routes
from mailguard.message.message import Message
from mailguard.net.dns import StaticResolver
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.pipeline.carry_out import CarryOut, CarryOutSettings
from mailguard.pipeline.judge import Judgement
from mailguard.pipeline.process import Pipeline, PipelineSettings
from mailguard.policy.profile import Policy
from mailguard.store.blobs import FileBlobStore, FileOps
from mailguard.store.bodies import sweep_orphans
from mailguard.store.consistency import check_in
from mailguard.store.journal import Journal
from mailguard.store.ledger import Ledger
from tests.servers.smtp_sink import SmtpSink
from tests.unit.policy.building import decided
from tests.unit.queue.conftest import ORIGINAL, Queue, migrated, queue, until

__all__ = ["migrated", "queue"]

RETRY = MINUTE
DECISIONS = {
    "infected": (Action.QUARANTINE, Reason.MALWARE),
    "unscanned": (Action.HOLD, Reason.SCANNER_FAILED),
}
"""By the recipient's local part; all others get their mail."""
FAILURES = [
    ("make_directory", errno.ENOSPC),
    ("create", errno.ENOSPC),
    ("write", errno.ENOSPC),
    ("short write", errno.ENOSPC),
    ("write", errno.EIO),
    ("sync", errno.EIO),
    ("close", errno.EIO),
    ("rename", errno.EIO),
    ("sync_directory", errno.EIO),
]
IDS = [f"{call}-{errno.errorcode[error]}" for call, error in FAILURES]


class Disk(FileOps):
    """Fails each call of the operation `fail`; of a `short write` the first octet is taken."""

    fail = ""
    error = 0

    def breaks(self, fail: str, error: int) -> None:
        self.fail, self.error = fail, error

    def works(self) -> None:
        self.fail = ""

    def _may_fail(self, call: str) -> None:
        if call == self.fail:
            raise OSError(self.error, os.strerror(self.error))

    def create(self, path: Path) -> int:
        self._may_fail("create")
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._may_fail("write")
        if self.fail == "short write" and len(data) > 1:
            written = super().write(descriptor, data[:1])
            self.fail = "write"
            return written
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._may_fail("sync")
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._may_fail("close")

    def rename(self, source: Path, target: Path) -> None:
        self._may_fail("rename")
        super().rename(source, target)

    def make_directory(self, path: Path) -> None:
        self._may_fail("make_directory")
        super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._may_fail("sync_directory")
        super().sync_directory(path)


class Quiet(MailLog):
    """Prints no tracebacks: of failures on purpose they say nothing, and a console's take most of a second each."""

    def unforeseen(self, where: str, *, message: str = "", error: BaseException) -> None:
        """Nothing."""


class Decides:
    """Stands for the Judge: finds nothing, and decides by the recipient's name."""

    async def find(self, session: Session, envelope: Envelope, message: Message) -> Findings:
        return Findings()

    async def conclude(
        self, session: Session, envelope: Envelope, message: Message, findings: Findings
    ) -> tuple[Judgement, ...]:
        return tuple(
            Judgement(recipient, Verdict(recipient.tenant), Policy(), self._decision(recipient))
            for recipient in envelope.recipients
        )

    def _decision(self, recipient: Recipient) -> Decision:
        action, reason = DECISIONS.get(recipient.address.partition("@")[0], (Action.DELIVER, Reason.CLEAN))
        return decided(action, reason, number=recipient.number)


class Worker:
    """A worker's pipeline over the queue's database, with a disk for bodies and one for the journal."""

    def __init__(self, queue: Queue, root: Path, *, attempt: float = 10.0) -> None:
        self.queue = queue
        self.root = root
        self.disk, self.journal_disk = Disk(), Disk()
        self.blobs = queue.blobs = FileBlobStore(root / "blobs", files=self.disk)
        self.journal = Journal(root / "journal" / "w1.jsonl", files=self.journal_disk)
        self.registry = CollectorRegistry()
        metrics, log, ledger = Metrics(self.registry), Quiet(), Ledger(queue.db)
        runner = queue.runner(journal=self.journal)
        carry_out = CarryOut(
            CarryOutSettings(
                authserv_id="relay.test", instance="w1", attempt=attempt, retention=5 * DAY, first_retry=RETRY
            ),
            forwarder=queue.forwarders[-1],
            routes=Routes(queue.directory, OutboundRoutes(StaticResolver(), hostname="relay.test")),
            directory=queue.directory,
            ledger=ledger,
            journal=self.journal,
            blobs=self.blobs,
            awaits=runner.awaits,
            due_now=runner.notify,
            notices=runner.notices,
            log=log,
            metrics=metrics,
            clock=queue.clock,
        )
        self.runner = runner
        self.pipeline = Pipeline(
            PipelineSettings(
                hostname="relay.test",
                authserv_id="relay.test",
                instance="w1",
                retention=5 * DAY,
                first_rescan=MINUTE,
            ),
            judge=Decides(),  # type: ignore[arg-type]
            carry_out=carry_out,
            ledger=ledger,
            blobs=self.blobs,
            directory=queue.directory,
            log=log,
            metrics=metrics,
            clock=queue.clock,
        )

    async def send(self, *users: str) -> tuple[Reply, list[str]]:
        """The reply to a mail for these users, and the ids that its units have, if any."""
        message = new_message_id(self.queue.clock())
        recipients = tuple(
            Recipient(f"{user}@client.test", 2, "client.test", number=number) for number, user in enumerate(users, 1)
        )
        session = Session("s", "192.0.2.1", helo="mail.remote.test")
        envelope = Envelope(message, "alice@remote.test", recipients=recipients)
        reply = await self.pipeline.process(session, envelope, ORIGINAL)
        return reply, [unit_id(message, recipient.number) for recipient in recipients]

    def files(self) -> list[Path]:
        """What lies in the store, half-written or whole."""
        return [path for path in (self.root / "blobs").rglob("*") if path.is_file()]

    def failed(self, kind: str) -> bool:
        """Whether a failure of this kind was counted."""
        return f'mailguard_errors_total{{kind="{kind}"}} 1.0' in generate_latest(self.registry).decode()

    async def states(self, units: list[str]) -> list[State | None]:
        known = {row.id: State(row.state) for row in await self.queue.units_of(2)}
        return [known.get(unit) for unit in units]

    async def is_sound(self) -> None:
        """The ledger holds, and each body that is needed is there."""
        assert await self.queue.db.read(lambda connection: check_in(connection, self.blobs)) == []


@pytest.fixture
async def worker(queue: Queue, tmp_path: Path) -> AsyncIterator[Worker]:
    made = Worker(queue, tmp_path)
    yield made
    made.journal.close()


KEPT = {
    "quarantine": (("infected",), State.QUARANTINED, [("write", errno.ENOSPC), ("sync_directory", errno.EIO)]),
    "hold": (("unscanned",), State.HELD, [("short write", errno.ENOSPC), ("sync", errno.EIO)]),
    "quarantine beside a delivery": (("u", "infected"), State.QUARANTINED, FAILURES),
}
"""For whom a mail is, where it would be kept, and what fails: all of them once, since each keeps it in the same way."""
CASES = {
    f"{name}: {call} {errno.errorcode[error]}": (users, state, call, error)
    for name, (users, state, failures) in KEPT.items()
    for call, error in failures
}


@pytest.mark.parametrize(("users", "state", "fail", "error"), CASES.values(), ids=CASES.keys())
async def test_mail_that_cannot_be_kept_is_a_451_before_anything_has_happened(
    worker: Worker, users: tuple[str, ...], state: State, fail: str, error: int
) -> None:
    async with SmtpSink() as sink:
        worker.queue.hops["client.test"] = (sink.hop,)
        worker.disk.breaks(fail, error)
        reply, units = await worker.send(*users)
        assert (reply.code, reply.enhanced) == (451, "4.3.0")
        assert await worker.states(units) == [None] * len(units)
        assert (worker.files(), sink.messages) == ([], [])
        assert worker.failed("storage")
        assert not worker.failed("database")

        worker.disk.works()
        reply, units = await worker.send(*users)
        assert reply.code == 250
        assert (await worker.states(units))[-1] is state
        assert len(worker.files()) == 1
        assert len(sink.messages) == len(users) - 1
        await worker.is_sound()


@pytest.mark.parametrize(("fail", "error"), FAILURES, ids=IDS)
async def test_mail_that_cannot_be_spooled_is_a_451_and_comes_again(worker: Worker, fail: str, error: int) -> None:
    async with SmtpSink(script={"rcpt": ["451 4.3.0 Later", "451 4.3.0 Later", "250 2.1.5 Ok"]}) as sink:
        worker.queue.hops["client.test"] = (sink.hop,)
        worker.disk.breaks(fail, error)
        reply, units = await worker.send("u")
        assert (reply.code, reply.enhanced) == (451, "4.3.0")
        assert await worker.states(units) == [State.DEFERRED]
        assert await worker.queue.row(units[0]) is None
        assert worker.files() == []
        assert worker.failed("storage")
        await worker.is_sound()

        worker.disk.works()
        reply, (unit,) = await worker.send("u")
        assert reply.code == 250
        assert await worker.queue.state(unit) is State.SPOOLED
        worker.queue.clock.advance(2 * RETRY)
        await worker.runner.start()
        await worker.queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 1
        await worker.is_sound()


async def test_a_delivery_beside_what_cannot_be_spooled_is_on_record(worker: Worker) -> None:
    """Rather twice than lost: the one that has it may get it again, the other one's sender keeps it."""

    def rcpt(line: str) -> str:
        return "451 4.2.2 Full" if "later" in line else "250 2.1.5 Ok"

    async with SmtpSink(script={"rcpt": rcpt}) as sink:
        worker.queue.hops["client.test"] = (sink.hop,)
        worker.disk.breaks("sync", errno.EIO)
        reply, units = await worker.send("u", "later")
        assert reply.code == 451
        assert await worker.states(units) == [State.DELIVERED, State.DEFERRED]
        await worker.is_sound()


async def away(work: object, **_: object) -> object:
    """Stands for `Database.write` while it takes nothing."""
    raise UnavailableError("database or disk is full")


JOURNAL_FAILURES = [("write", errno.ENOSPC), ("short write", errno.ENOSPC), ("sync", errno.EIO)]


@pytest.mark.parametrize(("fail", "error"), JOURNAL_FAILURES, ids=[call for call, _ in JOURNAL_FAILURES])
async def test_what_the_next_hop_took_is_a_250_and_on_record_once_there_is_room(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, fail: str, error: int
) -> None:
    def content(_: str) -> str:
        """As the next hop says yes, all our disks are full."""
        monkeypatch.setattr(worker.queue.db, "write", away)
        worker.journal_disk.breaks(fail, error)
        return "250 2.0.0 Taken"

    async with SmtpSink(script={"content": content}) as sink:
        worker.queue.hops["client.test"] = (sink.hop,)
        reply, units = await worker.send("u", "v")
        assert (reply.code, len(sink.messages)) == (250, 1)
        assert worker.failed("journal")
        assert await worker.states(units) == [State.FORWARDING] * 2
        monkeypatch.undo()
        worker.journal_disk.works()
        await worker.journal.replay(worker.queue.db)
        assert await worker.states(units) == [State.DELIVERED] * 2
        assert len(sink.messages) == 1
        await worker.is_sound()


@pytest.mark.parametrize(("fail", "error"), JOURNAL_FAILURES, ids=[call for call, _ in JOURNAL_FAILURES])
async def test_what_can_be_spooled_but_not_recorded_is_a_451_and_its_body_goes(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, fail: str, error: int
) -> None:
    def content(_: str) -> str:
        monkeypatch.setattr(worker.queue.db, "write", away)
        worker.journal_disk.breaks(fail, error)
        return "452 4.3.1 Full, too"

    async with SmtpSink(script={"content": content}) as sink:
        worker.queue.hops["client.test"] = (sink.hop,)
        reply, units = await worker.send("u")
        assert (reply.code, reply.enhanced) == (451, "4.3.0")
        monkeypatch.undo()
        worker.journal_disk.works()
        await worker.journal.replay(worker.queue.db)
        assert await worker.states(units) == [State.DEFERRED], "never spooled: its sender comes again"
        await worker.runner.start()
        worker.queue.clock.advance(DAY + 1)
        assert await sweep_orphans(worker.queue.db, worker.blobs) == 1
        assert worker.files() == []
        await worker.is_sound()


async def test_a_full_disk_with_the_database_on_it_is_a_451_at_every_mail(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SmtpSink() as sink:
        worker.queue.hops["client.test"] = (sink.hop,)
        with monkeypatch.context() as full:
            full.setattr(worker.queue.db, "write", away)
            worker.disk.breaks("write", errno.ENOSPC)
            worker.journal_disk.breaks("write", errno.ENOSPC)
            for user in ("u", "infected", "unscanned"):
                assert (await worker.send(user))[0].code == 451
        assert sink.messages == []
        assert worker.journal.empty, "what never began need not be remembered"
        worker.disk.works()
        worker.journal_disk.works()
        assert (await worker.send("u"))[0].code == 250
        await worker.is_sound()


async def test_a_body_that_cannot_be_read_costs_no_attempt(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with SmtpSink() as sink:
        worker.queue.hops["client.test"] = (sink.hop,)
        (unit,) = await worker.queue.spool()
        with monkeypatch.context() as broken:
            broken.setattr(Path, "read_bytes", unreadable)
            await worker.runner.start()

            async def given_back() -> bool:
                row = await worker.queue.row(unit)
                return (row.holder, row.attempts) == ("", 0) and row.due_at > worker.queue.clock()

            await until(given_back)
        worker.queue.clock.advance(2 * MINUTE)
        await worker.queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 1
