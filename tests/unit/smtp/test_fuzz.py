"""Whatever a client says, in whatever pieces: well-formed replies, no unforeseen error, and no relaying."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailguard.smtp.data import has_bare_newline
from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.server import Listener, SmtpServer
from tests.chat.fake_door import FakeDoor

from .conftest import Client, Watcher

WORDS = [
    b"EHLO x.test\r\n",
    b"HELO x.test\r\n",
    b"MAIL FROM:<a@sender.test>\r\n",
    b"MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8\r\n",
    b"RCPT TO:<u@client.test>\r\n",
    b"RCPT TO:<postmaster>\r\n",
    b"RCPT TO:<u@elsewhere.test>\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY u\r\n",
    b"BDAT 5 LAST\r\n",
    b"BDAT 7\r\n",
    b"BDAT 12\r\nRSET\r\nNOOP\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 2500\r\n",
    b"BDAT x\r\n",
    b"AUTH PLAIN x\r\n",
    b"QUIT\r\n",
    b"\r\n.\r\n",
    b".\r\n",
    b"..\r\n",
    b"\r",
    b"\n",
    b"\n.\n",
    b"\0",
    b"<",
    b'"',
    b"\xff\xfe",
    b"text\r\n",
    b"x" * 700 + b"\r\n",
    b"x" * 3000,
]
TALK = st.lists(
    st.tuples(st.one_of(st.sampled_from(WORDS), st.binary(max_size=20)), st.booleans()), min_size=1, max_size=30
)
REPLY = re.compile(rb"[2-5][0-9]{2}[ -][\x20-\x7e]*")


async def talk(said: list[tuple[bytes, bool]], *, strict: bool, bare_newline: str) -> tuple[bytes, FakeDoor, Watcher]:
    """Say it, a word at a time where the flag says so, end, and hear all there is."""
    door, watcher = FakeDoor(), Watcher()
    limits = SmtpSettings(
        hostname="mx.test",
        strict_pipelining=strict,
        bare_newline=bare_newline,  # type: ignore[arg-type]
        message_size=2000,
        close_grace=0.5,
        recipients_per_message=2,
    )
    server = SmtpServer(door, limits, [Listener("127.0.0.1", 0)], observer=watcher)
    await server.start()
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    try:
        await reader.readline()
        for word, pause in said:
            if writer.transport.is_closing():
                break  # the server has ended the connection already
            writer.write(word)
            if pause:
                await asyncio.sleep(0)
        if not writer.transport.is_closing():
            writer.write_eof()
        heard = await asyncio.wait_for(reader.read(), 5)
    except ConnectionError:
        heard = b""
    finally:
        writer.close()
        await server.close()
    return heard, door, watcher


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TALK, st.booleans(), st.sampled_from(["normalise", "refuse"]))
def test_any_talk(said: list[tuple[bytes, bool]], strict: bool, bare_newline: str) -> None:
    # Half of the talks begin as a transaction does, so that what follows meets data.
    if len(said) % 2:
        said = [(b"HELO x.test\r\n", True), *((word, True) for word in (WORDS[2], WORDS[4], WORDS[7])), *said]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        heard, door, watcher = runner.run(talk(said, strict=strict, bare_newline=bare_newline))
    assert heard == b"" or heard.endswith(b"\r\n")
    for line in heard.split(b"\r\n")[:-1]:
        assert REPLY.fullmatch(line), line
        assert len(line) <= 510
    assert watcher.errors == 0
    for _session, envelope, content in door.messages:
        assert not has_bare_newline(content)
        assert content == b"" or content.endswith(b"\r\n")
        assert 1 <= len(envelope.recipients) <= 2
        assert [each.number for each in envelope.recipients] == list(range(1, len(envelope.recipients) + 1))
        for recipient in envelope.recipients:
            assert recipient.address.endswith("@client.test") or recipient.address == "postmaster"


LINES = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"..", b"RSET", b"\0", b"\xff", b"x" * 40, b"\n.\n"]),
    max_size=40,
).map(b"".join)


async def both_ways(content: bytes, chunks: list[bytes], memory_limit: int) -> tuple[FakeDoor, list[str]]:
    """Send the content by DATA, its dots stuffed as RFC 5321 §4.5.2 says, then by BDAT in these chunks."""
    door = FakeDoor()
    limits = SmtpSettings(
        hostname="mx.test", message_size=1500, memory_limit=memory_limit, spool_directory=Path("/tmp")
    )
    server = SmtpServer(door, limits, [Listener("127.0.0.1", 0)])
    await server.start()
    client = Client(*await asyncio.open_connection(*server.addresses[0]))
    try:
        await client.ready()
        client.writer.write(re.sub(rb"(?m)(\A|\r\n|\r|\n)\.", rb"\1..", content) + b".\r\n")
        replies = [await client.hear()]
        await client.say("MAIL FROM:<a@sender.test>", "RCPT TO:<u@client.test>")
        for position, chunk in enumerate(chunks):
            last = b" LAST" if position == len(chunks) - 1 else b""
            client.writer.write(b"BDAT %d%s\r\n" % (len(chunk), last) + chunk)
            replies.append(await client.hear())
        return door, replies
    finally:
        client.writer.close()
        await server.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LINES, st.lists(st.integers(0, 400), max_size=6), st.sampled_from([0, 100, 5000]))
def test_data_and_bdat_give_the_door_the_same_octets(text: bytes, places: list[int], memory_limit: int) -> None:
    content = text + b"\r\n"
    ends = [*sorted(min(place, len(content)) for place in places), len(content)]
    chunks = [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        door, replies = runner.run(both_ways(content, chunks, memory_limit))
    assert [reply[:3] for reply in replies] == ["250"] * (1 + len(chunks))
    (_, _, by_data), (_, _, by_bdat) = door.messages
    assert by_data == by_bdat
