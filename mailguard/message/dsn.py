"""Delivery status notifications (RFC 3464) as bytes: ASCII only, lines ended by CRLF, every foreign text made safe."""

from __future__ import annotations

import quopri
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum

from mailguard.core.reply import Reply, sanitise
from mailguard.message.parse import header_section_end

RETURNED_LIMIT = 32 * 1024
"""Octets of the original header that are returned; the rest is left out, at the end of a line."""
FULL_LIMIT = 1024 * 1024
"""Octets of a mail that is returned whole when its sender wants that (RET=FULL); of a larger one the header is."""
RECIPIENTS_LIMIT = 100
"""Recipients told of by name in one report."""
LINE_LIMIT = 998
"""Octets of a line, without CRLF (RFC 5322 §2.1.1)."""

_XTEXT = re.compile(r"[!-*,-<>-~]*(?:\+[0-9A-F]{2}[!-*,-<>-~]*)*")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,40}")


class Told(StrEnum):
    """What a report tells: the Action of RFC 3464 §2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    """Passed on to a server that does not report itself."""


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient that the report is about.

    `reply` is the last server's, None when there was none: `explanation` then says why. `next_hop` names that server.
    `orcpt` is the sender's ORCPT as it came (RFC 3461 §4.2). In milliseconds UTC, 0 for none: `attempted_at`, and until
    when a delayed mail is tried again (`retry_until`).
    """

    address: str
    reply: Reply | None
    explanation: str
    next_hop: str = ""
    orcpt: str = ""
    attempted_at: int = 0
    retry_until: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """All that a DSN says. `original` is the mail it is about, of which the header is returned.

    `message_id` is the report's own; `received_at` is when the original arrived. Times in milliseconds UTC. `full`: the
    sender wants all of a failed mail back (RET=FULL).
    """

    message_id: str
    hostname: str
    from_domain: str
    to: str
    at: int
    received_at: int
    original: bytes
    recipients: Sequence[ReportedRecipient]
    original_id: str = ""
    envid: str = ""
    told: Told = Told.FAILED
    full: bool = False


SUBJECTS: Mapping[Told, str] = {
    Told.FAILED: "Undelivered mail returned to sender",
    Told.DELAYED: "Delayed mail: not delivered yet, still being tried",
    Told.RELAYED: "Mail passed on to the recipient's server",
}

_OPENINGS: Mapping[Told, tuple[str, ...]] = {
    Told.FAILED: (
        "Your message could not be delivered to the recipients below.",
        "It will not be tried again.",
    ),
    Told.DELAYED: (
        "Your message could not be delivered yet to the recipients below.",
        "You need not send it again: it is still being tried.",
    ),
    Told.RELAYED: (
        "Your message was passed on to the mail server of the recipients below.",
        "That server does not report deliveries: you may not hear of it again.",
    ),
}


