"""Delivery status notifications (RFC 3464) as bytes: ASCII only, lines ended by CRLF, every foreign text made safe."""

from __future__ import annotations

import quopri
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from mailguard.core.reply import Reply, sanitise
from mailguard.message.parse import header_section_end

RETURNED_LIMIT = 32 * 1024
"""Octets of the original header that are returned; the rest is left out, at the end of a line."""
RECIPIENTS_LIMIT = 100
"""Recipients told of by name in one report."""
LINE_LIMIT = 998
"""Octets of a line, without CRLF (RFC 5322 §2.1.1)."""

_XTEXT = re.compile(r"^[!-*,-<>-~]*(?:\+[0-9A-F]{2}[!-*,-<>-~]*)*$")
_ADDRESS_TYPE = re.compile(r"^[A-Za-z0-9-]{1,40}$")


@dataclass(frozen=True, slots=True)
class FailedRecipient:
    """One recipient that did not get the mail.

    `reply` is the last server's, None when there was none: `explanation` then says why. `next_hop` names that server.
    `orcpt` is the sender's ORCPT as it came (RFC 3461 §4.2). `attempted_at` in milliseconds UTC, 0: never.
    """

    address: str
    reply: Reply | None
    explanation: str
    next_hop: str = ""
    orcpt: str = ""
    attempted_at: int = 0


@dataclass(frozen=True, slots=True)
class FailureReport:
    """All that a failure DSN says. `original` is the mail it is about, of which the header is returned.

    `message_id` is the report's own; `received_at` is when the original arrived. Times in milliseconds UTC.
    """

    message_id: str
    hostname: str
    from_domain: str
    to: str
    at: int
    received_at: int
    original: bytes
    recipients: Sequence[FailedRecipient]
    original_id: str = ""
    envid: str = ""


def failure_dsn(report: FailureReport) -> bytes:
    """The whole message, header and body, for MAIL FROM:<>. Only its To field is not ASCII when the address is not."""
    boundary = f"={report.message_id}="
    header = [
        f"From: Mail Delivery System <MAILER-DAEMON@{report.from_domain}>",
        f"To: <{_one_line(report.to)}>",
        "Subject: Undelivered mail returned to sender",
        f"Date: {_date(report.at)}",
        f"Message-ID: <{report.message_id}@{report.hostname}>",
        "MIME-Version: 1.0",
        "Auto-Submitted: auto-replied",  # RFC 3834 §3.1.7
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    parts = [
        _part("text/plain; charset=us-ascii", _for_people(report)),
        _part("message/delivery-status", _for_machines(report)),
        _returned(report.original),
    ]
    lines = "\r\n".join(header).encode("utf-8", "surrogateescape")
    body = b"".join(b"\r\n--" + boundary.encode() + b"\r\n" + part for part in parts)
    return lines + b"\r\n" + body + b"\r\n--" + boundary.encode() + b"--\r\n"


def _part(content_type: str, lines: Sequence[str]) -> bytes:
    text = "\r\n".join((f"Content-Type: {content_type}", "", *lines))
    return text.encode("ascii", "replace") + b"\r\n"


def _for_people(report: FailureReport) -> list[str]:
    lines = [
        f"This is the mail system at {report.hostname}.",
        "",
        "Your message could not be delivered to the recipients below.",
        "It will not be tried again. The header of your message is attached.",
        "",
    ]
    for recipient in report.recipients[:RECIPIENTS_LIMIT]:
        lines.append(f"<{_ascii(recipient.address)}>")
        if recipient.explanation:
            lines += _wrapped(recipient.explanation, "    ")
        if recipient.reply is not None:
            server = f"The server {sanitise(recipient.next_hop)}" if recipient.next_hop else "The recipient's server"
            lines += _wrapped(f"{server} said: {recipient.reply}", "    ")
        lines.append("")
    left = len(report.recipients) - RECIPIENTS_LIMIT
    if left > 0:
        lines += [f"and {left} more.", ""]
    return lines


def _for_machines(report: FailureReport) -> list[str]:
    lines = [f"Reporting-MTA: dns; {report.hostname}"]
    if report.envid and _XTEXT.match(report.envid):
        lines.append(f"Original-Envelope-Id: {report.envid[:100]}")
    lines.append(f"Arrival-Date: {_date(report.received_at)}")
    if report.original_id:
        lines.append(f"X-MailGuard-Id: {report.original_id}")
    for recipient in report.recipients[:RECIPIENTS_LIMIT]:
        lines.append("")
        kind, _, original = recipient.orcpt.partition(";")
        if original and _ADDRESS_TYPE.match(kind) and _XTEXT.match(original):
            lines.append(f"Original-Recipient: {kind}; {original[:500]}")
        lines.append(f"Final-Recipient: {_typed(recipient.address)}")
        lines.append("Action: failed")
        lines.append(f"Status: {_status(recipient.reply)}")
        if recipient.reply is not None:
            if recipient.next_hop:
                lines.append(f"Remote-MTA: dns; {sanitise(recipient.next_hop)[:255]}")
            lines.append(f"Diagnostic-Code: smtp; {recipient.reply}")
        if recipient.attempted_at:
            lines.append(f"Last-Attempt-Date: {_date(recipient.attempted_at)}")
    return lines


def _status(reply: Reply | None) -> str:
    """RFC 3464 §2.3.4: of class 5, for it will not be tried again, whatever the last reply was."""
    if reply is not None and reply.permanent:
        return reply.enhanced or "5.0.0"
    return "5.4.7"  # delivery time expired


def _typed(address: str) -> str:
    """RFC 3464 §2.3.2; an address that is not ASCII in the form that fits an ASCII report (RFC 6533 §3)."""
    if address.isascii():
        return f"rfc822; {_one_line(address)}"
    escaped = "".join(
        character if "!" <= character <= "~" and character not in "+=\\" else f"\\x{{{ord(character):X}}}"
        for character in address
    )
    return f"utf-8; {escaped}"


def _returned(original: bytes) -> bytes:
    """The original's header (RFC 6522 §4), encoded when it is not ASCII or has lines that may not be sent as they are."""
    header = original[: header_section_end(original)]
    if len(header) > RETURNED_LIMIT:
        header = header[: header.rfind(b"\n", 0, RETURNED_LIMIT) + 1]
    plain = header.isascii() and b"\0" not in header and max(map(len, header.split(b"\n")), default=0) <= LINE_LIMIT
    if plain:
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + header
    encoded = quopri.encodestring(header.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded


def _wrapped(text: str, indent: str, width: int = 76) -> list[str]:
    lines, line = [], indent
    for word in sanitise(text).split(" "):
        if len(line) + len(word) + 1 > width and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += f"{word} "
    return [*lines, line.rstrip()]


def _one_line(text: str) -> str:
    return "".join(character for character in text if character >= " " and character not in "\x7f<>\u2028\u2029\x85")


def _ascii(text: str) -> str:
    return _one_line(text).encode("ascii", "backslashreplace").decode("ascii")


def _date(at: int) -> str:
    return format_datetime(datetime.fromtimestamp(at // 1000, UTC))
