"""What waits is attempted when due, recorded once, and retried."""

from __future__ import annotations

import pytest

from mailguard.core.clock import MINUTE
from mailguard.core.events import State
from tests.servers.smtp_sink import HANG_UP, Say, SmtpSink
from tests.unit.queue.conftest import ORIGINAL, Queue


async def test_due_mail_is_delivered_with_its_headers(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner().start()
        await queue.reached(unit, State.DELIVERED)
        assert sink.messages[0].content == b"X-MailGuard-Id: x\r\n" + ORIGINAL
        assert sink.messages[0].mail.startswith("MAIL FROM:<alice@remote.test>")
        assert await queue.row(unit) is None
        (attempt,) = await queue.events(unit)
        assert attempt["outcome"] == "delivered"
        assert attempt["reply"] == "250 2.0.0 Taken"
        assert attempt["attempt"] == 1


async def test_recipients_of_one_message_travel_together_and_settle_apart(queue: Queue) -> None:
    def rcpt(line: str) -> str:
        return "550 5.1.1 Nobody" if "nobody" in line else "450 4.2.2 Full" if "full" in line else "250 Ok"

    async with SmtpSink(script={"rcpt": rcpt}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        good, nobody, full = await queue.spool("bob@client.test", "nobody@client.test", "full@client.test")
        await queue.runner().start()
        await queue.reached(good, State.DELIVERED)
        await queue.reached(nobody, State.BOUNCED)
        await queue.attempted(full, 1)
        assert len(sink.messages) == 1


async def test_subject_tag_is_put_on_what_was_spooled(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(subject_tag="[SPAM]")
        await queue.runner().start()
        await queue.reached(unit, State.DELIVERED)
        (received,) = sink.messages
        assert received.content == b"X-MailGuard-Id: x\r\n" + ORIGINAL.replace(b"Hello", b"[SPAM] Hello")


async def test_notify_wakes_it(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        runner = queue.runner()
        await runner.start()
        (unit,) = await queue.spool()
        runner.notify()
        await queue.reached(unit, State.DELIVERED)


async def test_failed_attempt_is_retried_with_backoff(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": ["450 4.2.0 Greylisted"] * 2 + ["250 Ok"]}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner().start()
        for attempt, wait in ((1, MINUTE), (2, 2 * MINUTE)):
            await queue.attempted(unit, attempt)
            row = await queue.row(unit)
            assert 0.9 * wait <= row.due_at - queue.clock() <= 1.1 * wait
            assert row.last_reply == "450 4.2.0 Greylisted"
            queue.clock.now = row.due_at
        await queue.reached(unit, State.DELIVERED)
        assert [event["outcome"] for event in await queue.events(unit)] == ["temporary", "temporary", "delivered"]


@pytest.mark.parametrize("script", [{"banner": "554 5.7.1 Go away"}, {"mail": "550 5.7.1 Blocked"}, {"ehlo": HANG_UP}])
async def test_what_is_about_us_is_retried(queue: Queue, script: dict[str, str | Say]) -> None:
    async with SmtpSink(script=script) as sink:  # type: ignore[arg-type]
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        await queue.runner().start()
        await queue.attempted(unit, 1)


async def test_soft_bounce_retries_what_is_refused(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 Nobody"}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        queue.soft_bounce = True
        (unit,) = await queue.spool()
        await queue.runner().start()
        await queue.attempted(unit, 1)
