"""Copies that recipients send back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.ids import new_message_id
from mailguard.learning.copies import read_copy

ID = new_message_id(1_795_500_000_000)
MAIL = b"From: a@b.example\r\nSubject: Hello\r\nMessage-ID: <1@b.example>\r\n\r\nbody\r\n"
OURS = (
    b"Received: from x\r\n\tby mx\r\nAuthentication-Results: mx; none\r\nX-MailGuard-Id: %s\r\n"
    b"X-MailGuard-Verdict: deliver; reason=clean\r\nX-MailGuard-Symbols:\r\n\tA(1.00),\r\n\tB(2.00)\r\n"
) % ID.encode()
LATER = b"Return-Path: <a@b.example>\r\nDelivered-To: joe@acme.test\r\n"


def test_the_original_is_found_beneath_what_was_put_on_top() -> None:
    copy = read_copy(LATER + OURS + MAIL)
    assert copy is not None
    assert (copy.message, copy.header_message_id, copy.subject, copy.content) == (ID, "<1@b.example>", "Hello", MAIL)


def test_what_does_not_bear_our_id_is_no_copy() -> None:
    assert read_copy(LATER + MAIL) is None
    assert read_copy(MAIL + OURS) is None  # in the body
    assert read_copy(OURS.replace(ID.encode(), b"U" * 26) + MAIL) is None
    assert read_copy(b"") is None


def test_of_two_ids_the_first_counts() -> None:
    other = new_message_id(1_795_500_000_001).encode()
    copy = read_copy(OURS + b"X-Other: 1\r\nX-MailGuard-Id: " + other + b"\r\n" + MAIL)
    assert copy is not None
    assert copy.message == ID


@given(st.binary(max_size=300), st.booleans())
def test_no_octets_upset_it(raw: bytes, ours: bool) -> None:
    copy = read_copy(OURS + raw if ours else raw)
    assert copy is None or (copy.message == ID or not ours)
