"""One conversation with a next hop, good and bad ones, against a scripted server."""

from __future__ import annotations

import asyncio

import pytest

from mailguard.core.envelope import Recipient
from mailguard.net.smtp_client import (
    Stage,
    Timeouts,
    Transaction,
)
from tests.servers.smtp_sink import HANG_UP, SILENCE, Say, SmtpSink
from tests.unit.net.conversations import CONTENT, connected, soon, transaction


async def test_envelope_goes_in_one_flight_and_content_byte_for_byte() -> None:
    async with SmtpSink() as sink, connected(sink) as connection:
        sent = await connection.send(transaction("a@client.test", "b@client.test"))
        assert [answer.reply.code for answer in sent.answers if answer.reply] == [250, 250]
        assert all(answer.stage is Stage.CONTENT for answer in sent.answers)
        (message,) = sink.messages
        assert message.content == CONTENT
        assert message.wire == b"Subject: hello\r\n\r\n..dots\r\n...\r\nbody\r\n"
        assert message.mail == f"MAIL FROM:<sender@remote.test> SIZE={len(CONTENT)}"
        assert message.rcpts == ["RCPT TO:<a@client.test>", "RCPT TO:<b@client.test>"]
        assert sink.flights[1].endswith(b"DATA\r\n") and sink.flights[1].startswith(b"MAIL")


async def test_step_by_step_without_pipelining() -> None:
    async with SmtpSink(offers=("SIZE",)) as sink, connected(sink) as connection:
        sent = await connection.send(transaction("a@client.test", "b@client.test"))
        assert [answer.stage for answer in sent.answers] == [Stage.CONTENT] * 2
        assert [flight.split(b" ")[0].strip() for flight in sink.flights[:5]] == [
            b"EHLO",
            b"MAIL",
            b"RCPT",
            b"RCPT",
            b"DATA",
        ]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
async def test_connection_is_used_again_without_rset(offers: tuple[str, ...]) -> None:
    async with SmtpSink(offers=offers) as sink, connected(sink) as connection:
        for _ in range(3):
            sent = await connection.send(transaction())
            assert sent.answers[0].stage is Stage.CONTENT
            assert connection.usable
        assert len(sink.messages) == 3
        assert sink.connections == 1
        assert not [line for _, line in sink.commands if line == "RSET"]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
async def test_refused_recipients_leave_the_connection_usable(offers: tuple[str, ...]) -> None:
    async with SmtpSink(offers=offers) as sink, connected(sink) as connection:
        sink.script["rcpt"] = lambda line: "550 5.1.1 Nobody" if "nobody" in line else "250 Ok"
        sent = await connection.send(transaction("nobody@client.test", "a@client.test"))
        assert [(a.stage, a.reply.code if a.reply else 0) for a in sent.answers] == [
            (Stage.RCPT, 550),
            (Stage.CONTENT, 250),
        ]
        sent = await connection.send(transaction("nobody@client.test"))
        assert [(a.stage, a.reply.code if a.reply else 0) for a in sent.answers] == [(Stage.RCPT, 550)]
        sent = await connection.send(transaction("a@client.test"))
        assert sent.answers[0].stage is Stage.CONTENT
        assert sink.connections == 1
        assert not [line for _, line in sink.commands if "Nested" in line]


@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
async def test_open_transaction_is_reset_before_the_next(offers: tuple[str, ...]) -> None:
    async with SmtpSink(offers=offers) as sink, connected(sink) as connection:
        sink.script["data"] = ["451 4.3.0 Not now", "354 Go ahead"]
        sent = await connection.send(transaction())
        assert [(a.stage, a.reply.code if a.reply else 0) for a in sent.answers] == [(Stage.DATA, 451)]
        sent = await connection.send(transaction())
        assert [(a.stage, a.reply.code if a.reply else 0) for a in sent.answers] == [(Stage.CONTENT, 250)]
        assert [line.split(" ")[0] for _, line in sink.commands].count("RSET") == 1


async def test_354_although_nobody_is_accepted_gets_a_lone_dot() -> None:
    async with SmtpSink(script={"rcpt": "550 5.1.1 Nobody", "data": "354 Whatever"}) as sink:
        async with connected(sink) as connection:
            sent = await connection.send(transaction("x@client.test", "y@client.test"))
            assert [(a.stage, a.reply.code if a.reply else 0) for a in sent.answers] == [(Stage.RCPT, 550)] * 2
            assert sink.flights[-1] == b".\r\n"
            assert connection.usable
        assert sink.messages == []


