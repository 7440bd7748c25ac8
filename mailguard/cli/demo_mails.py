"""The mails of `mailguard demo`: each a kind of mail that a relay meets, and all of them harmless."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid

from mailguard.watch.probe_mails import EICAR, GTUBE


@dataclass(frozen=True, slots=True)
class DemoMail:
    """One mail of the demo: a name to ask for it by, what it is, its envelope, and what fills it."""

    name: str
    what: str
    mail_from: str
    recipient: str
    subject: str
    fill: Callable[[EmailMessage], None]

    def build(self) -> tuple[str, bytes]:
        """A fresh copy: its Message-ID and its octets, with CRLF."""
        message = EmailMessage(policy=SMTP)
        domain = self.mail_from.rpartition("@")[2]
        message["From"] = self.mail_from
        message["To"] = self.recipient
        message["Subject"] = self.subject
        message["Date"] = format_datetime(localtime())
        message["Message-ID"] = make_msgid(domain=domain)
        self.fill(message)
        return str(message["Message-ID"]), message.as_bytes()


def _hello(message: EmailMessage) -> None:
    message.set_content("Hello,\n\nhere are the minutes of our meeting. See you on Thursday!\n\nAlice\n")


def _eicar(message: EmailMessage) -> None:
    message.set_content("Please find our invoice attached.\n")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as folder:
        folder.writestr("invoice.txt", EICAR)
    message.add_attachment(archive.getvalue(), maintype="application", subtype="zip", filename="invoice.zip")


def _gtube(message: EmailMessage) -> None:
    message.set_content(f"You have won! Claim your prize.\n\n{GTUBE}\n")


def _forgery(message: EmailMessage) -> None:
    message.set_content(
        "Good day,\n\nyour statement for October is ready. You find it in the mailbox of your online banking.\n"
    )


def _program(message: EmailMessage) -> None:
    message.set_content("Open the attached document to see your delivery.\n")
    message.add_attachment(
        b"not really a program", maintype="application", subtype="octet-stream", filename="dhl.pdf.exe"
    )


def demo_mails(*, sender: str, recipient: str) -> tuple[DemoMail, ...]:
    """All of them, for a recipient of the demo tenant."""
    return (
        DemoMail("clean", "an ordinary mail", sender, recipient, "Minutes", _hello),
        DemoMail("eicar", "a virus in an archive (EICAR test file)", sender, recipient, "Invoice", _eicar),
        DemoMail("gtube", "spam (GTUBE test text)", sender, recipient, "You have won", _gtube),
        DemoMail(
            "forgery",
            "a forged sender (DMARC fails)",
            "security@bank.test",
            recipient,
            "Your statement for October",
            _forgery,
        ),
        DemoMail("program", "a program as an attachment", sender, recipient, "Your parcel", _program),
        DemoMail("relay", "for a domain that is not ours", sender, "someone@elsewhere.test", "Hello", _hello),
    )
