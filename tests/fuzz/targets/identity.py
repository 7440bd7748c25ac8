"""The identity check: any mail, with any results of authentication, in bounded time."""

from __future__ import annotations

import asyncio

from mailguard.checks.base import CheckContext
from mailguard.checks.identity import IdentityCheck
from mailguard.checks.identity_symbols import SYMBOLS
from mailguard.core.envelope import Envelope, Session
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult
from mailguard.message.parse import parse
from mailguard.net.dns import StaticResolver
from tests.fuzz.target import Input, Target

_OUTCOMES = (None, AuthOutcome.PASS, AuthOutcome.FAIL, AuthOutcome.NONE, AuthOutcome.TEMPERROR)


def run(data: bytes) -> None:
    """Every symbol is a known one, reported once, with short evidence, and the same when asked again."""
    given = Input(data)
    results: dict[str, CheckResult] = {}
    for name in ("spf", "dkim", "dmarc", "arc"):
        outcome = _OUTCOMES[given.below(len(_OUTCOMES))]
        if outcome is not None:
            results[name] = CheckResult(name, auth=(AuthResult(AuthMethod(name), outcome, "acme.test"),))
    sender = given.text()
    context = CheckContext(
        session=Session("s", "192.0.2.1"),
        envelope=Envelope("01JDF00000000000000000000X", sender),
        message=parse(given.long_rest()),
        resolver=StaticResolver({}),
        hostname="mx.test",
        authserv_id="mx.test",
    )
    found = asyncio.run(IdentityCheck().run(context, results))
    names = [symbol.name for symbol in found.symbols]
    assert len(set(names)) == len(names)
    assert set(names) <= set(SYMBOLS)
    assert all(len(text) <= 100 for symbol in found.symbols for text in symbol.evidence)
    assert asyncio.run(IdentityCheck().run(context, results)).symbols == found.symbols


_NEWS = (
    b"\1\1\1\0b@u1.sendgrid.net\0\0From: =?utf-8?q?PayP=61l?= <service@paypa1.com>\r\nReply-To: a@gmail.com\r\nTo: x@y.test\r\n"
    b"Subject: Your Netf1ix account\r\nDKIM-Signature: v=1; d=acme.test; s=x\r\nMessage-ID: <1@geopod>\r\n"
    b"List-Unsubscribe: <https://acme.test/u>, <mailto:u@acme.test>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"List-Id: news <news.acme.test>\r\nFeedback-ID: 1:2:3:mc\r\nContent-Type: text/html\r\n\r\n"
    b'<title>DHL</title><img alt="PayPal" src="https://i.imgur.com/a.png"><a href="https://paypal.com.evil.test/">www.paypal.com</a>'
    b'<a href="https://bit.ly/x">Confirm now</a><a href="https://acme.test/u">Unsubscribe</a>'
)
_PERSON = b"\2\2\2\0\0\0From: Jane Doe <jane@gmail.com>\r\nSender: x\r\n\r\nHello https://example.com/ and www.example.net\r\n"

TARGET = Target(
    "identity",
    run,
    seeds=(_NEWS, _PERSON, b"\0\0\0\0\0\0From: @\r\n\r\n"),
    tokens=(
        b"From: ",
        b"Reply-To: ",
        b"List-Unsubscribe: <https://",
        b'<a href="https://',
        b'alt="',
        b'src="//',
        b"paypal",
        b"xn--",
        b"@",
        b".",
    ),
)
