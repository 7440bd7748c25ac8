"""What ends without delivery: refused, expired, released in vain, held unscanned; who is told of it, and who is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.core.decision import Reason
from mailguard.core.errors import TemporaryError
from mailguard.core.events import State
from mailguard.core.reply import LOCAL_ERROR
from mailguard.store.claims import Claim
from mailguard.store.ledger import Ledger, Move
from tests.servers.smtp_sink import SmtpSink
from tests.unit.queue.conftest import UNAUTHENTICATED, Queue, until


async def test_refused_mail_of_an_authenticated_sender_bounces(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 No such user"}) as sink, SmtpSink() as sender:
        queue.hops["client.test"] = (sink.hop,)
        queue.smarthost = sender.hop
        unit, other = await queue.spool("nobody@client.test", "none@client.test")
        await queue.runner().start()
        await queue.reached(unit, State.BOUNCED)
        await queue.reached(other, State.BOUNCED)
        assert await queue.reason(unit) == Reason.NEXT_HOP_REFUSED
        await until(lambda: len(sender.messages) == 1)
        report = sender.messages[0]
        assert report.mail.startswith("MAIL FROM:<>")
        assert report.rcpts == ["RCPT TO:<alice@remote.test>"]
        assert b"Final-Recipient: rfc822; nobody@client.test" in report.content
        assert b"Final-Recipient: rfc822; none@client.test" in report.content
        assert b"Diagnostic-Code: smtp; 550 5.1.1 No such user" in report.content
        (dsn,) = await queue.units_of(1)
        await queue.reached(dsn.id, State.DELIVERED)
        (_, bounced) = await queue.events(unit, "state")
        assert bounced["dsn"] == dsn.message


@pytest.mark.parametrize(
    ("mail_from", "authenticated", "notify"),
    [
        ("alice@remote.test", False, ()),
        ("", True, ()),
        ("eve@forged.test", True, ()),
        ("alice@remote.test", True, ("NEVER",)),
        ("alice@remote.test", True, ("SUCCESS", "DELAY")),
    ],
)
async def test_nobody_is_told_who_may_not_be(
    queue: Queue, mail_from: str, authenticated: bool, notify: tuple[str, ...]
) -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 No such user"}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        extra = {} if authenticated else {"findings": UNAUTHENTICATED}
        (unit,) = await queue.spool(mail_from=mail_from, notify=notify, **extra)  # type: ignore[arg-type]
        await queue.runner().start()
        await queue.reached(unit, State.UNDELIVERABLE)
        unwanted = notify and authenticated
        assert await queue.reason(unit) == (Reason.NOTICE_UNWANTED if unwanted else Reason.SENDER_UNAUTHENTICATED)
        assert await queue.units_of(1) == []
        assert queue.blobs.exists(unit[:26])


async def test_expired_mail_is_tried_once_more_then_bounces(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "450 4.2.2 Full"}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool()
        queue.clock.advance(5 * DAY)
        await queue.runner().start()
        await queue.reached(unit, State.BOUNCED)
        assert await queue.reason(unit) == Reason.QUEUE_EXPIRED
        assert len(await queue.events(unit)) == 1


async def test_retries_end_at_the_expiry(queue: Queue) -> None:
    async with SmtpSink(script={"rcpt": "450 4.2.2 Full"}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(retention=HOUR)
        await queue.runner().start()
        for attempt in range(1, 7):
            await queue.attempted(unit, attempt)
            queue.clock.now = (await queue.row(unit)).due_at
            if queue.clock.now == (await queue.row(unit)).expires_at:
                break
        assert queue.clock.now >= (await queue.row(unit)).expires_at if await queue.row(unit) else True
        await queue.reached(unit, State.BOUNCED)


@pytest.mark.parametrize(("purpose", "mail_from"), [("dsn", ""), ("report", "postmaster@relay.test")])
async def test_no_report_of_ours_bounces(queue: Queue, purpose: str, mail_from: str) -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 Nobody"}) as sink:
        queue.smarthost = sink.hop
        (unit,) = await queue.spool("alice@remote.test", purpose=purpose, mail_from=mail_from, tenant=1)
        await queue.runner().start()
        await queue.reached(unit, State.UNDELIVERABLE)
        assert len(await queue.units_of(1)) == 1


async def test_release_is_delivered_as_released(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(purpose="release")
        await queue.runner().start()
        await queue.reached(unit, State.RELEASED)


@pytest.mark.parametrize("reply", ["550 5.1.1 Nobody", "450 4.2.2 Full"])
async def test_failed_release_returns_to_quarantine_untold(queue: Queue, reply: str) -> None:
    async with SmtpSink(script={"rcpt": reply}) as sink:
        queue.hops["client.test"] = (sink.hop,)
        (unit,) = await queue.spool(purpose="release", retention=1)
        queue.clock.advance(2)
        await queue.runner().start()
        await queue.reached(unit, State.QUARANTINED)
        assert await queue.units_of(1) == []


async def test_mail_of_a_domain_that_was_removed_waits(queue: Queue) -> None:
    (unit,) = await queue.spool()
    await queue.runner().start()
    await queue.attempted(unit, 1)
    assert "no next hop" in (await queue.row(unit)).last_reply


# held mail


async def test_held_mail_is_scanned_again(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        seen: list[list[str]] = []

        async def rescan(claims: Sequence[Claim]) -> None:
            seen.append([claim.unit for claim in claims])
            if len(seen) == 1:
                raise TemporaryError(LOCAL_ERROR, "the scanner is away")
            moves = [
                Move(claim.unit, State.DISCARDED, Reason.RESCANNED, dequeue=True, fence=claim.fence) for claim in claims
            ]
            await Ledger(queue.db).move(moves)

        queue.rescan = rescan
        units = await queue.spool("a@client.test", "b@client.test", purpose="rescan", state=State.HELD)
        await queue.runner().start()
        await queue.attempted(units[0], 1)
        queue.clock.advance(2 * MINUTE)
        for unit in units:
            await queue.reached(unit, State.DISCARDED)
        assert seen == [units, units]
        assert sink.connections == 0


async def test_held_mail_that_nobody_scans_ends_in_quarantine(queue: Queue) -> None:
    (unit,) = await queue.spool(purpose="rescan", state=State.HELD)
    queue.clock.advance(6 * DAY)
    await queue.runner().start()
    await queue.reached(unit, State.QUARANTINED)
    assert await queue.reason(unit) == Reason.SCANNER_FAILED