def dsn(report: Report) -> bytes:
    """The whole message, header and body, for MAIL FROM:<>. Only its To field is not ASCII when the address is not."""
    boundary = f"={report.message_id}="
    header = [
        f"From: Mail Delivery System <MAILER-DAEMON@{report.from_domain}>",
        f"To: <{_one_line(report.to)}>",
        f"Subject: {SUBJECTS[report.told]}",
        f"Date: {_date(report.at)}",
        f"Message-ID: <{report.message_id}@{report.hostname}>",
        "MIME-Version: 1.0",
        "Auto-Submitted: auto-replied",  # RFC 3834 §3.1.7
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    # RFC 3461 §4.3: RET is about failed mail; of others the header alone goes back.
    whole = report.full and report.told is Told.FAILED and _may_return_whole(report.original, boundary.encode())
    parts = [
        _part("text/plain; charset=us-ascii", _for_people(report, whole=whole)),
        _part("message/delivery-status", _for_machines(report)),
        _whole(report.original) if whole else _returned(report.original, boundary.encode()),
    ]
    lines = "\r\n".join(header).encode("utf-8", "surrogateescape")
    body = b"".join(b"\r\n--" + boundary.encode() + b"\r\n" + part for part in parts)
    return lines + b"\r\n" + body + b"\r\n--" + boundary.encode() + b"--\r\n"


def _part(content_type: str, lines: Sequence[str]) -> bytes:
    text = "\r\n".join((f"Content-Type: {content_type}", "", *lines))
    return text.encode("ascii", "replace") + b"\r\n"


def _for_people(report: Report, *, whole: bool) -> list[str]:
    attached = "Your message is attached." if whole else "The header of your message is attached."
    lines = [f"This is the mail system at {report.hostname}.", "", *_OPENINGS[report.told], attached, ""]
    for recipient in report.recipients[:RECIPIENTS_LIMIT]:
        lines.append(f"<{_ascii(recipient.address)}>")
        if recipient.explanation:
            lines += _wrapped(recipient.explanation, "    ")
        if recipient.reply is not None:
            server = f"The server {sanitise(recipient.next_hop)}" if recipient.next_hop else "The recipient's server"
            lines += _wrapped(f"{server} said: {recipient.reply}", "    ")
        if recipient.retry_until:
            lines += _wrapped(f"It is tried until {_date(recipient.retry_until)}.", "    ")
        lines.append("")
    left = len(report.recipients) - RECIPIENTS_LIMIT
    if left > 0:
        lines += [f"and {left} more.", ""]
    return lines


def _for_machines(report: Report) -> list[str]:
    lines = [f"Reporting-MTA: dns; {report.hostname}"]
    if report.envid and _XTEXT.fullmatch(report.envid):
        lines.append(f"Original-Envelope-Id: {report.envid[:100]}")
    lines.append(f"Arrival-Date: {_date(report.received_at)}")
    if report.original_id:
        lines.append(f"X-MailGuard-Id: {report.original_id}")
    for recipient in report.recipients[:RECIPIENTS_LIMIT]:
        lines.append("")
        kind, _, original = recipient.orcpt.partition(";")
        if original and _ADDRESS_TYPE.fullmatch(kind) and _XTEXT.fullmatch(original):
            lines.append(f"Original-Recipient: {kind}; {original[:500]}")
        lines.append(f"Final-Recipient: {_typed(recipient.address)}")
        lines.append(f"Action: {report.told}")
        lines.append(f"Status: {_STATUSES[report.told](recipient.reply)}")
        if recipient.reply is not None:
            if recipient.next_hop:
                lines.append(f"Remote-MTA: dns; {sanitise(recipient.next_hop)[:255]}")
            lines.append(f"Diagnostic-Code: smtp; {recipient.reply}")
        if recipient.attempted_at:
            lines.append(f"Last-Attempt-Date: {_date(recipient.attempted_at)}")
        if recipient.retry_until:
            lines.append(f"Will-Retry-Until: {_date(recipient.retry_until)}")
    return lines


def _failed_status(reply: Reply | None) -> str:
    """RFC 3464 §2.3.4: of class 5, for it will not be tried again, whatever the last reply was."""
    if reply is not None and reply.permanent:
        return reply.enhanced or "5.0.0"
    return "5.4.7"  # delivery time expired


def _delayed_status(reply: Reply | None) -> str:
    """Of class 4, even when the server refuses us with a 5yz: it is tried again."""
    if reply is None:
        return "4.4.1"  # no answer from host
    return reply.enhanced if reply.transient and reply.enhanced else "4.0.0"


def _relayed_status(reply: Reply | None) -> str:
    return reply.enhanced if reply is not None and reply.enhanced.startswith("2.") else "2.0.0"


_STATUSES: Mapping[Told, Callable[[Reply | None], str]] = {
    Told.FAILED: _failed_status,
    Told.DELAYED: _delayed_status,
    Told.RELAYED: _relayed_status,
}


def _typed(address: str) -> str:
    """RFC 3464 §2.3.2; an address that is not ASCII in the form that fits an ASCII report (RFC 6533 §3)."""
    if address.isascii():
        return f"rfc822; {_one_line(address)}"
    escaped = "".join(
        character if "!" <= character <= "~" and character not in "+=\\" else f"\\x{{{ord(character):X}}}"
        for character in address
    )
    return f"utf-8; {escaped}"


def _may_return_whole(original: bytes, boundary: bytes) -> bool:
    """Whether all of a mail can stand in a report as it is: message/rfc822 may not be encoded (RFC 2046 §5.2.1)."""
    return (
        len(original) <= FULL_LIMIT
        and b"\0" not in original
        and boundary not in original
        and original.count(b"\n") == original.count(b"\r\n") == original.count(b"\r")
        and max(map(len, original.split(b"\r\n")), default=0) <= LINE_LIMIT
    )


def _whole(original: bytes) -> bytes:
    encoding = b"" if original.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return b"Content-Type: message/rfc822\r\n" + encoding + b"\r\n" + original


def _returned(original: bytes, boundary: bytes) -> bytes:
    """The original's header (RFC 6522 §4), encoded when it is not ASCII or has what may not be sent as it is."""
    header = original[: header_section_end(original)]
    if len(header) > RETURNED_LIMIT:
        header = header[: header.rfind(b"\n", 0, RETURNED_LIMIT) + 1]
    plain = (
        header.isascii()
        and b"\0" not in header
        and boundary not in header
        and max(map(len, header.split(b"\r\n"))) <= LINE_LIMIT
    )
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
