"""Properties of what is read from servers and written to them, whatever the bytes and wherever they are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.net.dot_stuffing import stuff, stuff_small
from mailguard.net.smtp_reply import LINE_LIMIT, LINES_LIMIT, ReplyError, ReplyParser, ServerReply

fragments = st.sampled_from(
    [b"\r\n", b".", b"..", b"x", b"\r\n.", b"\r\n.\r\n", b"\r\n..\r\n", b"", b"line", "ä".encode()]
)
contents = st.lists(fragments, max_size=30).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def unstuffed(wire: bytes) -> bytes:
    """What a server makes of the content: lines up to the one that is a dot alone (RFC 5321 §4.5.2)."""
    lines = []
    for line in wire.split(b"\r\n"):
        if line == b".":
            return b"".join(line + b"\r\n" for line in lines)
        lines.append(line[1:] if line.startswith(b".") else line)
    raise AssertionError("the content never ends")


@given(contents)
def test_a_server_reads_back_what_was_sent(content: bytes) -> None:
    ended = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert unstuffed(stuff_small((content,))) == ended


@given(contents, st.lists(st.integers(0, 1000), max_size=6), st.integers(1, 9))
def test_cuts_and_windows_change_nothing(content: bytes, places: list[int], window: int) -> None:
    chunks = cut(content, places)
    whole = stuff_small((content,))
    assert stuff_small(chunks) == whole
    assert b"".join(stuff(chunks, window=window)) + b".\r\n" == whole


def test_a_message_without_dots_is_not_copied() -> None:
    content = b"x" * 70 + b"\r\n"
    assert next(iter(stuff((content,)))) is content


text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
replies = st.builds(
    lambda code, texts: ServerReply(
        code, tuple(f"{code}{'-' if i < len(texts) - 1 else ' '}{text}" for i, text in enumerate(texts))
    ),
    st.integers(200, 599),
    st.lists(text, min_size=1, max_size=5),
)


@given(st.lists(replies, max_size=5), st.lists(st.integers(0, 10_000), max_size=8), st.sampled_from(["\r\n", "\n"]))
def test_replies_are_read_wherever_they_are_cut(given: list[ServerReply], places: list[int], newline: str) -> None:
    wire = "".join(line + newline for reply in given for line in reply.lines).encode()
    parser = ReplyParser()
    read = [reply for chunk in cut(wire, places) for reply in parser.feed(chunk)]
    assert read == given
    assert parser.idle


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_is_an_error_or_a_reply_but_nothing_else(chunks: list[bytes]) -> None:
    parser = ReplyParser()
    try:
        for chunk in chunks:
            for reply in parser.feed(chunk):
                assert 200 <= reply.code <= 599
                assert reply.reply.code == reply.code
    except ReplyError:
        pass


@given(st.integers(200, 599), st.binary(max_size=80))
def test_hostile_text_is_made_safe(code: int, hostile: bytes) -> None:
    parser = ReplyParser()
    for reply in parser.feed(str(code).encode() + b" " + hostile.replace(b"\n", b"") + b"\r\n"):
        assert all(" " <= character <= "~" for character in str(reply.reply))


@pytest.mark.parametrize(
    "hostile",
    [
        b"2" * (LINE_LIMIT + 1),
        b"250-x\r\n" * (LINES_LIMIT + 1),
        b"25\r\n",
        b"600 x\r\n",
        b"100 x\r\n",
        b"250x\r\n",
        b"\r\n",
        b"\xb2\xb2\xb2 x\r\n",
        "²²² x\r\n".encode(),
        b"HTTP/1.1 400\r\n",
    ],
)
def test_not_a_reply(hostile: bytes) -> None:
    with pytest.raises(ReplyError):
        ReplyParser().feed(hostile)


def test_bare_code_is_a_reply() -> None:
    assert ReplyParser().feed(b"354\r\n") == [ServerReply(354, ("354",))]


def test_enhanced_code_and_lines_are_joined() -> None:
    (reply,) = ReplyParser().feed(b"550-5.7.1 First\r\n550 5.7.1 second\r\n")
    assert str(reply.reply) == "550 5.7.1 First second"


def test_a_foreign_enhanced_code_is_text() -> None:
    (reply,) = ReplyParser().feed(b"550 2.1.1 odd\r\n")
    assert (reply.reply.enhanced, reply.reply.text) == ("", "2.1.1 odd")


def test_replies_before_nonsense_count() -> None:
    with pytest.raises(ReplyError) as error:
        ReplyParser().feed(b"250-a\r\n250 b\r\n354 c\r\nnonsense\r\n250 d\r\n")
    assert [reply.code for reply in error.value.before] == [250, 354]
