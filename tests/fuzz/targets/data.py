"""The end of DATA, clean text of chunks cut anywhere, and dot-stuffing, against readings octet by octet."""

from __future__ import annotations

import asyncio

from mailguard.net.dot_stuffing import stuff, stuff_small
from mailguard.smtp.data import Cleaner, OverrunError, Progress, has_bare_newline, normalise, read_data, reveal, unstuff
from tests.fuzz.step_loop import run as answer
from tests.fuzz.step_loop import step_loop
from tests.fuzz.target import Input, Target, lengthen

LIMIT = 300_000


def end_of_data(stream: bytes) -> int:
    """Where CRLF.CRLF ends for the first time, the CRLF of the DATA command counted; -1 when it does not."""
    matched = 2  # of the five octets: the command's CRLF
    for at, octet in enumerate(stream):
        if octet == b"\r\n.\r\n"[matched]:
            matched += 1
            if matched == 5:
                return at + 1
        else:
            matched = 1 if octet == 13 else 0
    return -1


def clean_text(data: bytes, *, dots: bool) -> tuple[bytes, bool]:
    """Lines ended by CRLF, without stuffed dots and NULs that hide a dot, and whether there was what may not be: octet by
    octet."""
    lines: list[bytearray] = [bytearray()]
    bare = False
    crs = 0
    for octet in data:
        if octet == 13:
            crs += 1
            continue
        if octet == 10:
            bare |= crs != 1
            lines.append(bytearray())
        else:
            bare |= crs > 0
            lines += [bytearray() for _ in range(crs)]
            lines[-1].append(octet)
        crs = 0
    bare |= crs > 0
    lines += [bytearray() for _ in range(crs)]
    if dots:
        lines = [line[1:] if line[:1] == b"." and line != b"." else line for line in lines]
    for number, line in enumerate(lines):
        shown = line.lstrip(b"\0")
        if shown[:1] == b"." and shown != line:
            bare, lines[number] = True, shown
    text = b"\r\n".join(map(bytes, lines))
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n", bare


async def _read(stream: bytes, *, pieces: int, buffer: int) -> tuple[list[bytes], bytes] | None:
    reader = asyncio.StreamReader(limit=buffer, loop=step_loop())
    taken: list[bytes] = []

    async def take(chunk: bytes) -> None:
        taken.append(chunk)

    async def feed() -> None:
        for start in range(0, len(stream), pieces):
            reader.feed_data(stream[start : start + pieces])
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.ensure_future(feed())
    try:
        await read_data(reader, take, limit=LIMIT, progress=Progress())
    except (asyncio.IncompleteReadError, OverrunError):
        await feeding
        return None
    await feeding
    return taken, await reader.read()


def run(data: bytes) -> None:
    """Read it as DATA, clean it, and send it on."""
    source = Input(data)
    pieces, buffer, window = 1 + source.octet(), 5 + source.octet(), 1 + source.octet()
    dots = source.flag()
    stream = lengthen(source.rest(), 16_000)  # the references go octet by octet
    pieces = max(pieces, len(stream) // 300)
    end = end_of_data(stream)
    read = answer(_read(stream, pieces=pieces, buffer=buffer if len(stream) < 5000 else 4096))
    if end < 0:
        assert read is None
        chunks = [stream[at : at + pieces] for at in range(0, len(stream), pieces)] + [b"\r\n"]
    else:
        assert read is not None
        chunks, rest = read
        assert rest == stream[end:]
        assert b"".join(chunks) == stream[: end - 3]
    text = b"".join(chunks)
    expected, bare = clean_text(text, dots=dots)
    cleaner = Cleaner(dots=dots)
    cleaned = b"".join([*(piece for chunk in chunks for piece in cleaner.push(chunk)), *cleaner.end()])
    assert cleaned == expected
    assert cleaner.bare == bare
    assert bare or not has_bare_newline(text)
    whole = reveal(unstuff(normalise(text)) if dots else normalise(text))
    assert expected in (whole, whole + b"\r\n")
    _send_on(cleaned, pieces, max(window, len(cleaned) // 300))


def _send_on(content: bytes, pieces: int, window: int) -> None:
    """Stuffed for the next hop, it ends nowhere but at its end, and comes out as it went in."""
    chunks = [content[at : at + pieces] for at in range(0, len(content), pieces)]
    sent = b"".join(stuff(chunks, window=window)) + b".\r\n"
    assert sent == stuff_small(chunks)
    assert end_of_data(sent) == len(sent)
    assert clean_text(sent[:-3], dots=True) == (content, False) or b"\r\n..\r\n" in b"\r\n" + sent


TARGET = Target(
    "data",
    run,
    (
        b"\x00\x01\x02\x01Subject: x\r\n\r\n..stuffed\r\n.\r\nQUIT\r\n",
        b"\x01\x05\x00\x01a\n.\nb\r.\rc\r\n.\rd\r\n.\n\r\n.\r\nrest",
        b"\x02\x00\x03\x00\r\r\r\n\n\n\r.\r\n.\r\r\n",
        b"\xff\xff\xff\x01\xfd\r\xfe\xff\xfdx\r\n.\xfe\x40\r\n.\r\n",
        b"\x03\x03\x03\x01.\r\n",
        b"\x02\x09\x01\x01x\r\n\0.\r\n.\0.\r\n\0\0..\r\n\0a\r\n.\r\n",
        b"\x03\x09\x01\x01..\r\n...\r\n.a\r\n.\r\n.",
    ),
    tokens=(b"\r\n.\r\n", b"\r\n\0.\r\n", b"\n.\n", b"\r.\r", b"\r\n.", b".\r\n", b"\r\r\n", b"\xfd", b"\xfe\x29"),
)
