"""The three mails of a probe: a clean one, a virus that is none (EICAR), and spam by agreement (GTUBE). Pure."""

from __future__ import annotations

import base64
from email.utils import format_datetime

from mailguard.core.address import domain_of
from mailguard.core.clock import to_datetime
from mailguard.watch.probe_mark import Kind, Mark

EICAR = bytes.fromhex(
    "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553"
    "542d46494c452124482b482a"
)
"""The EICAR test file, which every virus scanner knows and which does nothing; in hexadecimal, so that none objects here."""
GTUBE = "".join(("XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL", "*C.34X"))
"""The generic test for unsolicited bulk e-mail; in pieces for the same reason."""

_SUBJECT = {
    Kind.CLEAN: "MailGuard probe: a clean mail, which should arrive",
    Kind.EICAR: "MailGuard probe: the EICAR test file, which should be stopped",
    Kind.GTUBE: "MailGuard probe: the GTUBE test text, which should be stopped",
}
_TEXT = (
    "This mail was sent by `mailguard probe` to see whether mail goes through\r\n"
    "and what is bad is stopped. Nobody need do anything about it.\r\n"
)
_BOUNDARY = "mailguard-probe"


def header_message_id(mark: Mark, *, sender: str) -> str:
    """The Message-ID of the mail that bears a mark: as good as its id, and it arrives with the mail."""
    return f"<{mark.id}.{mark.kind}@{domain_of(sender)}>"


def probe_mail(mark: Mark, *, sender: str, recipient: str) -> bytes:
    """The mail that the mark is for, without it: all ASCII, lines ended by CRLF. Always the same for the same mark."""
    fields = [
        f"From: MailGuard probe <{sender}>",
        f"To: <{recipient}>",
        f"Subject: {_SUBJECT[mark.kind]}",
        f"Date: {format_datetime(to_datetime(mark.at - mark.at % 1000))}",
        f"Message-ID: {header_message_id(mark, sender=sender)}",
        "Auto-Submitted: auto-generated",  # RFC 3834: nobody should answer it
        "MIME-Version: 1.0",
    ]
    if mark.kind is Kind.EICAR:
        fields.append(f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"')
        body = _with_attachment(EICAR, "eicar.txt")
    else:
        fields += ["Content-Type: text/plain; charset=us-ascii", "Content-Transfer-Encoding: 7bit"]
        body = f"{_TEXT}\r\n{GTUBE}\r\n" if mark.kind is Kind.GTUBE else _TEXT
    return ("\r\n".join(fields) + "\r\n\r\n" + body).encode("ascii")


def _with_attachment(content: bytes, name: str) -> str:
    lines = base64.encodebytes(content).decode().replace("\n", "\r\n")
    return (
        f"--{_BOUNDARY}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{_TEXT}\r\n"
        f"--{_BOUNDARY}\r\nContent-Type: application/octet-stream\r\n"
        f'Content-Disposition: attachment; filename="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        f"{lines}--{_BOUNDARY}--\r\n"
    )
