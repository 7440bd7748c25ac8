"""What senders are told: failures as they asked for (RFC 3461), delays once, and what goes on to servers that do not report."""

from __future__ import annotations

from typing import Any

import pytest

from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.core.envelope import MailOptions
from mailguard.core.events import State
from tests.servers.smtp_sink import SmtpSink

from .conftest import ORIGINAL, UNAUTHENTICATED, Queue, until

REPORTS_ITSELF = b"250-sink.test\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME\r\n"


async def report_of(sender: SmtpSink) -> bytes:
    await until(lambda: len(sender.messages) == 1)
    (received,) = sender.messages
    assert received.mail.startswith("MAIL FROM:<>")
    assert received.rcpts == ["RCPT TO:<alice@remote.test>"]
    return received.content


# failures


async def test_failure_says_what_the_sender_asked_for(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 No such user"}) as sink, SmtpSink() as sender:
        queue.hops["client.test"] = (sink.hop,)
        queue.smarthost = sender.hop
        await queue.spool(
            notify=("FAILURE",),
            orcpt="rfc822;bob+2Bnews@client.test",
            options=MailOptions(ret="FULL", envid="QQ+2B1"),
        )
        await queue.runner().start()
        report = await report_of(sender)
    assert b"Original-Envelope-Id: QQ+2B1\r\n" in report
    assert b"Original-Recipient: rfc822; bob+2Bnews@client.test\r\n" in report
    assert b"Content-Type: message/rfc822\r\n\r\n" + ORIGINAL in report


async def test_header_alone_goes_back_by_default(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 No such user"}) as sink, SmtpSink() as sender:
        queue.hops["client.test"] = (sink.hop,)
        queue.smarthost = sender.hop
        await queue.spool(options=MailOptions(ret="HDRS"))
        await queue.runner().start()
        report = await report_of(sender)
    assert b"Content-Type: text/rfc822-headers" in report
    assert b"\r\nbody" not in report


async def test_some_recipients_want_no_report(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 No such user"}) as sink, SmtpSink() as sender:
        queue.hops["client.test"] = (sink.hop,)
        queue.smarthost = sender.hop
        (quiet,) = await queue.spool("quiet@client.test", notify=("NEVER",))
        (loud,) = await queue.spool("loud@client.test", notify=("FAILURE", "DELAY"))
        await queue.runner().start()
        await queue.reached(quiet, State.UNDELIVERABLE)
        await queue.reached(loud, State.BOUNCED)
        report = await report_of(sender)
    assert b"loud@client.test" in report
    assert b"quiet@client.test" not in report


# delays


async def late(queue: Queue, **spooled: Any) -> tuple[str, ...]:
    """Mail that has waited four hours, once tried in vain."""
    units = await queue.spool(**spooled)
    for unit in units:
        await queue.attempted(unit, 1)
    queue.clock.advance(4 * HOUR)
    return tuple(units)


async def test_sender_is_told_once_that_mail_is_late(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "450 4.2.2 Mailbox full"}) as sink, SmtpSink() as sender:
        queue.hops["client.test"] = (sink.hop,)
        queue.smarthost = sender.hop
        runner = queue.runner()
        await runner.start()
        (unit,) = await late(queue)
        assert await runner.notices.delayed(after=4 * HOUR + MINUTE) == 0
        assert await runner.notices.delayed(after=4 * HOUR) == 1
        report = await report_of(sender)
        assert await runner.notices.delayed(after=4 * HOUR) == 0
        (note,) = await queue.events(unit, "note")
    assert b"Action: delayed\r\nStatus: 4.2.2\r\n" in report
    assert b"Diagnostic-Code: smtp; 450 4.2.2 Mailbox full" in report
    assert b"Will-Retry-Until: " in report
    assert note["told"] == "delayed"


async def test_one_notice_tells_of_all_recipients(queue: Queue) -> None:
    async with SmtpSink() as sender:
        queue.smarthost = sender.hop
        runner = queue.runner()
        await runner.start()
        await queue.spool("a@client.test", "b@client.test")
        queue.clock.advance(4 * HOUR)
        assert await runner.notices.delayed(after=4 * HOUR) == 2
        report = await report_of(sender)
    assert report.count(b"Action: delayed") == 2


@pytest.mark.parametrize(
    ("spooled", "why"),
    [
        ({"notify": ("NEVER",)}, "never wanted"),
        ({"notify": ("SUCCESS", "FAILURE")}, "not among what is wanted"),
        ({"findings": UNAUTHENTICATED}, "the DSN rule"),
        ({"mail_from": ""}, "the null sender"),
        ({"purpose": "release"}, "released by an admin"),
        ({"purpose": "dsn", "mail_from": "", "tenant": 1}, "a report itself"),
        ({"purpose": "rescan", "state": State.HELD}, "held by us"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_nobody_is_told_of_a_delay_who_may_not_be(queue: Queue, spooled: dict[str, Any], why: str) -> None:
    runner = queue.runner()
    await queue.spool(**spooled)
    before = len(await queue.units_of(1))
    queue.clock.advance(4 * HOUR)
    await runner.notices.delayed(after=4 * HOUR)
    assert await runner.notices.delayed(after=4 * HOUR) == 0
    assert len(await queue.units_of(1)) == before


async def test_mail_that_leaves_the_queue_meanwhile_is_not_told_of(queue: Queue) -> None:
    runner = queue.runner()
    (unit,) = await queue.spool()
    queue.clock.advance(DAY)
    findings = runner._services.queue.findings

    async def delivered_meanwhile(message: str) -> Any:
        from sqlalchemy import delete

        from mailguard.store import schema

        await queue.db.write(lambda connection: connection.execute(delete(schema.queue)))
        return await findings(message)

    runner.notices._queue.findings = delivered_meanwhile  # type: ignore[method-assign]
    assert await runner.notices.delayed(after=4 * HOUR) == 1
    assert await queue.units_of(1) == []
    assert await queue.events(unit, "note") == []


# success


@pytest.mark.parametrize(
    ("spooled", "ehlo", "told"),
    [
        ({"notify": ("SUCCESS",)}, None, True),
        ({"notify": ("SUCCESS", "FAILURE")}, None, True),
        ({}, None, False),
        ({"notify": ("FAILURE",)}, None, False),
        ({"notify": ("SUCCESS",)}, REPORTS_ITSELF, False),
        ({"notify": ("SUCCESS",), "findings": UNAUTHENTICATED}, None, False),
        ({"notify": ("SUCCESS",), "purpose": "release"}, None, False),
    ],
)
async def test_success_is_told_where_it_is_wanted_and_the_next_hop_does_not(
    queue: Queue, spooled: dict[str, Any], ehlo: bytes | None, told: bool
) -> None:
    script = {"ehlo": ehlo} if ehlo else {}
    async with SmtpSink(script=script) as sink, SmtpSink() as sender:  # type: ignore[arg-type]
        queue.hops["client.test"] = (sink.hop,)
        queue.smarthost = sender.hop
        (unit,) = await queue.spool(orcpt="rfc822;b@client.test", **spooled)
        runner = queue.runner()
        await runner.start()
        await queue.reached(unit, State.RELEASED if "purpose" in spooled else State.DELIVERED)
        await runner.notices.settled()
        if not told:
            assert await queue.units_of(1) == []
            return
        report = await report_of(sender)
        (note,) = await queue.events(unit, "note")
    assert b"Action: relayed\r\nStatus: 2." in report
    assert b"Original-Recipient: rfc822; b@client.test" in report
    assert note["told"] == "relayed"
