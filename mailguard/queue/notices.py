"""What senders are told beside failures: mail that is late, and mail passed on to a server that does not report itself.

Both obey the DSN rule. Nothing here decides about the mail: what cannot be told now is told later, or logged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from sqlalchemy import Connection

from mailguard.core.clock import Clock
from mailguard.core.decision import Reason
from mailguard.core.envelope import RcptOptions
from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.events import EventKind, MailEvent
from mailguard.core.reply import Reply, parse_reply
from mailguard.core.verdict import AuthResult
from mailguard.delivery.bounce_rule import may_bounce, wants_delay, wants_success
from mailguard.delivery.outcome import Outcome, OutcomeKind
from mailguard.message.dsn import ReportedRecipient, Told
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.queue.reports import Composed, Reports, Subject
from mailguard.store.blobs import BlobStore
from mailguard.store.claims import Claim
from mailguard.store.ledger import note_in
from mailguard.store.queue import QueueStore, tell_delay_in

HEADER = 256 * 1024
"""Octets of a mail that are kept for the report on it: more than what is returned of its header."""
AT_A_TIME = 200
"""Late mails that are looked at in one go."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A unit that its next hop has taken."""

    unit: str
    address: str
    options: RcptOptions
    outcome: Outcome

    @property
    def is_to_be_told(self) -> bool:
        """Whether its sender asked for success, and the next hop will not tell of it (RFC 3461 §5.2.2)."""
        return self.outcome.kind is OutcomeKind.DELIVERED and not self.outcome.dsn and wants_success(self.options)


class Notices:
    """Tells senders. `on_enqueued` is called when a report was put into the queue."""

    def __init__(
        self,
        reports: Reports,
        queue: QueueStore,
        blobs: BlobStore,
        *,
        log: MailLog,
        metrics: Metrics,
        clock: Clock,
        on_enqueued: Callable[[], None],
    ) -> None:
        self._reports = reports
        self._queue = queue
        self._blobs = blobs
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._on_enqueued = on_enqueued
        self._under_way: set[asyncio.Task[None]] = set()

    def relayed(
        self,
        about: Subject,
        deliveries: Iterable[Delivery],
        *,
        original: bytes | None = None,
        auth: Sequence[AuthResult] | None = None,
    ) -> None:
        """Tell, soon, of what was passed on, as far as it is to be told. What goes wrong is logged: the mail is delivered.

        `original` is the mail or its header, `auth` what was found of its sender; None: as they are kept.
        """
        wanted = [delivery for delivery in deliveries if delivery.is_to_be_told]
        if wanted and about.mail_from:
            header = original[:HEADER] if original is not None else None
            task = asyncio.create_task(self._relayed(about, wanted, header, auth), name=f"notice:{about.message}")
            self._under_way.add(task)
            task.add_done_callback(partial(self._ended, about.message))

    async def settled(self) -> None:
        """Nothing is under way any more."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _ended(self, message: str, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._metrics.failed(ErrorKind.QUEUE)
            self._log.unforeseen("notices", message=message, error=error)

    async def _relayed(
        self, about: Subject, wanted: Sequence[Delivery], original: bytes | None, auth: Sequence[AuthResult] | None
    ) -> None:
        if auth is None:
            auth = (await self._queue.findings(about.message)).auth
        if not may_bounce(about.mail_from, auth):
            return
        if original is None:
            original = await self._header(about.message)
        now = self._clock()
        recipients = [
            ReportedRecipient(one.address, one.outcome.reply, "", one.outcome.next_hop, one.options.orcpt, now)
            for one in wanted
        ]
        report = self._reports.compose(Told.RELAYED, about, recipients, original)
        units = [delivery.unit for delivery in wanted]
        await self._reports.commit(report, lambda connection: self._note(connection, units, Told.RELAYED, report))
        self._tell(units, Told.RELAYED, report)

    async def delayed(self, *, after: int) -> int:
        """Tell of mail that waits for longer than `after` milliseconds, once; returns how many mails were looked at.

        Raises UnavailableError.
        """
        late = await self._queue.late(before=self._clock() - after, limit=AT_A_TIME)
        for _, claims in groupby(late, key=lambda claim: claim.message):
            await self._delayed(list(claims))
        return len(late)

    async def _delayed(self, claims: Sequence[Claim]) -> None:
        about = Subject.of(claims[0])
        report: Composed | None = None
        wanted = [claim for claim in claims if wants_delay(claim.rcpt_options)]
        try:
            if wanted and may_bounce(about.mail_from, (await self._queue.findings(about.message)).auth):
                recipients = [_late(claim) for claim in wanted]
                report = self._reports.compose(Told.DELAYED, about, recipients, await self._header(about.message))

            def work(connection: Connection) -> None:
                tell_delay_in(connection, [claim.unit for claim in claims])
                if report:
                    self._note(connection, [claim.unit for claim in wanted], Told.DELAYED, report)

            await self._reports.commit(report, work)
        except (ConflictError, NotFoundError):
            return  # one of them has just left the queue; the others are looked at again
        if report:
            self._tell([claim.unit for claim in wanted], Told.DELAYED, report)

    async def _header(self, message: str) -> bytes:
        """The beginning of a mail, of which the header is returned; empty when the body is not kept any more."""
        try:
            return await asyncio.to_thread(lambda: next(self._blobs.stream(message), b""))
        except NotFoundError:
            return b""

    def _note(self, connection: Connection, units: Iterable[str], told: Told, report: Composed) -> None:
        detail = {"told": told.value, "dsn": report.id}
        now = self._clock()
        note_in(connection, [MailEvent(unit, now, EventKind.NOTE, Reason.DSN_SENT, detail=detail) for unit in units])

    def _tell(self, units: Iterable[str], told: Told, report: Composed) -> None:
        self._on_enqueued()
        self._metrics.dsns.labels(told.value).inc()
        for unit in units:
            self._log.sender_told(unit, told=told.value, dsn=report.id)


def _late(claim: Claim) -> ReportedRecipient:
    reply: Reply | None = None
    explanation = claim.last_reply or "No server has taken it yet."
    with contextlib.suppress(ValueError):  # no server said it, but we: why there is no reply
        reply, explanation = parse_reply([claim.last_reply]), ""
    return ReportedRecipient(
        address=claim.recipient,
        reply=reply,
        explanation=explanation,
        orcpt=claim.rcpt_options.orcpt,
        retry_until=claim.expires_at,
    )
