"""What goes out with a mail: our fields on top, forged ones gone, every other octet as it came; and hostile values in our fields."""

from __future__ import annotations

import re

from mailguard.core.envelope import Session
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, ScoredSymbol
from mailguard.message.headers import authentication_results, mailguard_headers, received
from mailguard.message.parse import parse
from mailguard.message.stamps import authserv_id_of, count_received, outgoing, own_stamp
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.smtp_session import clean

OWN = "mx.relay.test"
_BLOCK = b"Received: by mx.relay.test\r\n"
_NAME = re.compile(rb"[!-9;-~]+")
_LINES = re.compile(rb"[^\n]*\n|[^\n]+\Z")


def _fields(raw: bytes) -> tuple[list[bytes], bytes]:
    """The fields of the header section, line by line, each with its continuations; and what follows, the empty line first."""
    fields: list[bytes] = []
    at = 0
    for match in _LINES.finditer(raw):
        line = match[0]
        if line in (b"\r\n", b"\n"):
            break
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += line
        else:
            fields.append(line)
        at = match.end()
    return fields, raw[at:]


def _is_ours(field: bytes) -> bool:
    """Whether only we may have written it, read plainly: comments taken off, then the first word."""
    name, colon, value = field.partition(b":")
    name = name.rstrip(b" \t").lower()
    if not colon or not _NAME.fullmatch(name):
        return False
    if name.startswith(b"x-mailguard-"):
        return True
    return name == b"authentication-results" and _first_word(value).lower() == OWN.encode()


def _first_word(value: bytes) -> bytes:
    at, depth, end = 0, 0, len(value)
    while at < end:
        octet = value[at : at + 1]
        if depth and octet == b"\\":
            at += 1
        elif octet == b"(":
            depth += 1
        elif depth and octet == b")":
            depth -= 1
        elif not depth and octet not in b" \t\r\n":
            break
        at += 1
    if value[at : at + 1] == b'"':
        match = re.match(rb'"((?:[^"\\]|\\.)*)"', value[at:], re.DOTALL)
        return re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL) if match else b""
    match = re.match(rb'[^\s;()"/]+', value[at:])
    return match[0] if match and not depth else b""


def going_out(data: bytes) -> None:
    """A mail through `outgoing`."""
    source = Input(data)
    crlf, tag = source.flag(), ("", "[SPAM]", "[größe]")[source.below(3)]
    raw = source.long_rest()
    raw = clean(raw, dots=False) if crlf else raw
    count_received(raw)
    own_stamp(raw, OWN, "u@client.test")
    out = b"".join(outgoing(raw, _BLOCK, authserv_id=OWN, subject_tag=tag))
    assert out.startswith(_BLOCK)
    rest = out[len(_BLOCK) :]
    if raw[:1] in (b" ", b"\t"):
        assert rest == b"\r\n" + raw
        return
    fields, body = _fields(raw)
    kept = [field for field in fields if not _is_ours(field)]
    if not tag:
        assert rest == b"".join(kept) + body
    left, _ = _fields(rest)
    assert not any(map(_is_ours, left)), "a forged field went out"
    assert rest.endswith(body)
    for header in parse(rest).headers if crlf else ():
        assert not header.name.lower().startswith("x-mailguard-") or not _is_ours(rest[header.offset : header.end]), (
            "a reader sees a forged field"
        )


def values(data: bytes) -> None:
    """Our fields with what a client, DNS and a mail may have put into them."""
    source = Input(data)
    utf8, tls = source.flag(), source.flag()
    helo, recipient, reason, value, name = (source.text() for _ in range(5))
    ip = ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.7")[source.below(3)]
    session = Session("s", ip, 1, helo, source.flag(), f"TLSv1.3 {reason}" if tls else "")
    block = received(
        session, hostname=OWN, message_id="01J", at_ms=1_700_000_000_000, recipient=recipient, smtputf8=utf8
    )
    _check(block, [b"Received"], ascii_only=not utf8)
    assert count_received(block + b"\r\n") == 1
    method, outcome = list(AuthMethod)[source.below(5)], list(AuthOutcome)[source.below(8)]
    result = AuthResult(
        method, outcome, reason, reason, (("smtp.mailfrom", value), ("header.d", reason), (name, value))
    )
    block = authentication_results(OWN, [result, result])
    _check(block, [b"Authentication-Results"])
    bare = _without_words(block)
    assert bare.count(b";") == 2, "as many results as there are"
    assert not set(bare) & set(b'()"\\')
    assert authserv_id_of(block.partition(b":")[2]) == OWN.encode()
    symbols = [ScoredSymbol(name, 1.5, ("x",)), ScoredSymbol(value, -0.0)] if source.flag() else []
    block = mailguard_headers("01J", "spam", 3.14159, symbols)
    expected = [b"X-MailGuard-Id", b"X-MailGuard-Verdict", b"X-MailGuard-Score"]
    _check(block, [*expected, b"X-MailGuard-Symbols"] if symbols else expected)


