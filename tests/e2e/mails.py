"""Small mails to send, and what came of them at the next hop."""

from __future__ import annotations

import re
from email.message import EmailMessage

from tests.servers.clamd import EICAR
from tests.servers.sink_thread import SinkThread
from tests.servers.smtp_sink import Received

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


ORDINARY = (
    "Dear all,\r\n\r\nthank you for the minutes of our meeting. I have put my comments on the figures of the third quarter\r\n"
    "into the table; could we go through it on Thursday at ten?\r\n\r\nBest regards\r\nAnn"
)
"""What colleagues write: it must get through whatever its sender lacks."""


def mail(subject: str = "hello", body: str = "Hi there.", *, sender: str = "a@sender.test") -> bytes:
    """A plain honest mail to u@client.test."""
    domain = sender.rpartition("@")[2].rstrip(">")
    return (
        f"From: {sender}\r\nTo: u@client.test\r\nSubject: {subject}\r\n"
        f"Date: Tue, 01 Apr 2025 10:00:00 +0000\r\nMessage-ID: <{subject.replace(' ', '.')}@{domain}>\r\n\r\n{body}\r\n"
    ).encode()


def infected(subject: str = "invoice") -> bytes:
    """The same with the EICAR test file as its body."""
    return mail(subject, EICAR.decode())


def spam(subject: str = "offer") -> bytes:
    """The same with what every profile takes for spam."""
    return mail(subject, GTUBE.decode())


def with_attachment(
    content: bytes, name: str, subject: str = "see attachment", *, body: str = "Please see the attachment."
) -> bytes:
    """A mail with one file attached."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@sender.test", "u@client.test", subject
    message["Date"] = "Tue, 01 Apr 2025 10:00:00 +0000"
    message["Message-ID"] = f"<{name}@sender.test>"
    message.set_content(body)
    message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def arrived(sink: SinkThread, recipient: str) -> list[Received]:
    """What the next hop got for a recipient."""
    return [one for one in sink.messages if any(f"<{recipient}>" in rcpt for rcpt in one.rcpts)]


OURS = re.compile(
    rb"Received: from [^\n]+\r\n(?:\t[^\n]+\r\n)+"
    rb"Authentication-Results: relay\.test;[^\n]*\r\n(?:\t[^\n]+\r\n)*"
    rb"X-MailGuard-Id: [0-9A-Z]{26}\r\n"
    rb"X-MailGuard-Verdict: [^\n]+\r\n"
    rb"X-MailGuard-Score: [^\n]+\r\n"
    rb"(?:X-MailGuard-Symbols:[^\n]*\r\n(?:\t[^\n]+\r\n)*)?"
)
"""The header block that the relay puts on top."""


def below_our_block(content: bytes) -> bytes:
    """A delivered message without the block, which must stand on top of it and whole."""
    block = OURS.match(content)
    assert block is not None, content[:600]
    return content[block.end() :]
