"""The commands of a mail transaction as bytes, with the parameters that the server offers and the message needs."""

from __future__ import annotations

from mailguard.core.envelope import Recipient
from mailguard.net.smtp_values import Capabilities, Transaction


def mail_command(job: Transaction, offered: Capabilities) -> bytes:
    """MAIL with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461)."""
    words = [f"MAIL FROM:<{job.mail_from}>"]
    if offered.declares_size and not job.asking:
        words.append(f"SIZE={job.size}")
    if offered.eight_bit and (job.options.eight_bit or not job.is_ascii):
        words.append("BODY=8BITMIME")
    if offered.smtputf8 and (job.options.smtputf8 or job.needs_smtputf8):
        words.append("SMTPUTF8")
    if offered.dsn and job.options.ret:
        words.append(f"RET={job.options.ret}")
    if offered.dsn and job.options.envid:
        words.append(f"ENVID={job.options.envid}")
    return _line(words)


def rcpt_command(recipient: Recipient, offered: Capabilities) -> bytes:
    """RCPT with NOTIFY and ORCPT (RFC 3461)."""
    words = [f"RCPT TO:<{recipient.address}>"]
    if offered.dsn and recipient.options.notify:
        words.append(f"NOTIFY={','.join(recipient.options.notify)}")
    if offered.dsn and recipient.options.orcpt:
        words.append(f"ORCPT={recipient.options.orcpt}")
    return _line(words)


def data_command() -> bytes:
    """DATA."""
    return b"DATA\r\n"


def bdat_command(size: int) -> bytes:
    """BDAT with all of the content in one chunk (RFC 3030 §2)."""
    return b"BDAT %d LAST\r\n" % size


def _line(words: list[str]) -> bytes:
    line = " ".join(words)
    if "\r" in line or "\n" in line or "\0" in line:
        raise ValueError(f"{line!r} is not one command")
    return line.encode("utf-8", "surrogateescape") + b"\r\n"
