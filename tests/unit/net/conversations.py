"""Conversations with a scripted server, and the mail that is sent in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mailguard.core.envelope import MailOptions, Recipient
from mailguard.net.smtp_client import (
    Handshake,
    SmtpConnection,
    Target,
    Timeouts,
    TlsMode,
    Transaction,
)
from tests.servers.smtp_sink import SmtpSink

CONTENT = b"Subject: hello\r\n\r\n.dots\r\n..\r\nbody\r\n"


def transaction(*addresses: str, content: bytes = CONTENT, **options: object) -> Transaction:
    recipients = tuple(
        Recipient(address, 2, "client.test", number=i + 1) for i, address in enumerate(addresses or ("a@client.test",))
    )
    return Transaction("sender@remote.test", recipients, (content,), MailOptions(**options))  # type: ignore[arg-type]


@asynccontextmanager
async def connected(
    sink: SmtpSink, *, tls: TlsMode = TlsMode.OPPORTUNISTIC, timeouts: Timeouts | None = None
) -> AsyncIterator[SmtpConnection]:
    handshake = Handshake(helo="mx.relay.test", timeouts=timeouts)
    connection = await SmtpConnection.connect(Target("127.0.0.1", sink.port, tls=tls), handshake)
    try:
        yield connection
    finally:
        connection.close()


def soon(seconds: float = 0.2) -> float:
    return asyncio.get_running_loop().time() + seconds
