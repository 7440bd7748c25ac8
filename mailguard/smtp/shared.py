"""What all connections of one server have in common."""

from __future__ import annotations

from asyncio import Event, Task
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from mailguard.core.clock import Clock
from mailguard.core.reply import Reply
from mailguard.smtp.door import Door, Observer, SmtpSettings
from mailguard.smtp.intake import Room
from mailguard.smtp.limits import ConnectionLimits
from mailguard.smtp.tls import TlsCertificate


class Drainable(Protocol):
    """A connection, as the server sees it when it drains."""

    def shut_down(self, *, now: bool = False) -> None:
        """End at once when no transaction is under way or `now`, else after it."""


@dataclass(slots=True)
class Shared:
    """Collaborators, and the few facts that change: made by the server, given to every connection."""

    door: Door
    settings: SmtpSettings
    limits: ConnectionLimits
    observer: Observer
    clock: Clock
    certificate: TlsCertificate | None
    draining: bool = False
    """No new connections or transactions."""
    ending: bool = False
    """Nothing more at all."""
    changed: Event = field(default_factory=Event)
    """Set whenever a connection or a transaction ends."""
    connections: set[Drainable] = field(default_factory=set)
    transactions: set[Task[Reply]] = field(default_factory=set)
    """Messages being carried out; they live on when their connection dies."""
    room: Room = field(init=False)
    """For the large messages that are being carried out."""
    greeting: bytes = field(init=False)
    ehlo: bytes = field(init=False)
    ehlo_with_tls: bytes = field(init=False)
    """EHLO's reply before and after STARTTLS (which is not offered twice); AUTH is never offered."""

    def __post_init__(self) -> None:
        self.room = Room(self.settings.memory_budget)
        name = self.settings.hostname
        self.greeting = f"220 {name} ESMTP\r\n".encode("ascii")
        words = [
            name,
            "PIPELINING",
            f"SIZE {self.settings.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        if self.settings.dsn:
            words.append("DSN")
        if self.settings.chunking:
            words.append("CHUNKING")
        last = "HELP"
        self.ehlo_with_tls = _multiline([*words, last])
        self.ehlo = _multiline([*words, "STARTTLS", last]) if self.certificate else self.ehlo_with_tls

    def connection_gone(self, connection: Drainable) -> None:
        """A connection that was let in has ended."""
        self.connections.discard(connection)
        self.changed.set()

    def transaction_done(self, task: Task[Reply]) -> None:
        """A message has been carried out, or failed."""
        self.transactions.discard(task)
        self.changed.set()


def _multiline(words: list[str]) -> bytes:
    return "".join(f"250{' ' if i == len(words) else '-'}{word}\r\n" for i, word in enumerate(words, 1)).encode("ascii")


@lru_cache(maxsize=1024)
def render(reply: Reply) -> bytes:
    """The reply as it goes over the wire."""
    return f"{reply}\r\n".encode("ascii")
