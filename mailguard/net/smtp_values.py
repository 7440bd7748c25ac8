"""The values of an SMTP client's conversation: stages, timeouts, what a server offers, what is to be sent and what became of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from mailguard.core.envelope import MailOptions, Recipient
from mailguard.core.reply import Reply
from mailguard.core.values import value
from mailguard.net.smtp_reply import ServerReply

NO_OPTIONS = MailOptions()
_UNFIT = re.compile(r"[\x00-\x1f<>\x7f]")
"""What may stand in a command only within quotes, if at all."""


class Stage(StrEnum):
    """How far a delivery got: what the last reply answered, or what no reply came to."""

    ROUTE = "route"
    """Nobody was asked: no address of the next hop is known, or it is known to be down."""
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """The DATA command, and the content up to its final dot."""
    CONTENT = "content"
    """After the final dot."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds, per step: the minimum times of RFC 5321 §4.5.3.2; `auth` of RFC 4954 §4."""

    connect: float = 30.0
    banner: float = 300.0
    ehlo: float = 300.0
    starttls: float = 120.0
    auth: float = 180.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    final: float = 600.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server's EHLO offers. `size` is its limit in octets, 0 for none known; all False after a HELO.

    `auth` are the mechanisms of AUTH, in capitals.
    """

    esmtp: bool = False
    pipelining: bool = False
    size: int = 0
    declares_size: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    dsn: bool = False
    chunking: bool = False
    auth: tuple[str, ...] = ()

    @classmethod
    def of(cls, ehlo: ServerReply) -> Capabilities:
        """From the reply to EHLO (RFC 5321 §4.1.1.1)."""
        words = {}
        for keyword in ehlo.keywords:
            name, _, argument = keyword.partition(" ")
            words[name.upper()] = argument.strip()
        size = words.get("SIZE", "")
        return cls(
            esmtp=True,
            pipelining="PIPELINING" in words,
            size=int(size) if size.isascii() and size.isdigit() and len(size) <= 20 else 0,
            declares_size="SIZE" in words,
            eight_bit="8BITMIME" in words,
            smtputf8="SMTPUTF8" in words,
            starttls="STARTTLS" in words,
            dsn="DSN" in words,
            chunking="CHUNKING" in words,
            auth=tuple(words.get("AUTH", "").upper().split()),
        )

    def shortfall(self, *, size: int = 0, eight_bit: bool = False, smtputf8: bool = False) -> Reply | None:
        """Why this server cannot take such a message, as the reply that its sender should hear; None when it can."""
        if self.size and size > self.size:  # RFC 1870 §6.1
            return Reply(552, "5.3.4", f"Message too big for the recipient's mail server (limit {self.size} octets)")
        if smtputf8 and not self.smtputf8:  # RFC 6531 §3.5
            return Reply(550, "5.6.7", "The recipient's mail server does not take internationalised mail (SMTPUTF8)")
        if eight_bit and not self.eight_bit:  # RFC 6152 §3; conversion would break signatures
            return Reply(554, "5.6.3", "The recipient's mail server does not take 8-bit mail (8BITMIME)")
        return None


@dataclass(frozen=True)
class Transaction:
    """One message for one next hop. `content` is the message in chunks, every line ended by CRLF, not dot-stuffed.

    With `asking` it ends after RCPT: only the answers to the recipients are wanted (a call-ahead).
    """

    mail_from: str
    recipients: tuple[Recipient, ...]
    content: Sequence[bytes]
    options: MailOptions = NO_OPTIONS
    asking: bool = False

    def __post_init__(self) -> None:
        for address in (self.mail_from, *(recipient.address for recipient in self.recipients)):
            if _UNFIT.search(address) and not _quoted(address):
                raise ValueError(f"{address!r} cannot stand in a command")
        if not self.recipients:
            raise ValueError("a transaction without recipients")

    @cached_property
    def size(self) -> int:
        """Octets of the content before dot-stuffing: what SIZE declares (RFC 1870 §5)."""
        return sum(map(len, self.content))

    @cached_property
    def is_ascii(self) -> bool:
        """Whether the content has no octet above 127."""
        return all(chunk.isascii() for chunk in self.content)

    @cached_property
    def needs_eight_bit(self) -> bool:
        """Declared as BODY=8BITMIME, and not for nothing: many clients declare it for any message.

        Undeclared 8-bit content goes on as it came; to turn it down is up to the next hop.
        """
        return self.options.eight_bit and not self.is_ascii

    @cached_property
    def needs_smtputf8(self) -> bool:
        """An address that is not ASCII, or declared as SMTPUTF8 with a header that is not ASCII."""
        if not self.mail_from.isascii() or not all(recipient.address.isascii() for recipient in self.recipients):
            return True
        if not self.options.smtputf8 or self.is_ascii:
            return False
        for chunk in self.content:
            header, end, _ = chunk.partition(b"\r\n\r\n")
            if not header.isascii():
                return True
            if end:
                break
        return False


def _quoted(address: str) -> bool:
    """Whether special characters stand in a quoted local part alone (`"a<b"@c.example`), which is legal."""
    local, _, domain = address.rpartition("@")
    return (
        local.startswith('"')
        and local.endswith('"')
        and not any(character < " " or character == "\x7f" for character in address)
        and not any(character in "<>" for character in domain)
    )


GoAhead = Callable[[], Awaitable[None]]
"""Awaited before the content is written: returns when the intent is durable, raises to call the delivery off."""


@value
class Answer:
    """What became of one recipient: the last stage, and the server's reply, or None and the cause in `detail`.

    `local` is set when the reply is ours, from what the server offers, and the server was not asked.
    """

    stage: Stage
    reply: Reply | None = None
    detail: str = ""
    local: bool = False


@value
class Sent:
    """What became of a transaction: an answer per recipient, in their order.

    `pending` is set when the server was silent after the final dot (or still reads the content) when the time was up: it
    resolves to the answers of the recipients in `unknown` (positions), in their order. `stale` says that a connection used before turned
    out to be dead before it answered MAIL: nothing happened, try on a fresh one.
    """

    answers: tuple[Answer, ...]
    unknown: tuple[int, ...] = ()
    pending: asyncio.Task[tuple[Answer, ...]] | None = field(default=None, compare=False, repr=False)
    stale: bool = False


class HopError(Exception):
    """A connection to a next hop did not come about: `stage`, the server's `reply` if it gave one, and the cause."""

    def __init__(self, stage: Stage, reply: Reply | None = None, detail: str = "") -> None:
        self.stage = stage
        self.reply = reply
        self.detail = detail
        super().__init__(f"{stage}: {reply or detail}")