def _without_words(block: bytes) -> bytes:
    """What is left of a field without its quoted strings and comments: where both end as they should, no mark of theirs."""
    return re.sub(rb'"(?:[^"\\]|\\.)*"|\([^()\\]*\)', b"", block)


def _check(block: bytes, names: list[bytes], *, ascii_only: bool = True) -> None:
    """Exactly these fields, in lines that may be sent."""
    fields, rest = _fields(block)
    assert [field.partition(b":")[0] for field in fields] == names
    assert not rest
    assert block.isascii() or not ascii_only
    assert block.count(b"\r\n") == block.count(b"\r") == block.count(b"\n")
    assert b"\0" not in block
    lines = block.removesuffix(b"\r\n").split(b"\r\n")
    assert all(line.strip() for line in lines)
    assert max(map(len, lines)) <= 998


TARGETS = (
    Target(
        "going_out",
        going_out,
        (
            b"\x01\x00X-MailGuard-Score: -9\r\nSubject: x\r\nx-mailguard-x : y\r\n\tz\r\n\r\nX-MailGuard-Id: body\r\n",
            b"\x01\x01Authentication-Results: (c (d)) mx.relay.test; spf=pass\r\nSubject: x\r\n\r\nb",
            b'\x01\x00Authentication-Results:\r\n "mx.relay.te\\st" 1; none\r\nAuthentication-Results: other; x\r\n\r\nb',
            b"\x00\x02AUTHENTICATION-RESULTS\t:MX.Relay.Test\nSubject: [SPAM] x\n\nb",
            b"\x01\x00 folded first\r\nX-MailGuard-Id: 1\r\n\r\n",
            b"\x01\x01no header at all",
            b"\x01\x00X-MailGuard-A: 1\r\nX-MailGuard-B: 2\r\n\r\nb",
            b"\x01\x00\xfdAuthentication-Results: (\xfe\x30\r\n\r\n",
            b"\x01\x00Received: from x by mx.relay.test for <u@client.test>; d\r\n\xfdReceived: by mx.relay.test\r\n\xfe\x04\r\n",
            b"\x01\x00\xfdX-MailGuard-\xfe\x40: x\r\n\r\n",
            b"\x01\x00A: b\r\nAuthentication-Results: mx.relay.test/2; none",
        ),
        tokens=(
            b"X-MailGuard-",
            b"Authentication-Results:",
            b"mx.relay.test",
            b"Received:",
            b"Subject: ",
            b"\r\n",
            b"\r\n\t",
            b"\r\n\r\n",
            b"(",
            b")",
            b'"',
            b"\\",
            b" for <u@client.test>",
        ),
    ),
    Target(
        "stamp_values",
        values,
        (
            b"\x00\x01mail.b.test\0\0u@client.test\0\0TLS_AES_256_GCM_SHA384\0\0a@b.test\0\0smtp.helo\0\0\x00\x01",
            "\x01\x00größe\0\0jö@client.test\0\0x\r\nX: y\0\0ä@ö.test\0\0a.b\n\0\0\x01\x01".encode(),
            b'\x00\x00[192.0.2.1]\0\0u@x\0\0)(\\ \0\0"\\\0\0a.b\0\0\x00\x00',
            b"\x00\x00a.test\n\0\0u@x.test\n\0\0TLS_X\n\0\0v\n\0\0a.b\n\0\0\x00\x00\x00\x00\x01",
        ),
        tokens=(b"\0\0", b"\r\n", b"\n", b")", b"TLS_", "\u2028".encode(), "ü".encode()),
    ),
)
