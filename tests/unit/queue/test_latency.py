"""How long we took over a mail is recorded with its delivery, unless the wait was its next hop's or an admin's."""

from __future__ import annotations

from mailguard.core.clock import HOUR
from mailguard.core.events import State
from tests.servers.smtp_sink import SmtpSink
from tests.unit.queue.conftest import Queue


async def test_mail_that_we_held_back_counts_with_all_of_that_time(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        queue.clock.advance(HOUR)
        await queue.runner().start()
        await queue.reached(unit, State.DELIVERED)
        *_, delivered = await queue.events(unit, "state")
        assert HOUR <= delivered["latency_ms"] < 2 * HOUR


async def test_mail_that_its_next_hop_put_off_does_not_count(queue: Queue) -> None:
    replies = ["450 4.2.2 Full"]
    async with SmtpSink(script={"rcpt": lambda _: replies.pop() if replies else "250 Ok"}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        runner = queue.runner()
        await runner.start()
        await queue.attempted(unit, 1)
        queue.clock.advance(HOUR)
        runner.notify()
        await queue.reached(unit, State.DELIVERED)
        *_, delivered = await queue.events(unit, "state")
        assert "latency_ms" not in delivered


async def test_what_an_admin_released_does_not_count(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(purpose="release")
        await queue.runner().start()
        await queue.reached(unit, State.RELEASED)
        *_, released = await queue.events(unit, "state")
        assert "latency_ms" not in released
