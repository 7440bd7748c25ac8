"""Judges two made-up mails before the processes are forked: what is loaded, built or compiled at its first use is then in all of them.

Nothing leaves the process: names are answered from memory, and checks that ask others or need a sandbox do not run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

from mailguard.app.filter import FilterFiles, build_filter
from mailguard.config import Settings
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import Directory
from mailguard.message.parse import parse
from mailguard.net.dns import StaticResolver, Zone

WARMED = frozenset({"spf", "dkim", "dmarc", "arc", "identity", "classifier", "rules", "html", "attachments", "hashes"})
"""Checks that work in their own process, with the DNS as all they may ask."""

_CLIENT, _DOMAIN = "192.0.2.1", "mail.example"
_PUBLIC_KEY = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDYBA+gZqYrDQC4PqNoUmVrQucOqwDWliPyOSoDc6Ri1+/ahRiIm9fX3EIdY5W2jSydEjLGHYITOGIp"
    "ksdh0BtroRYr1httr7WCioGUGNQQhT0MpwWKYVo9L+xHA/ut2DSHSVQcWLaWIH56S5SFvD3mHr2Kt9uaVusQLNW1/oobZQIDAQAB"
)
"""Of a key that nobody has: a signature is verified to its end, and found wrong."""
_ZONE: Zone = {
    _DOMAIN: {"TXT": [f"v=spf1 ip4:{_CLIENT} a mx include:spf.{_DOMAIN} -all"], "MX": [(10, _DOMAIN)], "A": [_CLIENT]},
    f"spf.{_DOMAIN}": {"TXT": ["v=spf1 ip6:2001:db8::/32 -all"]},
    f"_dmarc.{_DOMAIN}": {"TXT": ["v=DMARC1; p=none"]},
    f"warm._domainkey.{_DOMAIN}": {"TXT": [f"v=DKIM1; k=rsa; p={_PUBLIC_KEY}"]},
}
_TEXT = (
    "Dear colleagues,\r\n\r\nthank you for your order. The invoice no. 4711 of 1 October over EUR 120.00 is attached; please pay "
    "it to our account within 14 days.\r\nYour password expires today: verify your account at https://www.mail.example/login?id=1 "
    "or click here to unsubscribe.\r\nSehr geehrte Damen und Herren, im Anhang finden Sie die Rechnung; bitte überweisen Sie den "
    "Betrag. Bonjour, veuillez trouver ci-joint la facture.\r\n\r\nBest regards\r\nAnn Example\r\n+49 30 1234567\r\n"
)
_PAGE = (
    '<html><head><title>Invoice</title><style>p {color: #333} .h {display: none}</style></head><body><h1>Invoice 4711</h1><p class="h">'
    'hidden</p><table><tr><td style="font-size:0">0</td><td><a href="https://www.mail.example/pay?id=4711">https://www.mail.example</a>'
    '</td></tr></table><img src="cid:1" width="1" height="1"><form action="https://www.mail.example/f"><input type="password"></form>'
    f"<p>{_TEXT}</p></body></html>\r\n"
)


def warm_up(settings: Settings, files: FilterFiles) -> None:
    """Judge the mails. No loop, thread, connection or open file is left."""
    asyncio.run(_judge(settings, files))


async def _judge(settings: Settings, files: FilterFiles) -> None:
    made = build_filter(
        settings,
        directory=Directory,
        files=files,
        resolver=StaticResolver(_ZONE),
        checks=[name for name in settings.checks.enabled if name in WARMED],
    )
    session = Session("warm-up", _CLIENT, helo=_DOMAIN, esmtp=True)
    to = Recipient("someone@client.example", 0, "client.example")
    try:
        for raw in (_signed("text/plain; charset=utf-8", _TEXT), _signed(*_with_page_and_file())):
            envelope = Envelope(new_message_id(), f"ann@{_DOMAIN}", recipients=(to,))
            message = parse(raw)
            findings = await made.judge.find(session, envelope, message)
            await made.judge.conclude(session, envelope, message, findings)
    finally:
        await made.close()


def _with_page_and_file() -> tuple[str, str]:
    """Content-Type and body of a mail in two forms, with an attached file."""
    parts = (
        ("text/plain; charset=utf-8", _TEXT),
        ("text/html; charset=utf-8", _PAGE),
        (
            'text/csv; name="invoice.csv"\r\nContent-Disposition: attachment; filename="invoice.csv"',
            "no,sum\r\n1,2\r\n",
        ),
    )
    body = "".join(f"--edge\r\nContent-Type: {kind}\r\n\r\n{content}\r\n" for kind, content in parts)
    return 'multipart/mixed; boundary="edge"', f"{body}--edge--\r\n"


def _signed(kind: str, body: str) -> bytes:
    """A mail with a DKIM-Signature whose body hash is right."""
    octets = body.encode()
    digest = base64.b64encode(hashlib.sha256(octets).digest()).decode()
    signature = base64.b64encode(bytes(range(1, 129))).decode()
    return (
        f"DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d={_DOMAIN}; s=warm; h=from:to:subject;\r\n"
        f" bh={digest}; b={signature}\r\n"
        f"Received: from {_DOMAIN} ([{_CLIENT}]) by mx.{_DOMAIN} with ESMTPS; Tue, 01 Apr 2025 10:00:00 +0000\r\n"
        f'From: "Ann Example" <ann@{_DOMAIN}>\r\nTo: someone@client.example\r\nSubject: =?utf-8?q?Your_invoice_f=C3=BCr_October?=\r\n'
        f"Date: Tue, 01 Apr 2025 10:00:00 +0000\r\nMessage-ID: <warm@{_DOMAIN}>\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n"
    ).encode() + octets
