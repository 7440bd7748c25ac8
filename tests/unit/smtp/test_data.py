"""Reading a message's data: where it ends, what it is made of, how large it may be."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.smtp.data import (
    CHUNK,
    OVERRUN,
    Cleaner,
    OverrunError,
    Progress,
    has_bare_newline,
    normalise,
    read_data,
    read_octets,
    reveal,
    unstuff,
)

SOUP = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.\r\n", b"a", b"..", b"\0", b" ", b"\r\n."]), max_size=40
).map(b"".join)


async def read(
    stream: bytes, *, limit: int = 1 << 20, buffer: int = CHUNK, pieces: int = 1 << 20
) -> tuple[bytes, bytes]:
    """The data read from a stream that comes in pieces, dots still stuffed, and what is left in it."""
    reader = asyncio.StreamReader(limit=buffer)

    async def feed() -> None:
        for start in range(0, len(stream), pieces):
            reader.feed_data(stream[start : start + pieces])
            await asyncio.sleep(0)
        reader.feed_eof()

    taken: list[bytes] = []

    async def take(chunk: bytes) -> None:
        taken.append(chunk)

    feeding = asyncio.create_task(feed())
    try:
        await read_data(reader, take, limit=limit, progress=Progress())
        await feeding
        return b"".join(taken), await reader.read()
    finally:
        feeding.cancel()


@given(SOUP, st.integers(1, 7), st.integers(1, 8))
def test_data_ends_at_the_first_crlf_dot_crlf_alone(text: bytes, pieces: int, buffer: int) -> None:
    stream = text + b"\r\n.\r\nNOOP\r\n"
    end = (b"\r\n" + stream).index(b"\r\n.\r\n")
    data, rest = asyncio.run(read(stream, pieces=pieces, buffer=buffer))
    assert data == (b"\r\n" + stream)[2 : end + 2]
    assert rest == (b"\r\n" + stream)[end + 5 :]


@given(SOUP)
def test_normalised_text_has_no_bare_newline_and_loses_nothing_else(text: bytes) -> None:
    clean = normalise(text)
    assert not has_bare_newline(clean)
    assert normalise(clean) == clean
    assert re.sub(rb"[\r\n]", b"", clean) == re.sub(rb"[\r\n]", b"", text)
    assert clean == text or has_bare_newline(text)


@given(SOUP)
def test_bare_newline_is_a_cr_or_lf_without_its_other(text: bytes) -> None:
    assert has_bare_newline(text) == bool(re.search(rb"\r(?!\n)|(?<!\r)\n", text))


@given(SOUP)
def test_unstuffing_undoes_stuffing(text: bytes) -> None:
    stuffed = re.sub(rb"(?m)(\A|\r\n)\.", rb"\1..", text)
    assert unstuff(stuffed) == text


@given(SOUP, st.booleans())
def test_no_message_ends_another_when_it_is_sent_on(text: bytes, dots: bool) -> None:
    content = cleaned([text], dots=dots)[0]
    sent = b"\r\n" + re.sub(rb"(\A|\r\n)\.", rb"\1..", content)
    for read in (sent, sent.replace(b"\0", b"")):  # some servers drop NULs
        assert b"\r\n.\r\n" not in read
        assert not re.search(rb"[^\r]\n|\r[^\n]", read)


@given(SOUP)
def test_only_nuls_before_the_first_dot_of_a_line_are_removed(text: bytes) -> None:
    assert reveal(text) == re.sub(rb"(\A|\r\n)\0+\.", rb"\1.", text)


async def test_message_over_the_limit_is_read_to_its_end() -> None:
    data, rest = await read(b"x" * 1500 + b"\r\n.\r\nNOOP\r\n", limit=1000, buffer=64, pieces=100)
    assert (data, rest) == (b"x" * 1500 + b"\r\n", b"NOOP\r\n")


async def test_message_without_end_is_cut_off() -> None:
    with pytest.raises(OverrunError):
        await read(b"x" * (OVERRUN * 1000 + 500), limit=1000, buffer=64)


async def test_client_gone_in_the_midst() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await read(b"half a message\r\n.")


async def test_progress_tells_how_much_has_come() -> None:
    reader, progress = asyncio.StreamReader(limit=100), Progress()
    taken: list[bytes] = []

    async def take(chunk: bytes) -> None:
        taken.append(chunk)

    reading = asyncio.create_task(read_data(reader, take, limit=10_000, progress=progress))
    reader.feed_data(b"x" * 1000)
    for _ in range(100):
        await asyncio.sleep(0)
    assert 900 <= progress.octets <= 1002
    reader.feed_data(b"\r\n.\r\n")
    await reading
    assert b"".join(taken) == b"x" * 1000 + b"\r\n"


@given(SOUP)
def test_normalising_is_what_its_rule_says(text: bytes) -> None:
    assert normalise(text) == re.sub(rb"\r*\n|\r", b"\r\n", text)


def test_long_runs_of_cr_take_no_longer_than_other_text() -> None:
    hostile = b"\r" * 2_000_000 + b"x\r\r\n" + b"\r" * 2_000_000
    start = time.perf_counter()
    assert normalise(hostile) == b"\r\n" * 2_000_000 + b"x\r\n" + b"\r\n" * 2_000_000
    assert time.perf_counter() - start < 2


def cleaned(chunks: list[bytes], *, dots: bool) -> tuple[bytes, bool]:
    cleaner = Cleaner(dots=dots)
    pieces = [piece for chunk in chunks for piece in cleaner.push(chunk)]
    return b"".join([*pieces, *cleaner.end()]), cleaner.bare


def cut(text: bytes, places: list[int]) -> list[bytes]:
    """`text` in chunks, cut at some places."""
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def whole(text: bytes) -> bytes:
    """`text` with the line end that a message's last line must have."""
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n"


