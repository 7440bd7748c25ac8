"""Crashes, leases, late replies and stops: each mail is delivered once, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mailguard.core.clock import MINUTE
from mailguard.core.events import State
from mailguard.delivery.outcome import Outcome, OutcomeKind, Stage
from mailguard.queue.attempt import AttemptSettings
from mailguard.store.claims import Claim
from mailguard.store.queue import QueueStore
from tests.servers.smtp_sink import SILENCE, Say, SmtpSink
from tests.unit.queue.conftest import Queue, until


async def test_mail_on_which_workers_die_is_parked(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        store = QueueStore(queue.db)
        for _ in range(3):
            assert await store.claim("dead", limit=5, lease_ms=MINUTE)
            queue.clock.advance(2 * MINUTE)
        await queue.runner().start()
        await queue.reached(unit, State.PARKED)
        assert sink.connections == 0


async def test_mail_without_a_body_is_parked(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(blob=False)
        await queue.runner().start()
        await queue.reached(unit, State.PARKED)


async def test_unforeseen_error_counts_as_a_crash_and_spares_the_others(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (poison,) = await queue.spool(content=b"Subject: poison\r\n\r\n")
        (unit,) = await queue.spool()
        runner = queue.runner(lease_ms=60_000)
        compose = runner._attempts._compose

        def crashing(claim: Claim, original: bytes) -> Sequence[bytes]:
            if b"poison" in original:
                raise RuntimeError("a bug")
            return compose(claim, original)

        monkeypatch.setattr(runner._attempts, "_compose", crashing)
        await runner.start()
        await queue.reached(unit, State.DELIVERED)
        for crashes in (1, 2, 3):
            await until(lambda: not runner._under_way)
            queue.clock.advance(61_000)
            if crashes < 3:

                async def counted(crashes: int = crashes) -> bool:
                    return (await queue.row(poison)).crashes == crashes

                await until(counted)
        await queue.reached(poison, State.PARKED)


async def test_late_reply_is_awaited_and_recorded(queue: Queue) -> None:
    queue.settings = AttemptSettings(budget=0.1)
    script = {"content": Say("250 2.0.0 At last", delay=0.4)}
    async with SmtpSink(script=script) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner().start()
        await queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 1
        assert [event["outcome"] for event in await queue.events(unit)] == ["delivered"]


@pytest.mark.parametrize(
    ("kind", "state"), [(OutcomeKind.DELIVERED, State.DELIVERED), (OutcomeKind.TEMPORARY, State.SPOOLED)]
)
async def test_reply_awaited_from_a_session_is_taken_over(queue: Queue, kind: OutcomeKind, state: State) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(holder="w1", lease=11 * MINUTE)
        runner = queue.runner("w1")
        await runner.start()
        final: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        runner.awaits(unit, final)
        await asyncio.sleep(0.1)
        assert sink.connections == 0
        final.set_result(Outcome(1, 2, kind, Stage.CONTENT, detail="connection lost after the final dot"))
        if state is State.DELIVERED:
            await queue.reached(unit, state)
        else:
            await queue.attempted(unit, 1)
        assert sink.connections == 0


async def test_lease_is_renewed_while_a_delivery_lasts(queue: Queue) -> None:
    async with SmtpSink(script={"content": Say("250 Ok", delay=0.6)}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner("w1", lease_ms=300).start()
        await until(lambda: len(sink.messages) == 1)
        first = (await queue.row(unit)).lease_until
        queue.clock.advance(200)

        async def renewed() -> bool:
            row = await queue.row(unit)
            return row is None or row.lease_until > first

        await until(renewed)
        await queue.reached(unit, State.DELIVERED)
        assert len(sink.messages) == 1


async def test_content_is_not_sent_when_the_lease_was_lost(queue: Queue) -> None:
    async with SmtpSink(script={"data": Say("354 Go", delay=0.4)}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner("slow", lease_ms=200).start()
        await until(lambda: any(line == "DATA" for _, line in sink.commands))
        queue.clock.advance(10_000)
        (claim,) = await QueueStore(queue.db).claim("quick", limit=1, lease_ms=60_000)
        assert claim.unit == unit
        await until(lambda: sink.open == 0)
        assert sink.messages == []
        assert (await queue.row(unit)).holder == "quick"


async def test_two_workers_deliver_each_mail_once(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        units = [(await queue.spool(f"r{i}@client.test"))[0] for i in range(60)]
        await asyncio.gather(queue.runner("w1").start(), queue.runner("w2").start())
        for unit in units:
            await queue.reached(unit, State.DELIVERED)
        assert sorted(message.rcpts[0] for message in sink.messages) == sorted(
            f"RCPT TO:<r{i}@client.test>" for i in range(60)
        )


async def test_stopping_gives_back_what_waits_and_ends_what_is_under_way(queue: Queue) -> None:
    async with SmtpSink(script={"content": Say("250 Ok", delay=0.1)}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        units = [(await queue.spool())[0] for _ in range(30)]
        runner = queue.runner(drain=5.0)
        await runner.start()
        await until(lambda: bool(sink.messages))
        await runner.stop()
        for unit in units:
            row = await queue.row(unit)
            assert row is None or (row.holder, row.crashes) == ("", 0)
        assert len(sink.messages) == sum([await queue.row(unit) is None for unit in units])


async def test_stopping_does_not_wait_for_ever(queue: Queue) -> None:
    async with SmtpSink(script={"content": SILENCE}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        runner = queue.runner(drain=0.1)
        await runner.start()
        await until(lambda: len(sink.messages) == 1)
        await runner.stop()
        assert (await queue.row(unit)).holder == ""
