"""Kept connections: used again, never by two tenants, replaced when dead, limited in number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mailguard.core.envelope import Recipient
from mailguard.net.smtp_client import Handshake, HopError, Sent, SmtpConnection, Stage, Target, Transaction
from mailguard.net.smtp_pool import ConnectionPool, HopBusyError, PoolKey
from tests.servers.smtp_sink import HANG_UP, SILENCE, Say, SmtpSink

JOB = Transaction("s@remote.test", (Recipient("a@client.test", 2, "client.test"),), (b"Subject: x\r\n\r\nx\r\n",))


def dialler(sink: SmtpSink) -> Callable[[], Awaitable[SmtpConnection]]:
    async def dial() -> SmtpConnection:
        return await SmtpConnection.connect(Target("127.0.0.1", sink.port), Handshake(helo="relay.test"))

    return dial


def deadline(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def send(pool: ConnectionPool, sink: SmtpSink, *, tenant: int = 2, seconds: float = 5.0) -> Sent:
    key = PoolKey(tenant, sink.hop)
    sent, _ = await pool.transact(key, JOB, dial=dialler(sink), deadline=deadline(seconds))
    return sent


async def test_one_connection_serves_one_message_after_the_other() -> None:
    async with SmtpSink() as sink:
        pool = ConnectionPool()
        for _ in range(5):
            assert (await send(pool, sink)).answers[0].stage is Stage.CONTENT
        assert sink.connections == 1
        pool.close()
        while sink.open:
            await asyncio.sleep(0.01)
        assert sink.commands[-1][1] == "QUIT"


async def test_tenants_never_share_a_connection() -> None:
    async with SmtpSink() as sink:
        pool = ConnectionPool()
        for tenant in (2, 3, 2, 3):
            await send(pool, sink, tenant=tenant)
        assert sink.connections == 2
        assert [message.connection for message in sink.messages] == [1, 2, 1, 2]
        pool.close()


async def test_idle_connections_are_closed() -> None:
    async with SmtpSink() as sink:
        pool = ConnectionPool(idle=0.05)
        await send(pool, sink)
        while sink.open:
            await asyncio.sleep(0.01)
        assert sink.commands[-1][1] == "QUIT"
        assert pool.connections(PoolKey(2, sink.hop)) == (0, 0)


async def test_connection_is_given_up_after_so_many_messages() -> None:
    async with SmtpSink() as sink:
        pool = ConnectionPool(uses=2)
        for _ in range(5):
            await send(pool, sink)
        assert sink.connections == 3
        pool.close()


@pytest.mark.parametrize("scripted", [HANG_UP, Say("421 4.4.2 Idle for too long", hang_up=True)])
async def test_dead_connection_is_replaced_unnoticed(scripted: Say) -> None:
    async with SmtpSink() as sink:
        pool = ConnectionPool()
        await send(pool, sink)
        sink.script["mail"] = [scripted, "250 Ok"]
        assert (await send(pool, sink)).answers[0].stage is Stage.CONTENT
        assert len(sink.messages) == 2
        assert sink.connections == 2
        pool.close()


async def test_server_that_restarted_is_met_anew() -> None:
    async with SmtpSink() as sink:
        pool = ConnectionPool()
        await asyncio.gather(*(send(pool, sink) for _ in range(3)))
        await sink.stop()
        await sink.start()
        assert (await send(pool, sink)).answers[0].stage is Stage.CONTENT
        assert len(sink.messages) == 4
        pool.close()


async def test_refusal_on_a_kept_connection_is_not_tried_again() -> None:
    async with SmtpSink() as sink:
        pool = ConnectionPool()
        await send(pool, sink)
        sink.script["mail"] = "450 4.7.1 Later"
        sent = await send(pool, sink)
        assert sent.answers[0].reply and sent.answers[0].reply.code == 450
        assert sink.connections == 1
        pool.close()


async def test_connections_are_limited_and_handed_on() -> None:
    async with SmtpSink(script={"content": Say("250 Ok", delay=0.02)}) as sink:
        pool = ConnectionPool(per_hop=3)
        sent = await asyncio.gather(*(send(pool, sink) for _ in range(12)))
        assert all(one.answers[0].stage is Stage.CONTENT for one in sent)
        assert sink.most_open == 3
        pool.close()


async def test_busy_hop_is_told_from_a_dead_one() -> None:
    async with SmtpSink(script={"content": SILENCE}) as sink:
        pool = ConnectionPool(per_hop=1)
        first = asyncio.create_task(send(pool, sink))
        while not sink.commands:
            await asyncio.sleep(0.01)
        with pytest.raises(HopBusyError):
            await send(pool, sink, seconds=0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert pool.connections(PoolKey(2, sink.hop)) == (0, 0)


async def test_connection_that_still_waits_for_its_reply_counts() -> None:
    async with SmtpSink(script={"content": Say("250 Ok", delay=0.2)}) as sink:
        pool = ConnectionPool(per_hop=1)
        sent = await send(pool, sink, seconds=0.05)
        assert sent.pending
        assert pool.connections(PoolKey(2, sink.hop)) == (1, 0)
        await sent.pending
        await asyncio.sleep(0)
        assert pool.connections(PoolKey(2, sink.hop)) == (0, 0)


async def test_place_is_given_back_when_nobody_answers() -> None:
    async with SmtpSink(script={"banner": "554 5.7.1 No"}) as sink:
        pool = ConnectionPool(per_hop=1)
        for _ in range(3):
            with pytest.raises(HopError):
                await send(pool, sink)
        assert pool.connections(PoolKey(2, sink.hop)) == (0, 0)
