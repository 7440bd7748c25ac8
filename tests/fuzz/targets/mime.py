"""Octets to a Message: any octets, within the caps, every offset where it should be, every property readable."""

from __future__ import annotations

import re

from mailguard.message.message import DECODE_LIMIT, TEXT_LIMIT, Message, Part
from mailguard.message.parse import DEFAULT_LIMITS, Limits, header_section_end, parse
from tests.fuzz.target import Input, Target

SMALL = Limits(parts=12, depth=4, headers=8, boundary=20, dashed_lines=30, decoded=500)
_MULTIPLE_NAMES = re.compile(r"[!-9;-~]+")


def run(data: bytes) -> None:
    """Parse it with the limits as they are, or with small ones that are easily met."""
    source = Input(data)
    limits = SMALL if source.flag() else DEFAULT_LIMITS
    raw = source.long_rest()
    message = parse(raw, limits=limits)
    check(message, raw, limits)
    assert 0 <= header_section_end(raw) <= len(raw)


def check(message: Message, raw: bytes, limits: Limits) -> None:
    """What must hold for any message."""
    assert message.raw == raw
    assert 0 <= message.body <= len(raw)
    assert 1 <= len(message.parts) <= limits.parts
    assert message.headers == message.parts[0].headers
    assert len(set(message.defects)) == len(message.defects)
    for index, part in enumerate(message.parts):
        _part(part, index, message, limits)
    _texts(message)


def _part(part: Part, index: int, message: Message, limits: Limits) -> None:
    assert 0 <= part.start <= part.body <= part.end <= len(part.buffer)
    assert part.depth <= limits.depth + 1
    assert -1 <= part.parent < max(index, 0)
    if index:
        parent = message.parts[part.parent]
        assert part.parent >= 0
        assert part.depth == parent.depth + 1
        if parent.buffer is part.buffer:
            assert parent.body <= part.start
            assert part.end <= parent.end
    assert len(part.headers) <= limits.headers
    at = part.start
    for header in part.headers:
        assert header.offset >= at
        assert header.offset < header.end <= max(part.body, header.end)
        assert _MULTIPLE_NAMES.fullmatch(header.name)
        assert part.buffer[header.offset :].startswith(header.name.encode())
        header.text  # noqa: B018 - it must not raise
        at = header.end
    decoded = part.decoded()
    assert len(decoded) <= min(DECODE_LIMIT, 2 * (part.end - part.body) + 60)
    assert part.decoded(10) == decoded[:10]
    assert len(part.text) <= TEXT_LIMIT
    assert part.filename in (*part.names, "")
    assert not (part.is_attachment and part.container)
    assert part.content_type == part.content_type.lower()
    assert part.charset == part.charset.lower()
    assert isinstance(part.content_id, str)


def _texts(message: Message) -> None:
    for text in (message.plain, message.html):
        assert len(text) <= TEXT_LIMIT + len(message.parts)
    assert len(message.links) <= 1000
    assert len(set(message.link_hosts)) == len(message.link_hosts)
    for text in (message.subject, message.message_id, message.body_text, *message.from_addresses):
        assert isinstance(text, str)
    assert len(list(message.leaves)) + sum(part.container for part in message.parts) == len(message.parts)
    assert message.get_all("Received") == tuple(header.text for header in message.fields("RECEIVED"))


_HEAD = b"From: a@b.test\r\nSubject: =?utf-8?q?x?=\r\nMIME-Version: 1.0\r\n"
REPORT = (
    b"From: MAILER-DAEMON@x.test\r\nTo: a@b.test\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n"
    b' boundary="b"\r\n\r\n--b\r\n\r\nIt failed.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n'
    b"Reporting-MTA: dns; x.test\r\n\r\nFinal-Recipient: rfc822; u@y.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny\r\n--b--\r\n"
)
"""A report as other servers write it."""
MAILS = (
    _HEAD + b"\r\nhello http://a.test/ <www.b.test>\r\n",
    _HEAD
    + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: text/html'
    b'\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<a href=3D"http://c.test">x</a>=\r\n\r\n--b\r\n'
    b'Content-Type: application/pdf; name="x.pdf"\r\nContent-Disposition: attachment; filename="=?utf-8?q?y?=.exe"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAA=\r\n--b--\r\npost",
    REPORT,
    _HEAD + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"U3ViamVjdDogaW5uZXIKQ29udGVudC1UeXBlOiBtdWx0aXBhcnQvbWl4ZWQ7IGJvdW5kYXJ5PXEKCi0tcQoKeAotLXEtLQo=\r\n",
    _HEAD + b"\r\ntext\r\nbegin 644 x.exe\r\n#86)C\r\n`\r\nend\r\nbegin 644 y\r\n",
    b"From x@y Mon\r\nno colon line\r\n\r\nbody",
    _HEAD + b"Content-Type: multipart/mixed\r\n\r\n--guess\r\n\r\nx\r\n--guess--\r\n",
    _HEAD + b"\xfdContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\xfe\x20",
    _HEAD + b"\xfdX: y\r\n\xfe\x60\r\n",
    _HEAD + b"Content-Type: multipart/x; boundary=b\r\n\r\n\xfd--c\r\n\xfe\x80--b\r\n\xfd--b\r\n\xfe\x20--b--",
    _HEAD + b"\xfdContent-Type: message/rfc822\r\n\r\n\xfe\x20",
    _HEAD + b"Content-Type: text/plain; charset=utf-7\r\n\r\n\0+AGE-\r\n",
)
TOKENS = (
    b"Content-Type: ",
    b"multipart/mixed; boundary=",
    b"message/rfc822",
    b"text/html",
    b"Content-Transfer-Encoding: base64\r\n",
    b"quoted-printable",
    b"Content-Disposition: attachment; filename=",
    b"--b\r\n",
    b"--b--\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\nbegin 644 a\n",
    b"\nend",
    b"=?utf-8?q?",
    b"\xfd",
    b"\xfe\x29",
)
TARGET = Target(
    "mime",
    run,
    tuple(flag + mail for mail in MAILS for flag in (b"\x00", b"\x01")),
    TOKENS,
    max_length=8192,
)