async def test_354_after_a_refused_mail_never_sends_an_empty_message() -> None:
    odd = {"mail": "550 5.7.1 Blocked", "early rcpt": "250 Ok", "data": "354 Go ahead"}
    async with SmtpSink(script=odd) as sink, connected(sink) as connection:
        sent = await connection.send(transaction())
        assert [(a.stage, a.reply.code if a.reply else 0) for a in sent.answers] == [(Stage.MAIL, 550)]
        assert not connection.usable
    assert b".\r\n" not in sink.flights


@pytest.mark.parametrize(
    ("step", "script", "stage", "code"),
    [
        ("mail", "450 4.7.1 Later", Stage.MAIL, 450),
        ("mail", "550 5.7.1 Blocked", Stage.MAIL, 550),
        ("mail", HANG_UP, Stage.MAIL, None),
        ("mail", "421 4.3.2 Closing", Stage.MAIL, 421),
        ("mail", SILENCE, Stage.MAIL, None),
        ("mail", b"HTTP/1.1 400 Bad Request\r\n\r\n", Stage.MAIL, None),
        ("rcpt", "450 4.2.0 Greylisted", Stage.RCPT, 450),
        ("rcpt", "550 5.1.1 Nobody", Stage.RCPT, 550),
        ("rcpt", HANG_UP, Stage.RCPT, None),
        ("rcpt", SILENCE, Stage.RCPT, None),
        ("rcpt", Say("421 4.3.2 Closing", hang_up=True), Stage.RCPT, 421),
        ("data", "451 4.3.0 Later", Stage.DATA, 451),
        ("data", "554 5.7.1 No", Stage.DATA, 554),
        ("data", Say("421 4.3.2 Closing", hang_up=True), Stage.DATA, 421),
        ("data", HANG_UP, Stage.DATA, None),
        ("data", "250 What data?", Stage.DATA, 250),
        ("data", b"354 Go\r\n250 Taken\r\n", Stage.DATA, None),
        ("content", "451 4.3.0 Later", Stage.CONTENT, 451),
        ("content", "554 5.7.1 Spam", Stage.CONTENT, 554),
        ("content", HANG_UP, Stage.CONTENT, None),
        ("content", b"\xff\xfe\r\n", Stage.CONTENT, None),
    ],
)
@pytest.mark.parametrize("offers", [("PIPELINING",), ()])
async def test_every_step_may_fail(
    step: str, script: str | bytes | Say, stage: Stage, code: int | None, offers: tuple[str, ...]
) -> None:
    async with SmtpSink(script={step: script}, offers=offers) as sink, connected(sink) as connection:
        sent = await connection.send(transaction(), deadline=soon(0.3))
        (answer,) = sent.answers
        assert answer.stage is stage
        assert (answer.reply.code if answer.reply else None) == code
        assert answer.reply or answer.detail
        assert sent.pending is None
        assert not sent.stale


async def test_silence_after_the_final_dot_is_awaited() -> None:
    async with SmtpSink(script={"content": Say("250 2.0.0 At last", delay=0.3)}) as sink, connected(sink) as connection:
        sent = await connection.send(transaction(), deadline=soon(0.1))
        assert sent.unknown == (0,)
        assert sent.answers[0].reply is None
        assert not connection.usable
        assert sent.pending is not None
        (answer,) = await sent.pending
        assert (answer.stage, answer.reply and answer.reply.code) == (Stage.CONTENT, 250)


async def test_silence_ends_after_the_final_timeout() -> None:
    async with (
        SmtpSink(script={"content": SILENCE}) as sink,
        connected(sink, timeouts=Timeouts(final=0.3)) as connection,
    ):
        sent = await connection.send(transaction(), deadline=soon(0.05))
        assert sent.pending is not None
        (answer,) = await sent.pending
        assert (answer.stage, answer.reply) == (Stage.CONTENT, None)
        assert "after the final dot" in answer.detail


