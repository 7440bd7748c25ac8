"""LMTP (RFC 2033): LHLO, and a reply for each recipient after the final dot; over TCP and over a socket of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mailguard.core.envelope import Recipient
from mailguard.net.smtp_client import (
    Answer,
    Handshake,
    HopError,
    Sent,
    SmtpConnection,
    Stage,
    Target,
    Timeouts,
    TlsMode,
    Transaction,
)
from tests.servers.smtp_sink import HANG_UP, SILENCE, Say, SmtpSink

CONTENT = b"Subject: x\r\n\r\n.dot\r\n"
LARGE = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 50_000


def transaction(*users: str, content: bytes = CONTENT) -> Transaction:
    recipients = tuple(Recipient(f"{user}@client.test", 2, "client.test", number=i + 1) for i, user in enumerate(users))
    return Transaction("s@remote.test", recipients, (content,))


@asynccontextmanager
async def connected(sink: SmtpSink, *, final: float = 5.0) -> AsyncIterator[SmtpConnection]:
    target = Target(str(sink.path or "127.0.0.1"), sink.port, lmtp=True, tls=TlsMode.OFF)
    connection = await SmtpConnection.connect(target, Handshake(helo="relay.test", timeouts=Timeouts(final=final)))
    try:
        yield connection
    finally:
        connection.close()


def codes(sent: Sent) -> list[int | None]:
    return [answer.reply.code if answer.reply else None for answer in sent.answers]


def by_user(**replies: str | Say) -> dict[str, object]:
    """A script for the final replies, by the user in RCPT."""
    return {"content": lambda line: next((r for user, r in replies.items() if f"<{user}@" in line), "250 2.0.0 Taken")}


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("offers", [("PIPELINING", "CHUNKING"), ()], ids=["pipelined", "one by one"])
async def test_each_recipient_has_its_own_reply(offers: tuple[str, ...], content: bytes) -> None:
    script = by_user(full="452 4.2.2 Full", bad="554 5.6.0 No") | {
        "rcpt": lambda line: "550 5.1.1 Nobody" if "nobody" in line else "250 2.1.5 Ok"
    }
    async with SmtpSink(lmtp=True, offers=offers, script=script) as sink, connected(sink) as connection:  # type: ignore[arg-type]
        sent = await connection.send(transaction("a", "full", "nobody", "bad", "b", content=content))
        assert codes(sent) == [250, 452, 550, 554, 250]
        assert [answer.stage for answer in sent.answers] == [Stage.CONTENT] * 2 + [Stage.RCPT] + [Stage.CONTENT] * 2
        assert sink.messages[0].content == content and not sink.messages[0].chunked
        assert connection.usable
        assert codes(await connection.send(transaction("a"))) == [250]
        assert {command.split(" ")[0] for _, command in sink.commands} == {"LHLO", "MAIL", "RCPT", "DATA"}


async def test_over_a_socket(tmp_path: Path) -> None:
    async with SmtpSink(lmtp=True, path=tmp_path / "lmtp") as sink, connected(sink) as connection:
        assert codes(await connection.send(transaction("a", "b"))) == [250, 250]
        assert connection.address == ""


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HopError) as caught:
        await SmtpConnection.connect(
            Target(str(tmp_path / "none"), 0, lmtp=True, tls=TlsMode.OFF), Handshake(helo="relay.test")
        )
    assert caught.value.stage is Stage.CONNECT


async def test_an_smtp_server_is_not_spoken_to_by_lmtp_nor_the_other_way_round() -> None:
    async with SmtpSink() as sink:
        with pytest.raises(HopError) as caught:
            async with connected(sink):
                pass
        assert (caught.value.stage, caught.value.reply and caught.value.reply.code) == (Stage.EHLO, 500)
        assert [command for _, command in sink.commands] == ["LHLO relay.test"]


async def test_nobody_is_to_get_it() -> None:
    async with SmtpSink(lmtp=True, script={"rcpt": "550 5.1.1 Nobody"}) as sink, connected(sink) as connection:
        assert codes(await connection.send(transaction("a", "b"))) == [550, 550]
        assert connection.usable
        sink.script["data"] = "354 Go on then"  # RFC 2033 §4.2 forbids it; a dot would get no reply
        assert codes(await connection.send(transaction("a"))) == [550]
        assert not connection.usable


async def test_replies_that_come_late_are_awaited_one_by_one() -> None:
    script = by_user(slow=Say("250 2.0.0 At last", delay=0.3), later="452 4.2.2 Full")
    async with SmtpSink(lmtp=True, script=script) as sink, connected(sink) as connection:  # type: ignore[arg-type]
        deadline = asyncio.get_running_loop().time() + 0.1
        sent = await connection.send(transaction("quick", "slow", "later"), deadline=deadline)
        assert codes(sent) == [250, None, None]
        assert sent.unknown == (1, 2) and sent.pending is not None
        answers = await sent.pending
        assert [answer.reply.code for answer in answers if answer.reply] == [250, 452]
        assert not connection.usable


async def test_a_large_message_whose_replies_come_late() -> None:
    script = by_user(b=Say("452 4.2.2 Full", delay=0.3))
    async with SmtpSink(lmtp=True, script=script) as sink, connected(sink) as connection:  # type: ignore[arg-type]
        deadline = asyncio.get_running_loop().time() + 0.15
        sent = await connection.send(transaction("a", "b", content=LARGE), deadline=deadline)
        assert sent.unknown == (0, 1) and sent.pending is not None
        assert [answer.reply.code for answer in await sent.pending if answer.reply] == [250, 452]


@pytest.mark.parametrize("end", [HANG_UP, SILENCE])
async def test_replies_that_never_come(end: Say) -> None:
    async with SmtpSink(lmtp=True, script=by_user(b=end)) as sink, connected(sink, final=0.2) as connection:  # type: ignore[arg-type]
        sent = await connection.send(transaction("a", "b", "c"))
        assert codes(sent) == [250, None, None]
        assert {(answer.stage, "after the final dot" in answer.detail) for answer in sent.answers[1:]} == {
            (Stage.CONTENT, True)
        }
        assert sent.pending is None


async def test_one_reply_too_many_is_noticed() -> None:
    async with SmtpSink(lmtp=True, script={"content": "250 a\r\n250 b"}) as sink, connected(sink) as connection:
        sent = await connection.send(transaction("a"))
        assert sent.answers == (Answer(Stage.CONTENT, sent.answers[0].reply),)
        assert not connection.usable
