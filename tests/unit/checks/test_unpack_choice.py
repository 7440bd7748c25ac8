"""What goes to the sandbox is decided in the relay itself, and so in time that grows with the file alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks import unpack_choice
from mailguard.checks.unpack_choice import can_hold, choose
from mailguard.message.parse import parse
from tests.unit.checks.qr_mails import mail

SECONDS = 2.0
"""Of CPU, for a megabyte; what a pattern takes that begins at each letter anew is hours."""


@pytest.mark.parametrize(
    "piece",
    [
        b"_",
        b"A",
        b"A" * 399 + b"-",
        b"A" * 59 + b"- ",
        b"A" * 60 + b"=\n" + b" " * 999,
        b"begin ",
        b"\n",
        b"a:\nb",
        b"<",
    ],
)
@pytest.mark.parametrize("head", [b"", b"hello\n", b"<html>"])
def test_it_takes_no_longer_than_the_text(head: bytes, piece: bytes) -> None:
    text = head + (piece * (1_000_000 // len(piece) + 1))[:1_000_000]
    started = time.process_time()
    choose(parse(mail(("a.txt", text))), octets=1 << 25)
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("text", [b"A" * 400, (b"TVqQ" * 19 + b"\n") * 4, b"\nbegin 644 a\n", b"x " + b"4d" * 200])
def test_encoded_runs_are_chosen(text: bytes) -> None:
    assert choose(parse(mail(("a.txt", b"hello\n" + text))), octets=1 << 25).chosen


@given(
    st.lists(
        st.sampled_from([b"A" * 59, b"b", b"-", b"+", b"= ", b"==\n", b"\n", b" ", b"C" * 340, b"begin 644", b"begin-base64 6", b"44"]),
        max_size=30,
    ).map(b"".join)
)  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_runs_are_looked_for_where_there_may_be_some(content: bytes) -> None:
    assert unpack_choice._has_encoded(content) is (unpack_choice._ENCODED.search(content) is not None)


@pytest.mark.parametrize(
    ("name", "content", "chosen"),
    [
        ("a.html", b"<html><a href='DATA:text/html,x'>", True),
        ("a.html", b"<html><a href='//a.test'>", False),
        ("a.csv", b"a,b\n=cmd|' /C calc'!A0,c\n", True),
        ("a.csv", b"a,b\n=1+1,c\n", False),
    ],
)
def test_pages_and_tables_with_something_that_starts_are_chosen(name: str, content: bytes, chosen: bool) -> None:
    assert bool(choose(parse(mail((name, content))), octets=1 << 25).chosen) is chosen


def test_a_picture_that_is_named_like_a_disk_is_looked_into() -> None:
    gif = b"GIF89a" + bytes(100)
    assert not can_hold(next(parse(mail(("a.gif", gif))).attachments))
    assert can_hold(next(parse(mail(("a.iso", gif))).attachments))
