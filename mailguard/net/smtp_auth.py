"""SMTP AUTH towards a next hop (RFC 4954): PLAIN (RFC 4616), or LOGIN for servers that know nothing better."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mailguard.net.smtp_reply import ServerReply
from mailguard.net.smtp_values import Capabilities, HopError, Stage

Ask = Callable[[bytes], Awaitable[ServerReply]]
"""Writes a line and gives its reply; raises HopError."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and the secret itself: made for one authentication, never kept or shown."""

    username: str
    password: str = field(repr=False)


async def authenticate(ask: Ask, credentials: Credentials, offered: Capabilities) -> None:
    """Prove who we are; the caller has made sure that nobody listens (RFC 4954 §9). Raises HopError."""
    if "PLAIN" in offered.auth:
        identity = f"\0{credentials.username}\0{credentials.password}"
        reply = await ask(b"AUTH PLAIN " + _encoded(identity))
        if reply.code == 334:  # a server that does not take the initial response
            reply = await ask(_encoded(identity))
    elif "LOGIN" in offered.auth:
        reply = await ask(b"AUTH LOGIN")
        for answer in (credentials.username, credentials.password):
            if reply.code != 334:
                break
            reply = await ask(_encoded(answer))
    else:
        offer = f"only AUTH {' '.join(offered.auth)}" if offered.auth else "no AUTH"
        raise HopError(
            Stage.AUTH, None, f"credentials are set, and the next hop offers {offer}; we know PLAIN and LOGIN"
        )
    if reply.code != 235:
        raise HopError(Stage.AUTH, reply.reply)


def _encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())
