"""The database, the journal or the body store is away while the queue works: nothing is lost, nothing delivered twice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.store.journal import Journal
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore
from tests.servers.smtp_sink import SmtpSink
from tests.unit.queue.conftest import Queue, until


def failing(times: int, real: Any) -> Any:
    """`real`, but unavailable the first so many times."""
    left = times

    async def method(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise UnavailableError("database away")
        return await real(*arguments, **named)

    return method


async def test_delivery_that_cannot_be_committed_goes_to_the_journal(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "w1.jsonl")
    monkeypatch.setattr(Ledger, "move", failing(1, Ledger.move))
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        runner = queue.runner(journal=journal)
        await runner.start()
        await until(lambda: not journal.empty)
        await until(lambda: not runner._under_way)
        queue.clock.advance(3_600_000)  # the lease has run out, but the journal comes first
        (other,) = await queue.spool("carol@client.test")
        runner.notify()
        await journal.replay(queue.db)
        await queue.reached(unit, State.DELIVERED)
        await queue.reached(other, State.DELIVERED)
        assert len(sink.messages) == 2
    journal.close()


async def test_delivery_is_recorded_when_both_are_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "move", failing(1, Ledger.move))
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner().start()
        await queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 1


async def test_queue_goes_on_when_the_database_is_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QueueStore, "claim", failing(3, QueueStore.claim))
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner(grace=0.05).start()
        await queue.reached(unit, State.DELIVERED)


async def test_attempt_that_cannot_be_recorded_is_given_back_uncounted(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueueStore, "reschedule", failing(1, QueueStore.reschedule))
    async with SmtpSink(script={"rcpt": "450 4.2.2 Full"}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner().start()
        await until(lambda: any(line.startswith("RCPT") for _, line in sink.commands))

        async def given_back() -> bool:
            row = await queue.row(unit)
            return (row.holder, row.attempts, row.crashes) == ("", 0, 0) and row.due_at > queue.clock()

        await until(given_back)


async def test_body_store_that_is_away_costs_no_attempt(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = queue.blobs.get, [1]

    def get(blob_id: str) -> bytes:
        if left[0]:
            left[0] -= 1
            raise UnavailableError("disk away")
        return real(blob_id)

    monkeypatch.setattr(queue.blobs, "get", get)
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner().start()

        async def given_back() -> bool:
            row = await queue.row(unit)
            return (row.holder, row.attempts) == ("", 0) and row.due_at > queue.clock()

        await until(given_back)
        queue.clock.advance(61_000)
        await queue.reached(unit, State.DELIVERED)


async def test_dsn_that_cannot_be_stored_bounces_later(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = queue.blobs.put, [1]

    def put(blob_id: str, chunks: Iterable[bytes]) -> None:
        if left[0]:
            left[0] -= 1
            raise UnavailableError("disk full")
        real(blob_id, chunks)

    async with SmtpSink(script={"rcpt": "550 5.1.1 Nobody"}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        monkeypatch.setattr(queue.blobs, "put", put)
        await queue.runner().start()
        await until(lambda: left == [0])

        async def given_back() -> bool:
            row = await queue.row(unit)
            return row.holder == "" and row.due_at > queue.clock()

        await until(given_back)
        assert await queue.state(unit) is State.SPOOLED
        queue.clock.advance(61_000)
        await queue.reached(unit, State.BOUNCED)
