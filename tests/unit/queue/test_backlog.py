"""A backlog for a dead next hop costs the database little; a clock that jumps delivers nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from mailguard.core.clock import DAY
from mailguard.core.envelope import NextHop
from mailguard.core.events import State
from mailguard.store import schema
from mailguard.store.queue import QueueStore
from tests.servers.ports import free_port
from tests.servers.smtp_sink import Say, SmtpSink
from tests.unit.queue.conftest import Queue, until

BACKLOG = 200


async def test_a_backlog_that_is_brought_forward_is_postponed_as_a_whole(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `mailguard queue retry --all`, while the next hop is known to be down."""
    claimed: list[str] = []
    claim = QueueStore.claim

    async def counting(self: QueueStore, *arguments: Any, **named: Any) -> Any:
        claims = await claim(self, *arguments, **named)
        claimed.extend(one.unit for one in claims)
        return claims

    queue.hops["client.test"] = (NextHop("127.0.0.1", free_port()),)
    for _ in range(BACKLOG):
        await queue.spool()
    runner = queue.runner()
    await runner.start()

    async def postponed() -> bool:
        table = schema.queue.c
        due = select(func.count()).where((table.due_at <= queue.clock()) | (table.holder != ""))
        return not await queue.db.read(lambda connection: connection.scalar(due))

    await until(postponed)
    monkeypatch.setattr(QueueStore, "claim", counting)
    assert await QueueStore(queue.db).hasten_domain("client.test") == BACKLOG
    runner.notify()
    await until(postponed)
    assert 0 < len(claimed) <= BACKLOG / 4


async def test_new_mail_does_not_put_off_the_probe_of_a_dead_next_hop(queue: Queue) -> None:
    """What finds it down moves nothing beyond the next probe, and nothing of others who have mail for the same domain."""
    queue.hops["client.test"] = (NextHop("127.0.0.1", free_port()),)
    (theirs,) = await queue.spool()
    (ours,) = await queue.spool("postmaster@client.test", tenant=1, purpose="dsn", mail_from="")
    runner = queue.runner()
    await runner.start()
    await queue.attempted(theirs, 1)
    await queue.attempted(ours, 1)
    soon = queue.clock() + 1_000
    await queue.db.write(lambda c: c.execute(update(schema.queue).values(due_at=soon)).rowcount)
    (new,) = await queue.spool()
    runner.notify()

    async def put_off() -> bool:
        row = await queue.row(new)
        return row.holder == "" and row.due_at > queue.clock()

    await until(put_off)
    assert soon < (await queue.row(theirs)).due_at <= queue.clock() + 5_500  # the probe: 5 s after the failure, ±10 %
    assert (await queue.row(ours)).due_at == soon


async def test_a_clock_that_jumps_delivers_nothing_twice(queue: Queue) -> None:
    async with SmtpSink(script={"content": Say("250 2.0.0 Ok", delay=0.5)}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        runner = queue.runner()
        await runner.start()
        await until(lambda: any(line == "DATA" for _, line in sink.commands))
        queue.clock.advance(DAY)  # the lease seems to have run out long ago
        (other,) = await queue.spool("carol@client.test")
        runner.notify()
        await queue.reached(other, State.DELIVERED)
        await queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 2
        assert [event["attempt"] for event in await queue.events(unit)] == [1]
