"""Encrypted RARs of both forms open with a password of the mail, whether their names are encrypted or not; broken ones end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.sandbox.unpack import rar4
from tests import rars
from tests.unit.sandbox.unpack.taken import apart, symbols
from tests.wrappings import PASSWORD, in_rar

CONTENT = bytes(range(256)) * 3 + b"end"
MADE = {
    f"{version.__name__}{' with its names' if headers else ''}": version("run.js", CONTENT, PASSWORD, headers=headers)
    for version in (rars.rar4, rars.rar5)
    for headers in (False, True)
}


@pytest.mark.parametrize("which", MADE)
def test_it_opens_with_the_password_of_the_mail(which: str) -> None:
    root = apart(MADE[which], "a.rar", passwords=["wrong", "x" * 40, PASSWORD, "later"])
    (inner,) = root.children
    assert (inner.name, inner.raw, inner.via, inner.unseen) == ("run.js", CONTENT, "password", True)
    assert symbols(root) == {"ARCHIVE_PASSWORD": [PASSWORD], "ATTACHMENT_ARCHIVED_EXECUTABLE": ["run.js"]}


@pytest.mark.parametrize("which", MADE)
def test_without_it_is_told_as_encrypted(which: str) -> None:
    root = apart(MADE[which], "a.rar", passwords=["wrong"])
    found = symbols(root)
    assert "ARCHIVE_ENCRYPTED" in found
    assert not found.keys() & {"ARCHIVE_PASSWORD", "UNPACK_BROKEN"}
    if "names" not in which:
        assert [(one.name, one.raw) for one in root.children] == [("run.js", b"")]
        assert "ATTACHMENT_ARCHIVED_EXECUTABLE" in found


def test_what_needs_no_password_comes_out_as_before() -> None:
    root = apart(in_rar("notes.txt", b"text")[1], "a.rar", passwords=[PASSWORD])
    assert [(one.name, one.raw, one.via) for one in root.children] == [("notes.txt", b"text", "")]


def test_an_empty_file_opens_with_any_password_and_says_nothing_of_it() -> None:
    found = symbols(apart(rars.rar4("a.txt", b"", PASSWORD), "a.rar", passwords=["wrong"]))
    assert "ARCHIVE_PASSWORD" not in found


def test_one_that_asks_for_too_many_rounds_is_not_tried() -> None:
    raw = rars.rar5("run.js", CONTENT, PASSWORD, power=19)
    started = time.process_time()
    assert "ARCHIVE_ENCRYPTED" in symbols(apart(raw, "a.rar", passwords=[PASSWORD]))
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("which", MADE)
def test_many_passwords_take_little(which: str) -> None:
    started = time.process_time()
    assert "ARCHIVE_ENCRYPTED" in symbols(apart(MADE[which], "a.rar", passwords=[f"wrong-{one}" for one in range(30)]))
    assert time.process_time() - started < 1.5


def test_the_key_is_that_of_the_slow_way() -> None:
    for password, salt in ((PASSWORD, b"12345678"), ("ä", b"")):
        assert rar4.key_of(password, salt) == rars._slow_key(password, salt)


@given(st.sampled_from([*MADE]), st.integers(7, 300), st.binary(max_size=6))
def test_broken_ones_end(which: str, at: int, change: bytes) -> None:
    raw = MADE[which]
    for broken in (raw[:at] + change + raw[at + len(change) :], raw[:at]):
        apart(broken, "a.rar", passwords=[PASSWORD])
