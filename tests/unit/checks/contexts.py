"""Contexts for the tests of checks: one mail, from somewhere, with DNS that knows nothing unless it is told."""

from __future__ import annotations

from mailguard.checks.base import CheckContext
from mailguard.core.envelope import Envelope, Session
from mailguard.message.parse import parse
from mailguard.net.dns import Resolver, StaticResolver

PLAIN = b"From: a@b.example\r\nTo: c@d.example\r\nSubject: x\r\nDate: d\r\nMessage-ID: <a@b>\r\n\r\nbody\r\n"


def context(
    raw: bytes = PLAIN,
    *,
    client_ip: str = "8.8.4.4",
    helo: str = "mail.b.example",
    mail_from: str = "a@b.example",
    resolver: Resolver | None = None,
) -> CheckContext:
    """What a check is given for this mail."""
    return CheckContext(
        session=Session("s", client_ip, helo=helo, esmtp=True),
        envelope=Envelope("01JDF00000000000000000000X", mail_from),
        message=parse(raw),
        resolver=resolver or StaticResolver({}),
        hostname="mx.relay.example",
        authserv_id="mx.relay.example",
    )
