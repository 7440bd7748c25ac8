"""A Door that knows client.test and remembers what it was given."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailguard.core.address import domain_of
from mailguard.core.decision import Reason
from mailguard.core.envelope import Envelope, MailOptions, RcptOptions, Recipient, Session
from mailguard.core.errors import PermanentError, TemporaryError, UnavailableError
from mailguard.core.reply import OK, Reply


@dataclass
class FakeDoor:
    """Takes all mail for client.test but nobody@, and breaks where an address asks for it."""

    greeting: Reply | None = None
    messages: list[tuple[Session, Envelope, bytes]] = field(default_factory=list)
    refusals: list[tuple[Reason, str]] = field(default_factory=list)
    mails: list[tuple[str, MailOptions]] = field(default_factory=list)

    async def connect(self, session: Session) -> Reply | None:
        return self.greeting

    async def mail(self, session: Session, mail_from: str, options: MailOptions) -> Reply:
        self.mails.append((mail_from, options))
        if mail_from == "banned@sender.test":
            raise PermanentError(Reply(550, "5.7.1", "Not welcome"), "banned in the fake")
        return OK

    async def rcpt(
        self, session: Session, envelope: Envelope, address: str, options: RcptOptions
    ) -> tuple[Reply, Recipient | None]:
        domain = domain_of(address).lower()
        if address.lower() != "postmaster" and domain != "client.test":
            return Reply(550, "5.7.1", "We do not relay"), None
        local = address.rpartition("@")[0].lower()
        if local.startswith("nobody"):
            return Reply(550, "5.1.1", "No such user"), None
        if local == "later":
            raise TemporaryError(Reply(451, "4.4.3", "Try again"), "the fake says later")
        if local == "bug":
            raise ZeroDivisionError("secret detail of a bug")
        return Reply(250, "2.1.5", "Recipient ok"), Recipient(address, 2, domain, options)

    async def data(self, session: Session, envelope: Envelope, content: bytes) -> Reply:
        if b"X-Bug: yes" in content:
            raise ZeroDivisionError("secret detail of a bug")
        if b"X-Away: yes" in content:
            raise UnavailableError("database is locked at /secret/path")
        if b"X-Spam: yes" in content:
            return Reply(550, "5.7.1", "Spam")
        self.messages.append((session, envelope, content))
        return Reply(250, "2.0.0", f"Taken as {envelope.message_id}")

    def refused(self, session: Session, envelope: Envelope | None, address: str, reply: Reply, reason: Reason) -> None:
        self.refusals.append((reason, address))
