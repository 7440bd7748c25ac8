"""How long each step of a conversation may take: RFC 5321 §4.5.3.2, and that each step heeds its own time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields, replace

import pytest

from mailguard.core.envelope import Recipient
from mailguard.net.smtp_client import Handshake, HopError, SmtpConnection, Stage, Target, Timeouts, TlsMode, Transaction
from mailguard.queue.attempt import AttemptSettings
from mailguard.smtp.door import SmtpSettings
from tests.servers.smtp_sink import SILENCE, Say, SmtpSink

MINUTE = 60
LEAST = {
    "banner": 5 * MINUTE,  # §4.5.3.2.1
    "mail": 5 * MINUTE,  # §4.5.3.2.2
    "rcpt": 5 * MINUTE,  # §4.5.3.2.3
    "data": 2 * MINUTE,  # §4.5.3.2.4
    "block": 3 * MINUTE,  # §4.5.3.2.5
    "final": 10 * MINUTE,  # §4.5.3.2.6
}
SHORT = 0.15
LONG = 60.0
PATIENT = Timeouts(**{field.name: LONG for field in fields(Timeouts)})


@pytest.mark.parametrize("step", LEAST)
def test_each_step_has_at_least_the_time_of_the_standard(step: str) -> None:
    assert getattr(Timeouts(), step) >= LEAST[step]


def test_an_attempt_from_the_queue_leaves_each_step_its_time() -> None:
    """All but the final reply, which is awaited apart from the attempt."""
    assert AttemptSettings().budget >= Timeouts().connect + max(LEAST[step] for step in LEAST if step != "final")


def test_our_own_door_waits_for_a_command_as_long_as_the_standard_asks() -> None:
    settings = SmtpSettings(hostname="relay.test")
    assert settings.command_timeout >= 5 * MINUTE  # §4.5.3.2.7
    assert settings.data_window >= 3 * MINUTE  # a client may stall for so long between two blocks


async def talk(sink: SmtpSink, timeouts: Timeouts) -> tuple[Stage, float]:
    """Where a delivery ended without a reply, and after how many seconds."""
    began = time.monotonic()
    target = Target("127.0.0.1", sink.port, tls=TlsMode.OFF)
    try:
        connection = await SmtpConnection.connect(target, Handshake(helo="relay.test", timeouts=timeouts))
    except HopError as error:
        return error.stage, time.monotonic() - began
    recipient = Recipient("u@client.test", 2, "client.test", number=1)
    sent = await connection.send(Transaction("a@sender.test", (recipient,), (b"Subject: x\r\n\r\nx\r\n",)))
    (answer,) = sent.answers if sent.pending is None else await sent.pending
    connection.close()
    assert answer.reply is None
    return answer.stage, time.monotonic() - began


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelined", "one by one"])
@pytest.mark.parametrize("step", ["banner", "ehlo", "mail", "rcpt", "data", "content"])
async def test_a_silent_step_ends_after_its_own_time(step: str, offers: tuple[str, ...]) -> None:
    timeout = "final" if step == "content" else step
    short = replace(PATIENT, **{timeout: SHORT})
    if offers and step in ("mail", "data"):
        short = replace(short, rcpt=SHORT)  # asked in one flight: its longest time counts for each
    async with SmtpSink(script={step: SILENCE}, offers=offers) as sink:
        stage, seconds = await talk(sink, short)
    assert stage == Stage(step)
    assert SHORT <= seconds < LONG / 4


@pytest.mark.parametrize("offers", [("PIPELINING",), ()], ids=["pipelined", "one by one"])
async def test_the_time_begins_anew_with_each_reply(offers: tuple[str, ...]) -> None:
    """Each of many steps may take nearly all of its time."""
    slow = {step: Say(reply, delay=0.3) for step, reply in (("mail", "250 Ok"), ("rcpt", "250 Ok"), ("data", "354 Go"))}
    timeouts = replace(PATIENT, mail=1.0, rcpt=1.0, data=1.0)
    async with SmtpSink(script=dict(slow), offers=offers) as sink:
        connection = await SmtpConnection.connect(
            Target("127.0.0.1", sink.port, tls=TlsMode.OFF), Handshake(helo="relay.test", timeouts=timeouts)
        )
        recipients = tuple(Recipient(f"u{number}@client.test", 2, "client.test", number=number) for number in (1, 2, 3))
        began = time.monotonic()
        sent = await connection.send(Transaction("a@sender.test", recipients, (b"x\r\n",)))
        connection.close()
    assert [answer.reply.code for answer in sent.answers if answer.reply] == [250] * 3
    assert time.monotonic() - began >= 1.2  # longer in all than any step may take


async def test_a_server_that_takes_no_more_of_the_content_ends_it_after_a_blocks_time() -> None:
    async with SmtpSink(read_pause=LONG) as sink:
        target = Target("127.0.0.1", sink.port, tls=TlsMode.OFF)
        timeouts = replace(PATIENT, block=SHORT)
        connection = await SmtpConnection.connect(target, Handshake(helo="relay.test", timeouts=timeouts))
        recipient = Recipient("u@client.test", 2, "client.test", number=1)
        content = b"0123456789\r\n" * 2_000_000
        async with asyncio.timeout(LONG / 4):
            sent = await connection.send(Transaction("a@sender.test", (recipient,), (content,)))
        connection.close()
    (answer,) = sent.answers
    assert (answer.stage, answer.reply) == (Stage.DATA, None)