@given(SOUP, st.lists(st.integers(0, 60), max_size=20), st.booleans())
def test_cleaning_chunk_by_chunk_is_cleaning_the_whole(text: bytes, places: list[int], dots: bool) -> None:
    expected = unstuff(normalise(text)) if dots else normalise(text)
    assert cleaned(cut(text, places), dots=dots) == (
        whole(reveal(expected)),
        has_bare_newline(text) or reveal(expected) != expected,
    )


def test_long_runs_of_nul_in_chunks_take_no_longer_than_other_text() -> None:
    start = time.perf_counter()
    nuls = bytes(CHUNK)
    assert cleaned([nuls] * 40 + [b"."], dots=False) == (b".\r\n", True)
    assert cleaned([nuls] * 40 + [b"x"], dots=True) == (nuls * 40 + b"x\r\n", False)
    assert cleaned([b"x\r\n" + nuls] + [nuls] * 40, dots=True) == (b"x\r\n" + nuls * 41 + b"\r\n", False)
    assert time.perf_counter() - start < 2


def test_long_runs_of_cr_in_chunks_take_no_longer_than_other_text() -> None:
    start = time.perf_counter()
    text, bare = cleaned([b"\r" * CHUNK] * 40 + [b"x"], dots=True)
    assert text == b"\r\n" * CHUNK * 40 + b"x\r\n"
    assert bare
    assert cleaned([b"x"] + [b"\r" * CHUNK] * 40 + [b"\n"], dots=True)[0] == b"x\r\n"
    assert time.perf_counter() - start < 2


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(1, 50))
def test_as_many_octets_are_read_as_a_chunk_has(stream: bytes, count: int, pieces: int) -> None:
    async def run() -> tuple[bytes, bytes]:
        reader, taken = asyncio.StreamReader(), bytearray()

        async def take(chunk: bytes) -> None:
            taken.extend(chunk)

        for start in range(0, len(stream), pieces):
            reader.feed_data(stream[start : start + pieces])
        reader.feed_eof()
        await read_octets(reader, take, count, progress=Progress())
        return bytes(taken), await reader.read()

    if count > len(stream):
        with pytest.raises(asyncio.IncompleteReadError):
            asyncio.run(run())
    else:
        assert asyncio.run(run()) == (stream[:count], stream[count:])
