"""The door's own replies, as a set."""

from __future__ import annotations

from mailguard.core.reply import Reply
from mailguard.smtp import replies
from mailguard.smtp.limits import REPLIES, Refusal
from mailguard.smtp.shared import render

OWN = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}


def test_every_reply_has_an_enhanced_code_of_its_class() -> None:
    for name, reply in OWN.items():
        if reply.code != 354:  # RFC 2034 §4: neither 3yz nor the greeting
            assert reply.enhanced.startswith(f"{reply.code // 100}."), name


def test_every_reply_is_one_short_line() -> None:
    for name, reply in OWN.items():
        line = render(reply)
        assert line.endswith(b"\r\n"), name
        assert line.count(b"\n") == 1, name
        assert len(line) <= 512, name  # RFC 5321 §4.5.3.1.5


def test_connections_are_turned_away_temporarily() -> None:
    for refusal, reply in REPLIES.items():
        assert reply.code == 421 or refusal is Refusal.EARLY_TALKER
