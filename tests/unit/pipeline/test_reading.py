"""Where a message is parsed."""

from __future__ import annotations

import threading

import pytest

from mailguard.message.message import Message
from mailguard.message.parse import parse
from mailguard.pipeline import reading
from mailguard.pipeline.reading import INLINE_LIMIT, read_message


@pytest.mark.parametrize("large", [False, True])
async def test_a_large_message_is_parsed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    threads: list[int] = []

    def noting(raw: bytes) -> Message:
        threads.append(threading.get_ident())
        return parse(raw)

    monkeypatch.setattr(reading, "parse", noting)
    message = await read_message(b"Subject: x\r\n\r\n" + bytes(INLINE_LIMIT if large else 0))
    assert message.subject == "x"
    assert (threads == [threading.get_ident()]) == (not large)
