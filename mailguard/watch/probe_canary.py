"""The canary as the probe's own mail server: it listens while the probe runs, where the relay sends the canary's mail on to."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailguard.core.address import normalise

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

SIZE_LIMIT = 4 << 20
"""Octets: the probe's mails are small, and what else comes to the canary is dropped."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail that came. `at`: when all of it had (time.monotonic, seconds)."""

    content: bytes
    at: float


class Canary:
    """Takes mail for the canary alone; that for others is put off, so that none is lost by a route that is set wrongly."""

    def __init__(self, recipient: str) -> None:
        self._recipient = normalise(recipient)
        self._server: asyncio.Server | None = None
        self._taken: list[Taken] = []

    async def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises OSError when it cannot be had."""
        from aiosmtpd.smtp import SMTP

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="canary", data_size_limit=SIZE_LIMIT, enable_SMTPUTF8=True), host, port
        )
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def stop(self) -> None:
        """Listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def find(self, header_message_id: str) -> Taken | None:
        """The mail with this Message-ID, if it came."""
        field = f"\r\nMessage-ID: {header_message_id}\r\n".encode()
        return next((one for one in self._taken if field in one.content), None)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """aiosmtpd's hook: who may get mail."""
        if normalise(address) != self._recipient:
            return "450 4.2.1 Only the canary of mailguard probe lives here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """aiosmtpd's hook: a mail is complete."""
        content = envelope.original_content or b""
        self._taken.append(Taken(content, time.monotonic()))
        return "250 2.0.0 Ok"
