"""What waits is attempted when due, recorded once, retried, given up, parked; nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.core.decision import Reason
from mailguard.core.envelope import NextHop
from mailguard.core.errors import TemporaryError
from mailguard.core.events import State
from mailguard.core.reply import LOCAL_ERROR
from mailguard.delivery.outcome import Outcome, OutcomeKind, Stage
from mailguard.queue.attempt import AttemptSettings
from mailguard.store.ledger import Ledger, Move
from mailguard.store.queue import Claim, QueueStore
from tests.servers.smtp_sink import HANG_UP, SILENCE, Say, SmtpSink
from tests.unit.queue.conftest import ORIGINAL, UNAUTHENTICATED, Queue, until

DEAD = NextHop("127.0.0.1", 1)


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


# a dead next hop


async def test_dead_next_hop_is_probed_by_one_message(queue: Queue) -> None:
    queue.hops["client.test"] = (DEAD,)
    units = [(await queue.spool())[0] for _ in range(30)]
    await queue.runner().start()

    async def postponed() -> bool:
        rows = [await queue.row(unit) for unit in units]
        return all(row.holder == "" and row.due_at > queue.clock() for row in rows)

    await until(postponed)
    rows = [await queue.row(unit) for unit in units]
    assert 1 <= sum(row.attempts for row in rows) <= 5  # those under way together when it was found dead
    probe = min(rows, key=lambda row: row.due_at)
    queue.clock.now = probe.due_at
    before = sum(row.attempts for row in rows)

    async def probed() -> bool:
        return sum([(await queue.row(unit)).attempts for unit in units]) > before

    await until(probed)
    await until(postponed)
    assert sum([(await queue.row(unit)).attempts for unit in units]) == before + 1


async def test_its_return_drains_the_queue(queue: Queue) -> None:
    async with SmtpSink() as sink:
        queue.hops["client.test"] = (sink.hop,)
        await sink.stop()
        units = [(await queue.spool())[0] for _ in range(30)]
        await queue.runner().start()

        async def postponed() -> bool:
            rows = [await queue.row(unit) for unit in units]
            return all(row.holder == "" and row.due_at > queue.clock() for row in rows)

        await until(postponed)
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

        async def postponed() -> bool:
            rows = [await queue.row(unit) for unit in units]
            return all(row.holder == "" and row.due_at > queue.clock() for row in rows)

        await until(postponed)
        assert max([(await queue.row(unit)).due_at for unit in units]) > queue.clock() + 60_000
        await QueueStore(queue.db).hasten_domain("client.test")
        await until(postponed)
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

        async def postponed() -> bool:
            rows = [await queue.row(unit) for unit in units]
            return all(row.holder == "" and row.due_at > queue.clock() for row in rows)

        await until(postponed)
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


# giving up


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


# crashes, leases, late replies


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
