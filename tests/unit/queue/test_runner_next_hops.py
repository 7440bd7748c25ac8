"""A dead next hop is probed by one message, holds up nobody else, and drains the queue when it returns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mailguard.core.envelope import NextHop
from mailguard.core.events import State
from mailguard.store.queue import QueueStore
from tests.servers.smtp_sink import SILENCE, SmtpSink
from tests.unit.queue.conftest import Queue, until

DEAD = NextHop("127.0.0.1", 1)


async def postponed(queue: Queue, units: Sequence[str]) -> bool:
    """Whether all of them wait for a later attempt, and nobody has them."""
    rows = [await queue.row(unit) for unit in units]
    return all(row.holder == "" and row.due_at > queue.clock() for row in rows)


async def test_dead_next_hop_is_probed_by_one_message(queue: Queue) -> None:
    queue.hops["client.test"] = (DEAD,)
    units = [(await queue.spool())[0] for _ in range(30)]
    await queue.runner().start()

    await until(partial(postponed, queue, units))
    rows = [await queue.row(unit) for unit in units]
    assert 1 <= sum(row.attempts for row in rows) <= 5  # those under way together when it was found dead
    probe = min(rows, key=lambda row: row.due_at)
    queue.clock.now = probe.due_at
    before = sum(row.attempts for row in rows)

    async def probed() -> bool:
        return sum([(await queue.row(unit)).attempts for unit in units]) > before

    await until(probed)
    await until(partial(postponed, queue, units))
    assert sum([(await queue.row(unit)).attempts for unit in units]) == before + 1


async def test_its_return_drains_the_queue(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        await sink.stop()
        units = [(await queue.spool())[0] for _ in range(30)]
        await queue.runner().start()

        await until(partial(postponed, queue, units))
        await sink.start()
        queue.clock.now = min([(await queue.row(unit)).due_at for unit in units])
        for unit in units:  # the clock stands still: all the others were pulled forward
            await queue.reached(unit, State.DELIVERED)
        assert sink.most_open <= 20


async def test_what_another_worker_brings_forward_waits_for_our_probe_only(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        await sink.stop()
        units = [(await queue.spool())[0] for _ in range(5)]
        await queue.runner().start()

        await until(partial(postponed, queue, units))
        assert max([(await queue.row(unit)).due_at for unit in units]) > queue.clock() + 60_000
        await QueueStore(queue.db).hasten_domain("client.test")
        await until(partial(postponed, queue, units))
        due_at = max([(await queue.row(unit)).due_at for unit in units])
        assert due_at <= queue.clock() + 11_000  # the first probe is 5 s after the failure, ±10 %
        await sink.start()
        queue.clock.now = due_at
        for unit in units:
            await queue.reached(unit, State.DELIVERED)


async def test_return_of_the_smarthost_drains_our_own_mail(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.smarthost = sink.hop
        await sink.stop()
        units = [(await queue.spool(f"a@remote{i}.test", purpose="dsn", mail_from="", tenant=1))[0] for i in range(5)]
        await queue.runner().start()

        await until(partial(postponed, queue, units))
        await sink.start()
        queue.clock.now = max(
            queue.clock() + 6_000,  # the first probe's time
            min([(await queue.row(unit)).due_at for unit in units]),
        )
        for unit in units:
            await queue.reached(unit, State.DELIVERED)


async def test_another_tenant_is_not_held_up(queue: Queue) -> None:
    async with SmtpSink() as sink, SmtpSink(script={"banner": SILENCE}) as tarpit:
        queue.hops["client.test"] = (tarpit.hop,)
        queue.hops["other.test"] = (sink.hop,)
        queue.tenants["other.test"] = 3
        for _ in range(60):
            await queue.spool()
        await queue.runner(concurrency=10).start()
        await until(lambda: tarpit.connections > 0)
        (unit,) = await queue.spool("x@other.test", tenant=3)
        await queue.reached(unit, State.DELIVERED)
