"""Builds the context of a check for the tests of this folder."""

from __future__ import annotations

import io
import zipfile

from mailguard.checks.base import CheckContext
from mailguard.core.envelope import Envelope, Session
from mailguard.message.parse import parse
from mailguard.net.dns import Resolver, StaticResolver, Zone

RAW = b"From: Ann <ann@a.test>\r\nTo: bob@client.test\r\nSubject: Hello\r\n\r\nHello Bob\r\n"


def context(
    zone: Zone | None = None,
    *,
    raw: bytes = RAW,
    mail_from: str = "ann@a.test",
    ip: str = "192.0.2.1",
    helo: str = "mx.a.test",
    resolver: Resolver | None = None,
) -> CheckContext:
    """A context with everything else of no matter."""
    return CheckContext(
        session=Session(id="s1", client_ip=ip, helo=helo, esmtp=True),
        envelope=Envelope(message_id="01J0000000000000000000000A", mail_from=mail_from),
        message=parse(raw),
        resolver=resolver or StaticResolver(zone or {}),
        hostname="relay.test",
        authserv_id="relay.test",
    )


def packed(**files: bytes) -> bytes:
    """Files in a zip: `a_txt` is a.txt."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name.replace("_", "."), content)
    return out.getvalue()
