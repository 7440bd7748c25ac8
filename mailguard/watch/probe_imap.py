"""The canary as a mailbox that is looked into by IMAP (RFC 9051), over TLS always. What was found is removed."""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mailguard.core.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class ImapMailbox:
    """Where the canary's mail is. `timeout` in seconds, for each step. `context` verifies the server's certificate."""

    host: str
    port: int
    user: str
    password: str
    folder: str
    timeout: float
    context: ssl.SSLContext


def fetch(mailbox: ImapMailbox, header_message_ids: Sequence[str]) -> dict[str, bytes]:
    """Which of these mails are there, as they came; they are removed. Blocks. Raises UnavailableError with the cause."""
    try:
        with imaplib.IMAP4_SSL(
            mailbox.host, mailbox.port, ssl_context=mailbox.context, timeout=mailbox.timeout
        ) as client:
            client.login(mailbox.user, mailbox.password)
            _demand(client.select(_quoted(mailbox.folder)), f"SELECT {mailbox.folder}")
            found = {}
            for name in header_message_ids:
                content = _take(client, name)
                if content is not None:
                    found[name] = content
            if found:
                client.expunge()
            return found
    except (OSError, imaplib.IMAP4.error) as error:
        text = str(error).removeprefix("b'").removesuffix("'") or type(error).__name__
        raise UnavailableError(f"the canary's mailbox at {mailbox.host}:{mailbox.port}: {text}") from error


def _take(client: imaplib.IMAP4_SSL, header_message_id: str) -> bytes | None:
    (numbers, *_) = _demand(client.uid("SEARCH", "HEADER", "Message-ID", _quoted(header_message_id)), "SEARCH") or [b""]
    for number in numbers.split() if isinstance(numbers, bytes) else []:
        parts = _demand(client.uid("FETCH", number.decode(), "(BODY.PEEK[])"), "FETCH")
        content = next((part[1] for part in parts if isinstance(part, tuple)), None)
        with suppress(imaplib.IMAP4.error):  # a mailbox that may only be read does as well
            client.uid("STORE", number.decode(), "+FLAGS.SILENT", r"(\Deleted)")
        if isinstance(content, bytes):
            return content
    return None


def _demand(answer: tuple[str, Sequence[object]], what: str) -> Sequence[object]:
    status, data = answer
    if status != "OK":
        said = b" ".join(part for part in data if isinstance(part, bytes)).decode("utf-8", "replace")
        raise imaplib.IMAP4.error(f"{what}: {status} {said}")
    return data


def _quoted(text: str) -> str:
    """A quoted string (RFC 9051 §4.3)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
