"""What the SMTP door and its surroundings agree on: the Door it asks, the Observer it tells, the SmtpSettings it obeys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mailguard.core.decision import Reason
from mailguard.core.envelope import Envelope, MailOptions, RcptOptions, Recipient, Session
from mailguard.core.reply import Reply

MEBIBYTE = 1 << 20


class Door(Protocol):
    """Who decides about mail. A MailError it raises becomes its reply; anything else unforeseen, 451 4.3.0."""

    async def connect(self, session: Session) -> Reply | None:
        """A client has connected; None lets it in. A 421 ends the connection, a 554 waits for its QUIT."""

    async def mail(self, session: Session, mail_from: str, options: MailOptions) -> Reply:
        """MAIL, well formed, within SIZE. `mail_from` is empty for the null sender."""

    async def rcpt(
        self, session: Session, envelope: Envelope, address: str, options: RcptOptions
    ) -> tuple[Reply, Recipient | None]:
        """RCPT, well formed: a mailbox, or a bare `postmaster`. The Recipient is given with a 2yz and only then."""

    async def data(self, session: Session, envelope: Envelope, content: bytes) -> Reply:
        """The whole message, lines ended by CRLF alone, dots unstuffed. Runs to its end whatever the client does."""

    def refused(self, session: Session, envelope: Envelope | None, address: str, reply: Reply, reason: Reason) -> None:
        """The protocol refused by itself what is worth recording; `address` is the recipient's, empty before RCPT."""


class Observer(Protocol):
    """Is told what metrics want to count. Calls are quick and do not raise."""

    def session_opened(self) -> None:
        """A connection was let in."""

    def session_closed(self, seconds: float) -> None:
        """The same connection is gone, after so long."""

    def connection_refused(self, why: str) -> None:
        """A connection was turned away; `why` is a `limits.Refusal`."""

    def tls_handshake(self, version: str) -> None:
        """STARTTLS ended: the protocol (`TLSv1.3`), or empty when the handshake failed."""

    def large_waits(self, more: int) -> None:
        """So many large messages more, or fewer, wait for room in memory."""

    def unforeseen(self) -> None:
        """Something unforeseen happened and was answered with 451 4.3.0; its traceback is in the log."""


class NullObserver:
    """Counts nothing."""

    def session_opened(self) -> None:
        """Ignored."""

    def session_closed(self, seconds: float) -> None:
        """Ignored."""

    def connection_refused(self, why: str) -> None:
        """Ignored."""

    def tls_handshake(self, version: str) -> None:
        """Ignored."""

    def large_waits(self, more: int) -> None:
        """Ignored."""

    def unforeseen(self) -> None:
        """Ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """Every limit and time of the door. Times are in seconds, sizes in octets; limits hold per process (worker)."""

    hostname: str
    """Our name in the greeting and in EHLO's reply."""

    message_size: int = 50 * MEBIBYTE
    """Largest message; advertised as SIZE (RFC 1870). RFC 5321 §4.5.3.1.7 asks for 64 KiB at least."""
    bare_newline: Literal["normalise", "refuse"] = "normalise"
    """A CR or LF that stands alone (RFC 5321 §2.3.8): made CRLF, or the message refused. Never passed on as it came."""
    strict_pipelining: bool = True
    """Whether to turn away clients that talk before the greeting or on behind EHLO, HELO or DATA (RFC 2920 §3.1)."""
    greeting_delay: float = 0
    """How long to wait before the greeting, to turn away who talks first; 0: not at all."""
    dsn: bool = True
    """Whether to offer DSN (RFC 3461); without it RET, ENVID, NOTIFY and ORCPT are unknown parameters."""
    chunking: bool = True
    """Whether to offer CHUNKING (RFC 3030); without it BDAT ends the connection. BINARYMIME is never offered."""
    memory_limit: int = MEBIBYTE
    """Octets of a message that are held in memory while it comes in; the rest goes to a file without a name."""
    memory_budget: int = 128 * MEBIBYTE
    """Octets of messages over `memory_limit` that are carried out at a time; more of them wait."""
    memory_wait: float = 240
    """How long such a message waits; then 452 4.3.1. RFC 5321 §4.5.3.2.6 gives the client 10 minutes for all."""
    spool_directory: Path | None = None
    """Where that file is made; None: where the system keeps temporary files."""

    command_line: int = 512
    """Longest command, with its CRLF (RFC 5321 §4.5.3.1.4)."""
    path_line: int = 2048
    """Longest MAIL or RCPT: 512, and what SIZE, BODY, SMTPUTF8 and DSN add to it (RFC 5321 §4.1.1.11, RFC 3461 §4)."""
    recipients_per_message: int = 100
    """Recipients of one message; more get 452 4.5.3, and come again. RFC 5321 §4.5.3.1.8 asks for 100 at least."""
    recipient_overshoot: int = 1000
    """RCPTs beyond that limit before each counts as an error, so that a pipelining client may send its whole list."""
    messages_per_session: int = 1000
    """MAIL commands in one connection; then 421."""
    commands_per_session: int = 20_000
    """Commands in one connection; then 421."""
    junk_commands: int = 100
    """NOOP, RSET, VRFY, HELP, EHLO, HELO since the last message that was taken in; then 421."""
    errors_per_session: int = 20
    """Commands that were answered 5yz since the last message that was taken in; then 421."""

    session_time: float = 3600
    """A whole connection; then 421, though never while a message is being taken in."""
    command_timeout: float = 300
    """One command, from our last reply to its end (RFC 5321 §4.5.3.2.7: 5 minutes at least)."""
    data_time: float = 1800
    """All of a message's data, from 354 to the final dot."""
    data_window: float = 180
    """The span over which the data's pace is judged; a stall as long as RFC 5321 §4.5.3.2.5 allows is forgiven."""
    data_min_rate: int = 100
    """Octets a second that data must bring on average in each window: a byte a second holds no connection."""
    tls_handshake_timeout: float = 30
    """From our 220 to STARTTLS until TLS stands."""
    proxy_timeout: float = 5
    """The PROXY header, on listeners that require it."""
    close_grace: float = 5
    """How long a client may take to read our last words before the connection is cut."""

    max_connections: int = 5000
    """Connections at a time; then 421 4.3.2."""
    connections_per_client: int = 50
    """Connections at a time from one IPv4 address or IPv6 /64; then 421 4.7.0."""
    connections_per_minute: int = 600
    """New connections from one IPv4 address or IPv6 /64, in bursts of as many; then 421 4.7.0."""
    unlimited_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Clients to which the two limits above do not apply."""
    proxy_networks: tuple[str, ...] = ()
    """Peers that may speak the PROXY protocol to listeners that require it."""
    backlog: int = 1024
    """Connections that the system keeps waiting for us on each listener."""
