"""DSNs as mail of our own: composed, and put into the queue in one transaction with what they tell of."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mailguard.core.address import domain_of
from mailguard.core.clock import DAY, Clock
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, Recipient, Session
from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.reply import OK
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.message.dsn import SUBJECTS, Report, ReportedRecipient, Told, dsn
from mailguard.net.dns import lookup_name
from mailguard.queue.group import DSN
from mailguard.store.blobs import BlobStore
from mailguard.store.claims import Claim
from mailguard.store.db import Database
from mailguard.store.ledger import NewMessage, NewUnit, QueueEntry, begin_in


@dataclass(frozen=True, slots=True)
class Subject:
    """The mail that a report is about; `received_at` in milliseconds UTC."""

    message: str
    mail_from: str
    received_at: int
    options: MailOptions

    @classmethod
    def of(cls, claim: Claim) -> Subject:
        """The mail of a claim."""
        return cls(claim.message, claim.mail_from, claim.received_at, claim.mail_options)


@dataclass(frozen=True, slots=True)
class Composed:
    """A report that is ready to be enqueued."""

    id: str
    content: bytes
    message: NewMessage
    unit: NewUnit


class Reports:
    """Composes reports in our name, and enqueues them."""

    def __init__(
        self,
        *,
        db: Database,
        blobs: BlobStore,
        clock: Clock,
        hostname: str,
        from_domain: str,
        retention: int = 5 * DAY,
    ) -> None:
        """`retention` in milliseconds is how long a report may wait in the queue itself."""
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._hostname = hostname
        self._from_domain = from_domain
        self._retention = retention

    def compose(self, told: Told, about: Subject, recipients: Sequence[ReportedRecipient], original: bytes) -> Composed:
        """The report on `recipients` of one mail. `original` is all of it, or at least its header."""
        now = self._clock()
        message_id = new_message_id(now)
        content = dsn(
            Report(
                message_id=message_id,
                hostname=self._hostname,
                from_domain=self._from_domain,
                to=about.mail_from,
                at=now,
                received_at=about.received_at,
                original=original,
                recipients=recipients,
                original_id=about.message,
                envid=about.options.envid,
                told=told,
                full=about.options.ret == "FULL",
            )
        )
        message = NewMessage(
            id=message_id,
            received_at=now,
            session=Session(message_id, "127.0.0.1", helo=self._hostname),
            mail_from="",
            options=MailOptions(eight_bit=not content.isascii(), smtputf8=not about.mail_from.isascii()),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            header_message_id=f"<{message_id}@{self._hostname}>",
            header_from=f"mailer-daemon@{self._from_domain}",
            subject=SUBJECTS[told],
            blob=True,
        )
        domain = domain_of(about.mail_from)
        unit = NewUnit(
            number=1,
            recipient=Recipient(about.mail_from, SYSTEM_TENANT, lookup_name(domain) or domain.lower()),
            state=State.SPOOLED,
            reason=Reason.DSN_SENT,
            decision=Decision(1, Action.DELIVER, Reason.DSN_SENT, f"tells of {about.message}", "", "", OK),
            queue=QueueEntry(DSN, due_at=now, expires_at=now + self._retention),
            detail={"about": about.message, "told": told.value},
        )
        return Composed(message_id, content, message, unit)

    async def commit(self, report: Composed | None, work: Callable[[Connection], None]) -> None:
        """Do `work` and enqueue the report, if there is one, in one transaction: both or neither.

        Raises what `work` raises, and UnavailableError.
        """

        def both(connection: Connection) -> None:
            work(connection)
            if report:
                begin_in(connection, report.message, [report.unit])

        if report:
            await asyncio.to_thread(self._blobs.put, report.id, [report.content])
        try:
            await self._db.write(both)
        except BaseException:
            if report:  # nothing refers to it; what is left behind all the same is swept up later
                with contextlib.suppress(UnavailableError):
                    await asyncio.to_thread(self._blobs.delete, report.id)
            raise
