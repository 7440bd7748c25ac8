"""Replies as values: what another server says is read with care, and is never more than one line of ASCII."""

from __future__ import annotations

import pytest

from mailguard.core.reply import Reply, parse_reply


def test_enhanced_code_is_split_off() -> None:
    assert parse_reply(["550-5.1.1 No such", "550 5.1.1 user"]) == Reply(550, "5.1.1", "No such user")


@pytest.mark.parametrize("code", ["5.١.1", "5.1.1\n", "5.1.1\r", "5.1.٣"])
def test_what_is_no_enhanced_code_stays_text_and_the_reply_ascii(code: str) -> None:
    reply = parse_reply([f"550 {code} No such user"])
    assert reply.enhanced == ""
    assert str(reply).isascii()
    with pytest.raises(ValueError, match="enhanced status code"):
        Reply(550, code)
