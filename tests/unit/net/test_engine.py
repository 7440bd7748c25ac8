"""The clients of rspamd and spamd against servers that answer wrongly, too much, too late or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.net.engine import EngineReport, EngineSymbol, EngineUnavailable, Handover
from mailguard.net.rspamd import ANSWER_LIMIT, RspamdClient
from mailguard.net.spamd import SpamdClient

TOLD = Handover("192.0.2.1", "mx.test", "a@b.test", ("c@d.test", "e@d.test"), "01J")
GOOD = {"score": 7.5, "required_score": 15, "symbols": {"A": {"score": 7.5, "options": ["x", "y"]}, "B": {}}}


def http(body: bytes, *, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def server(answer: bytes, *, slow: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that reads what there is, then says `answer` and closes. What it was sent is in the list."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        if slow:
            await asyncio.sleep(60)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as running:
        host, port = running.sockets[0].getsockname()
        yield f"{host}:{port}", heard


async def rspamd(answer: bytes) -> EngineReport:
    async with server(answer) as (address, _):
        return await RspamdClient(address, timeout=5).scan(b"Subject: x\r\n\r\n", TOLD)


async def spamd(answer: bytes) -> EngineReport:
    async with server(answer) as (address, _):
        return await SpamdClient(address, timeout=5).scan((b"Subject: x\r\n\r\n",))


async def test_rspamd_reports() -> None:
    assert await rspamd(http(json.dumps(GOOD).encode())) == EngineReport(
        7.5, 15.0, (EngineSymbol("A", 7.5, "x, y"), EngineSymbol("B", 0.0))
    )


async def test_rspamd_is_told_the_envelope_and_nothing_that_breaks_a_header() -> None:
    async with server(http(json.dumps(GOOD).encode())) as (address, heard):
        told = Handover("192.0.2.1", "bad\r\nPassword: x", "ä@b.test", ("c@d.test", "e@d.test"), "01J")
        await RspamdClient(address, timeout=5, password="secret").scan(b"Subject: x\r\n\r\n", told)
    head, _, body = heard[0].partition(b"\r\n\r\n")
    lines = [line.lower() for line in head.split(b"\r\n")]
    assert lines[0] == b"post /checkv2 http/1.1"
    assert lines.count(b"rcpt: c@d.test") == 1
    assert b"password: secret" in lines
    assert b"content-length: 14" in lines
    assert not any(line.startswith((b"helo", b"from")) for line in lines)
    assert body == b"Subject: x\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "closed the connection|does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", "closed the connection|does not speak"),
        (b"hello\r\n\r\n", "does not speak HTTP"),
        (http(b"{}", status="403 Forbidden"), "status 403"),
        (http(b"{}"), "cannot be read"),
        (http(b"[]"), "cannot be read"),
        (http(b"{"), "cannot be read"),
        (http(b'{"score": NaN, "required_score": 15}'), "cannot be read"),
        (http(b'{"score": "7", "required_score": 15}'), "cannot be read"),
        (http(b'{"score": 1, "required_score": 15, "symbols": {"A": 1}}'), "cannot be read"),
        (http(b'{"error": "cannot scan"}'), "could not scan: cannot scan"),
        (http(100_000 * b"["), "cannot be read"),
        (http(b" " * (ANSWER_LIMIT + 1)), "answers without end"),
    ],
)
async def test_rspamd_answers_that_are_none(answer: bytes, says: str) -> None:
    with pytest.raises(EngineUnavailable, match=says):
        await rspamd(answer)


async def test_spamd_reports() -> None:
    answer = b"SPAMD/1.1 0 EX_OK\r\nContent-length: 5\r\nSpam: True ; 15.3 / 5.0\r\n\r\nONE,TWO\r\n"
    assert await spamd(answer) == EngineReport(15.3, 5.0, (EngineSymbol("ONE"), EngineSymbol("TWO")))
    assert await spamd(b"SPAMD/1.5 0 EX_OK\r\nSpam: False ; -2.5 / 5.0\r\n\r\n") == EngineReport(-2.5, 5.0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "cannot be read"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "cannot be read"),
        (b"SPAMD/1.0 76 Bad header line\r\n\r\n", "could not scan: 76 Bad header line"),
        (b"SPAMD/1.1 0 EX_OK\r\n\r\n", "told no score"),
        (b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 1.2.3 / 5.0\r\n\r\n", "told no score"),
        (b"x" * 300_000, "answers without end"),
    ],
)
async def test_spamd_answers_that_are_none(answer: bytes, says: str) -> None:
    with pytest.raises(EngineUnavailable, match=says):
        await spamd(answer)


@pytest.mark.parametrize("scan", ["rspamd", "spamd"])
async def test_time_is_bounded(scan: str) -> None:
    async with server(b"", slow=True) as (address, _):
        with pytest.raises(EngineUnavailable, match="did not answer in time"):
            if scan == "rspamd":
                await RspamdClient(address, timeout=0.05).scan(b"x", TOLD)
            else:
                await SpamdClient(address, timeout=0.05).scan((b"x",))


async def test_nobody_listens() -> None:
    async with server(b"") as (address, _):
        pass
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        await SpamdClient(address, timeout=5).scan((b"x",))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"SPAMD/1.1", b" 0 ", b"EX_OK", b"\r\n", b"Spam: True ;", b" 5.0 ", b"/", b",", b"-", b".", b"\xff"]
        )
    ).map(b"".join)
)
def test_nothing_else_is_raised(answer: bytes) -> None:
    with suppress(EngineUnavailable):
        SpamdClient("x:1")._report(answer.decode("utf-8", "replace"))
