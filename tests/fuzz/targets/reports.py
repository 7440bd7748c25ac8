"""Reports (DSN, RFC 3464) about hostile mail: whatever it was, what we write is well formed and says nothing in its stead."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import replace
from email.message import Message as StandardMessage

from mailguard.core.address import ADDRESS_LIMIT
from mailguard.core.reply import Reply, sanitise
from mailguard.message.dsn import FULL_LIMIT, LINE_LIMIT, Report, ReportedRecipient, Told, dsn
from mailguard.message.parse import Defect, parse
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.mime import MAILS
from tests.fuzz.targets.smtp_session import clean

_HEADER = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Auto-Submitted", "Content-Type"]
_PER_MESSAGE = {"Reporting-MTA", "Original-Envelope-Id", "Arrival-Date", "X-MailGuard-Id"}
_PER_RECIPIENT = {
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Remote-MTA",
    "Diagnostic-Code",
    "Last-Attempt-Date",
    "Will-Retry-Until",
}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def _report(source: Input) -> Report:
    told = list(Told)[source.below(3)]
    full, with_reply, with_times = source.flag(), source.flag(), source.flag()
    recipients = [_recipient(source, with_reply, with_times) for _ in range(source.below(4))]
    to, envid = _address(source), source.text()
    return Report(
        message_id="01JDF00000000000000000000X",
        hostname="mx.relay.test",
        from_domain="relay.test",
        to=to,
        at=1_700_000_000_000,
        received_at=1_699_999_999_000,
        original=clean(source.long_rest(), dots=False),
        recipients=recipients,
        original_id="01JDF00000000000000000000Y" if with_times else "",
        envid=envid,
        told=told,
        full=full,
    )


def _recipient(source: Input, with_reply: bool, with_times: bool) -> ReportedRecipient:
    code = 200 + source.octet() + source.below(145)
    address, (explanation, text, next_hop, orcpt) = _address(source), (source.text() for _ in range(4))
    reply = Reply(code, f"{code // 100}.1.1" if code // 100 in (2, 4, 5) else "", text) if with_reply else None
    times = 1_700_000_000_000 if with_times else 0
    return ReportedRecipient(address, reply, explanation, next_hop, orcpt, times, times)


def _address(source: Input) -> str:
    """Any text of an address's length (the door takes no longer one)."""
    return source.part()[:ADDRESS_LIMIT].decode("utf-8", "ignore")


def run(data: bytes) -> None:
    """Write a report and read it, by our parser and by the standard library's."""
    report = _report(Input(data))
    raw = dsn(report)
    header, separator, body = raw.partition(b"\r\n\r\n")
    assert separator
    assert header.replace(b"\r\n ", b" ").count(b"\r\n") == len(_HEADER) - 1
    assert len(raw) <= 4 * min(len(report.original), FULL_LIMIT) + 20_000 + 40 * len(data)
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r"), "a bare CR or LF"
    assert max(map(len, raw.split(b"\r\n"))) <= LINE_LIMIT
    assert b"\0" not in raw
    assert body.isascii() or report.full
    message = parse(raw)
    assert [field.name for field in message.headers] == _HEADER
    own_defects = [one for one in message.defects if one in (Defect.UNCLOSED_BOUNDARY, Defect.BOUNDARY_NOT_FOUND)]
    assert not own_defects or report.full
    _check_parts(email.message_from_bytes(raw, policy=email.policy.compat32), report)


def _check_parts(message: StandardMessage, report: Report) -> None:
    assert message.get_content_type() == "multipart/report"
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert len(parts) == 3
    text, status, returned = parts
    assert isinstance(text, StandardMessage)
    assert text.get_content_type() == "text/plain"
    assert text.keys() == ["Content-Type"]
    assert isinstance(status, StandardMessage)
    groups = status.get_payload()
    assert isinstance(groups, list)
    fields = [group for group in groups if isinstance(group, StandardMessage)]
    assert set(fields[0].keys()) <= _PER_MESSAGE
    assert len(fields) == 1 + len(report.recipients)
    for group in fields:
        assert len(set(group.keys())) == len(group.keys()), "a field twice"
    for group in fields[1:]:
        assert set(group.keys()) <= _PER_RECIPIENT
        assert group["Action"] == report.told
        assert _STATUS.fullmatch(group["Status"])
        assert not group.get_payload(), "text among the fields"
    assert isinstance(returned, StandardMessage)
    assert returned.get_content_type() in ("text/rfc822-headers", "message/rfc822")
    assert set(returned.keys()) <= {"Content-Type", "Content-Transfer-Encoding"}


def replies(data: bytes) -> None:
    """A reply with any text is one line of ASCII."""
    source = Input(data)
    code, text = 200 + source.octet() + source.below(145), source.text()
    line = str(Reply(code, "5.1.1" if source.flag() else "", text))
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= 510
    assert sanitise(text[:300]) == sanitise(sanitise(text[:300]))
    assert replace(Reply(code), text=text).code == code


_ONE = b"\x01u@client.test\0\0\0\0unknown user\0\0mx.b.test\0\0rfc822;u@client.test\0\0"
TARGETS = (
    Target(
        "dsn",
        run,
        (
            b"\x00\x00\x01\x01\x01" + _ONE + b"a@b.test\0\0QQ1\0\0" + MAILS[0],
            b"\x00\x01\x01\x00\x02" + _ONE + _ONE + b"a@b.test\0\0\0\0" + MAILS[1],
            b"\x01\x00\x01\x01\x01" + _ONE.replace(b"u@", "ü@".encode()) + b"a@b.test\0\0\0\0" + MAILS[4],
            b"\x02\x00\x00\x01\x01" + _ONE + "ä@b.test\0\0\0\0".encode() + "Subject: ä\r\n\r\nx".encode(),
            b"\x00\x00\x01\x01\x01\x01u@c\r\nBcc: x\0\0a\r\nb\0\0x\r\n.\r\n\0\0m\r\nX: y\0\0rfc822;x\r\ny\0\0a>\r\nX: y\0\0e\n\0\0"
            + MAILS[0],
            b"\x00\x01\x01\x01\x00a@b.test\0\0\0\0\xfdX: y\r\n\xfe\x40",
            b"\x00\x01\x01\x01\x00a@b.test\0\0\0\0a: b\nc: d\r\n",
            b"\x00\x01\x00\x00\x00a@b.test\0\0\0\0\xfdlong\xfe\x40\r\n\r\n",
            b"\x00\x01\x00\x00\x00a@b.test\0\0\0\0x\r\n--=01JDF00000000000000000000X=--\r\n",
        ),
        tokens=(
            b"\0\0",
            b"\r\n",
            b"\r\n\r\n",
            b"--=01JDF00000000000000000000X=",
            b"rfc822;",
            b"+0D",
            b"\xfd",
            b"\xfe\x29",
        ),
    ),
    Target(
        "replies",
        replies,
        (
            b"\xff\x2dUser unknown\0\0\x01",
            b"\x32\x00a\r\n250 b\0\0\x00",
            "\x00\x00é\u2028x".encode(),
            b"\0\0" + b"x" * 500,
        ),
        tokens=(b"\r\n", "\u2028".encode(), b"250 "),
    ),
)
