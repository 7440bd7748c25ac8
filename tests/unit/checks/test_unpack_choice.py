"""Which attached files go to the sandbox: texts only where something may lie in them, and told in little time."""

from __future__ import annotations

import base64
import time

import pytest

from mailguard.checks.unpack_choice import choose
from mailguard.message.parse import parse
from tests.e2e.mails import with_attachment

PROSE = b"The meeting begins at nine in the large hall; see the agenda.\r\n" * 20


def is_chosen(name: str, raw: bytes) -> bool:
    """Whether an attached file is looked into."""
    return bool(choose(parse(with_attachment(raw, name)), octets=1 << 25).chosen)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.txt", base64.encodebytes(b"a short text, no more")),
        ("a.txt", base64.b64encode(b"a" * 100)),
        ("a.txt", PROSE + b"begin 644 a.exe\n#0V%T\n`\nend\n"),
        ("table.csv", b"a;b\r\n=cmd|'/C calc'!A0;2\r\n"),
        ("work.rdp", b"screen mode id:i:2\r\nfull address:s:a.example\r\n"),
        ("a.website", b"[{000214A0-0000-0000-C000-000000000046}]\r\n[InternetShortcut]\r\nURL=file://a\r\n"),
    ],
)
def test_texts_that_may_hold_something_are_chosen(name: str, raw: bytes) -> None:
    assert is_chosen(name, raw)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("notes.txt", PROSE),
        ("table.csv", b"item;count;price\r\noak boards;12;4.50\r\n" * 40),
        ("words.txt", b"one\r\ntwo\r\nthree\r\n" * 40),
        ("page.html", b"<html><body><p>The minutes.</p></body></html>"),
    ],
)
def test_ordinary_texts_are_not(name: str, raw: bytes) -> None:
    assert not is_chosen(name, raw)


@pytest.mark.parametrize(
    "raw", [b"=" * 900_000, b"=a" * 450_000, b"A" * 899_999 + b"!", b" " * 900_000, b"\r\n" * 450_000]
)
def test_hostile_texts_are_told_in_time(raw: bytes) -> None:
    began = time.process_time()
    is_chosen("a.csv", raw)
    assert time.process_time() - began < 2
