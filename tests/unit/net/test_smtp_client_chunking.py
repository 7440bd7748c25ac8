"""BDAT (RFC 3030): the content as one chunk, byte for byte, to servers that offer CHUNKING."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.envelope import Recipient
from mailguard.net.smtp_client import Handshake, SmtpConnection, Stage, Target, Transaction
from tests.servers.smtp_sink import HANG_UP, Say, SmtpSink

LARGE = b"Subject: x\r\n\r\n" + b".line that begins with a dot\r\n" * 20_000
NOTHING = Say("")
OFFERS = ("PIPELINING", "8BITMIME", "CHUNKING")


def transaction(*users: str, content: bytes = LARGE) -> Transaction:
    recipients = tuple(Recipient(f"{user}@client.test", 2, "client.test") for user in users or ("a",))
    return Transaction("s@remote.test", recipients, (b"X: 1\r\n", content))


@asynccontextmanager
async def connected(sink: SmtpSink) -> AsyncIterator[SmtpConnection]:
    connection = await SmtpConnection.connect(Target("127.0.0.1", sink.port), Handshake(helo="relay.test"))
    try:
        yield connection
    finally:
        connection.close()


def verbs(sink: SmtpSink) -> list[str]:
    return [command.split(" ")[0] for _, command in sink.commands]


@pytest.mark.parametrize("offers", [OFFERS, ("CHUNKING",)], ids=["pipelined", "one by one"])
@pytest.mark.parametrize("end", [b"", b"no line end", b"\r\n.\r\n", b"\r", b"bare\nnewlines\r\0"])
async def test_large_messages_go_as_one_chunk(offers: tuple[str, ...], end: bytes) -> None:
    async with SmtpSink(offers=offers) as sink, connected(sink) as connection:
        sent = await connection.send(transaction("a", "b", content=LARGE + end))
        assert [answer.reply.code for answer in sent.answers if answer.reply] == [250, 250]
        (message,) = sink.messages
        assert message.chunked and message.content == b"X: 1\r\n" + LARGE + end
        assert connection.usable
        await connection.send(transaction())
        assert verbs(sink) == ["EHLO", "MAIL", "RCPT", "RCPT", "BDAT", "MAIL", "RCPT", "BDAT"]


async def test_small_ones_go_by_data() -> None:
    async with SmtpSink(offers=OFFERS) as sink, connected(sink) as connection:
        await connection.send(transaction(content=b"small\r\n"))
        assert not sink.messages[0].chunked


async def test_nothing_is_sent_when_nobody_is_to_get_it() -> None:
    async with SmtpSink(offers=OFFERS, script={"rcpt": "550 5.1.1 Nobody"}) as sink, connected(sink) as connection:
        sent = await connection.send(transaction("a", "b"))
        assert [answer.stage for answer in sent.answers] == [Stage.RCPT] * 2
        del sink.script["rcpt"]
        assert (await connection.send(transaction())).answers[0].stage is Stage.CONTENT
        assert verbs(sink) == ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "BDAT"]


async def test_intent_is_committed_before_the_chunk() -> None:
    async with SmtpSink(offers=OFFERS) as sink, connected(sink) as connection:

        async def off() -> None:
            assert "BDAT" not in verbs(sink)
            raise RuntimeError("called off")

        with pytest.raises(RuntimeError):
            await connection.send(transaction(), go_ahead=off)
        assert "BDAT" not in verbs(sink) and not connection.usable


async def test_a_chunk_that_was_refused_ends_by_rset() -> None:
    async with SmtpSink(offers=OFFERS, script={"content": ["552 5.3.4 Too big", "250 Ok"]}) as sink:
        async with connected(sink) as connection:
            sent = await connection.send(transaction())
            assert str(sent.answers[0].reply) == "552 5.3.4 Too big"
            assert (await connection.send(transaction())).answers[0].stage is Stage.CONTENT
        assert verbs(sink)[:8] == ["EHLO", "MAIL", "RCPT", "BDAT", "RSET", "MAIL", "RCPT", "BDAT"]


@pytest.mark.parametrize(
    ("midst", "stage", "code"),
    [
        ("552 5.3.4 Too big after all", Stage.CONTENT, 552),
        ("250 2.0.0 Premature", Stage.DATA, None),
        (HANG_UP, Stage.DATA, None),
    ],
)
async def test_reply_in_the_midst(midst: Say | str, stage: Stage, code: int | None) -> None:
    script = {"midst": [midst, NOTHING]}
    async with SmtpSink(offers=OFFERS, script=script, read_pause=0.005) as sink, connected(sink) as connection:
        sent = await connection.send(transaction(content=LARGE * 20))
        answer = sent.answers[0]
        assert (answer.stage, answer.reply and answer.reply.code) == (stage, code)
        assert not connection.usable and not sink.messages


async def test_silence_after_the_chunk_is_awaited() -> None:
    script = {"content": Say("250 2.0.0 At last", delay=0.4)}
    async with SmtpSink(offers=OFFERS, script=script) as sink, connected(sink) as connection:
        sent = await connection.send(transaction("a", "b"), deadline=asyncio.get_running_loop().time() + 0.2)
        assert sent.unknown == (0, 1) and sent.pending is not None
        assert [answer.reply.code for answer in await sent.pending if answer.reply] == [250, 250]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 3))
def test_any_octets_arrive_as_they_are(chunks: list[bytes], where: int) -> None:
    chunks.insert(min(where, len(chunks)), b"x" * 262_145)

    async def run() -> None:
        async with SmtpSink(offers=OFFERS) as sink, connected(sink) as connection:
            recipients = (Recipient("a@client.test", 2, "client.test"),)
            await connection.send(Transaction("", recipients, chunks))
            assert sink.messages[0].content == b"".join(chunks)

    asyncio.run(run())
