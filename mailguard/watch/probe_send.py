"""Sending a probe's mails through the door, each in a connection of its own and timed."""

from __future__ import annotations

import asyncio
import time

from mailguard.core.address import domain_of
from mailguard.core.envelope import Recipient
from mailguard.net.smtp_client import Handshake, HopError, SmtpConnection, Stage, Target, Transaction
from mailguard.watch.probe_verdict import Said


async def send(
    content: bytes, *, sender: str, recipient: str, door: Target, handshake: Handshake, patience: float
) -> tuple[Said, float]:
    """Send one mail within `patience` seconds; what was said, and when its data ended (time.monotonic, seconds)."""
    begin = time.monotonic()
    deadline = asyncio.get_running_loop().time() + patience
    try:
        connection = await SmtpConnection.connect(door, handshake, deadline=deadline)
    except HopError as error:
        return Said(error.reply, error.detail or str(error), reply_ms=_since(begin)), time.monotonic()
    connect_ms, ended = _since(begin), time.monotonic()

    async def content_goes_out() -> None:
        nonlocal ended
        ended = time.monotonic()  # some hundred octets, written at once: their end is their begin

    to = Recipient(recipient, 0, domain_of(recipient))
    try:
        job = Transaction(sender, (to,), [content])
        sent = await connection.send(job, deadline=deadline, go_ahead=content_goes_out)
        (answer,) = sent.answers
        reply_ms = _since(begin)
        if sent.pending is not None:
            sent.pending.cancel()
        after_data = answer.stage is Stage.CONTENT
        silence = "" if answer.reply is not None else answer.detail or f"no reply at {answer.stage}"
        return Said(answer.reply, silence, after_data, connect_ms, reply_ms), ended
    finally:
        connection.close()


def _since(begin: float) -> int:
    return round((time.monotonic() - begin) * 1000)
