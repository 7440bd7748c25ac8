"""A next hop that is slow to answer the content: the sender hears 250, and nobody tries again while the reply may still come."""

from __future__ import annotations

from pathlib import Path

from mailguard.core.clock import MINUTE
from mailguard.core.events import State
from tests.servers.smtp_sink import SILENCE, SmtpSink
from tests.unit.pipeline.test_failing_disk import Worker
from tests.unit.queue.conftest import Queue, migrated, queue

__all__ = ["migrated", "queue"]

BUDGET = 1.5
"""Seconds of the attempt while the sender waits: enough for all up to the content, on a slow machine too."""


async def test_a_late_reply_is_awaited_under_a_lease_of_ten_minutes_and_delivers_once(
    queue: Queue, tmp_path: Path
) -> None:
    worker = Worker(queue, tmp_path, attempt=BUDGET)
    async with SmtpSink(script={"content": [SILENCE, "250 2.0.0 Taken"]}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        await queue.runner("w2").start()
        await worker.runner.start()
        reply, (unit,) = await worker.send("u")
        assert reply.code == 250
        row = await queue.row(unit)
        assert await queue.state(unit) is State.SPOOLED
        assert row.holder == "w1"
        assert row.lease_until - queue.clock() >= 10 * MINUTE  # RFC 5321 §4.5.3.2.6
        assert row.due_at >= row.lease_until, "due to nobody before"
        assert len(worker.files()) == 1
        queue.clock.advance(10 * MINUTE - 1)
        (beside,) = await queue.spool()
        await queue.reached(beside, State.DELIVERED)  # what is due is found; the other is left alone
        assert (await queue.row(unit)).holder == "w1"
        for writer in sink._writers:  # the conversation that is still open, if the pool keeps others too
            writer.write(b"250 2.0.0 At last\r\n")
        await queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 2
    worker.journal.close()


async def test_when_the_connection_is_lost_meanwhile_it_is_tried_again(queue: Queue, tmp_path: Path) -> None:
    worker = Worker(queue, tmp_path, attempt=BUDGET)
    async with SmtpSink(script={"content": [SILENCE, "250 2.0.0 Taken"]}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        await worker.runner.start()
        reply, (unit,) = await worker.send("u")
        assert reply.code == 250
        assert await queue.state(unit) is State.SPOOLED
        await sink.drop_connections()
        await queue.attempted(unit, 1)
        queue.clock.advance(2 * MINUTE)
        await queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 2  # SMTP cannot say whether the first was taken
    worker.journal.close()