async def test_large_message_goes_in_windows_byte_for_byte() -> None:
    content = b"Subject: big\r\n\r\n" + b".line of text that begins with a dot\r\n" * 80_000
    async with SmtpSink() as sink, connected(sink) as connection:
        chunks = (b"X-MailGuard-Id: 1\r\n", content)
        recipients = (Recipient("a@client.test", 2, "client.test"),)
        sent = await connection.send(Transaction("", recipients, chunks))
        assert sent.answers[0].stage is Stage.CONTENT
        assert sink.messages[0].content == b"".join(chunks)
        assert connection.usable
        assert (await connection.send(transaction())).answers[0].stage is Stage.CONTENT


async def test_large_message_still_on_its_way_when_time_is_up_is_awaited() -> None:
    content = b"x" * 70 + b"\r\n"
    async with SmtpSink(read_pause=0.02) as sink, connected(sink) as connection:
        sent = await connection.send(transaction(content=content * 120_000), deadline=soon(0.1))
        assert sent.unknown == (0,)
        assert sent.pending is not None
        sink.read_pause = 0.0
        (answer,) = await sent.pending
        assert answer.reply and answer.reply.code == 250
        assert sink.messages[0].content == content * 120_000


@pytest.mark.parametrize(
    ("midst", "stage", "code"),
    [
        ("552 5.3.4 Too big after all", Stage.CONTENT, 552),
        ("250 2.0.0 Premature", Stage.DATA, None),
        (HANG_UP, Stage.DATA, None),
    ],
)
async def test_reply_in_the_midst_of_a_large_message(midst: Say | str, stage: Stage, code: int | None) -> None:
    script = {"midst": midst}
    async with SmtpSink(script=script, read_pause=0.01) as sink, connected(sink) as connection:
        sent = await connection.send(transaction(content=b"x" * 70 + b"\r\n" * 10_000_000))
        (answer,) = sent.answers
        assert (answer.stage, answer.reply.code if answer.reply else None) == (stage, code)
        assert not connection.usable


async def test_go_ahead_comes_before_the_content() -> None:
    async with SmtpSink() as sink, connected(sink) as connection:

        async def go_ahead() -> None:
            assert sink.commands[-1][1] == "DATA"
            assert sink.messages == []

        sent = await connection.send(transaction(), go_ahead=go_ahead)
        assert sent.answers[0].stage is Stage.CONTENT


async def test_go_ahead_that_fails_calls_the_delivery_off() -> None:
    async with SmtpSink() as sink, connected(sink) as connection:

        async def go_ahead() -> None:
            raise LookupError("the database is away")

        with pytest.raises(LookupError):
            await connection.send(transaction(), go_ahead=go_ahead)
        assert not connection.usable
        assert sink.messages == []


async def test_cancellation_aborts() -> None:
    async with SmtpSink(script={"rcpt": SILENCE}) as sink, connected(sink) as connection:
        task = asyncio.create_task(connection.send(transaction()))
        while not any(line.startswith("RCPT") for _, line in sink.commands):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.usable


async def test_dead_connection_is_told_from_a_refusal() -> None:
    async with SmtpSink() as sink, connected(sink) as connection:
        await connection.send(transaction())
        await sink.drop_connections()
        sent = await connection.send(transaction())
        assert sent.stale
        assert not connection.usable


async def test_unasked_reply_makes_a_connection_unusable() -> None:
    script = {"content": b"250 Ok\r\n421 Idle for too long\r\n"}
    async with SmtpSink(script=script) as sink, connected(sink) as connection:
        sent = await connection.send(transaction())
        assert sent.answers[0].reply
        while connection.usable:
            await asyncio.sleep(0.01)


# what may not stand in a command


@pytest.mark.parametrize("address", ["a@b.test>\r\nRCPT TO:<c@d.test", "a\n@b.test", "a@b.test> SIZE=1", "a\0@b.test"])
def test_addresses_cannot_inject_commands(address: str) -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        transaction(address)


def test_quoted_local_part_is_legal() -> None:
    assert transaction('"a>b"@client.test').recipients[0].address == '"a>b"@client.test'


async def test_mail_that_was_taken_is_taken_though_nonsense_follows() -> None:
    script = {"content": Say(b"250 2.0.0 Taken\r\nnonsense\r\n")}
    async with SmtpSink(script=script) as sink, connected(sink) as connection:
        sent = await connection.send(transaction())
        assert sent.answers[0].stage is Stage.CONTENT
        assert sent.answers[0].reply is not None
        assert sent.answers[0].reply.code == 250
        assert not connection.usable
