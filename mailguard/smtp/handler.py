"""The Door of the relay: what happens at MAIL and RCPT, and the hand-over of the whole message to the pipeline.

Routing only: an address is taken when its domain belongs to a tenant, and by nobody else's leave (never an open relay).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from mailguard.core.address import domain_of, is_special
from mailguard.core.clock import SECOND
from mailguard.core.decision import Reason
from mailguard.core.envelope import Envelope, MailOptions, RcptOptions, Recipient, Session
from mailguard.core.errors import UnavailableError
from mailguard.core.feedback import FeedbackAddress
from mailguard.core.mailbox import moved, original_recipient
from mailguard.core.reply import Reply
from mailguard.core.tenant import SYSTEM_TENANT, Directory, Domain
from mailguard.delivery.verify import Refusal
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.pipeline.process import Pipeline
from mailguard.smtp.rates import Rates
from mailguard.smtp.replies import NO_ROOM
from mailguard.store.forms import lookup_form
from mailguard.store.greylist import Greylist
from mailguard.store.refusals import Refusals

REPORT_ALONE = Reply(452, "4.5.3", "Mail to a feedback address goes by itself: send it to this recipient again")
"""RFC 5321 §4.5.3.1.10: the client then sends the message to the others by itself, and to this one later."""
SENDER_OK = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
NO_RELAYING = Reply(550, "5.7.1", "Relaying denied: this domain is not served here")

Verify = Callable[[str, Domain], Awaitable[Refusal | None]]
"""Why an address of a domain is not accepted, since nobody has it or nobody can tell."""
CapabilityRefusal = Callable[[Domain, MailOptions], Reply | None]
"""Whether a domain's next hop is known to be unable to take such a message: asked at RCPT rather than bounced later."""

MeantBy = Callable[[str], FeedbackAddress | None]
"""What mail to an address means to the filter, if it is one that users report to."""


class RelayDoor:
    """Implements smtp.door.Door.

    `has_room` says whether the storage may take another message; `postmaster` is the provider's own address, or empty.
    `feedback` tells the addresses that users report to.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        directory: Callable[[], Directory],
        unsupported: CapabilityRefusal,
        verify: Verify,
        rates: Rates,
        greylist: Greylist,
        has_room: Callable[[], bool],
        postmaster: str,
        refusals: Refusals,
        log: MailLog,
        metrics: Metrics,
        feedback: MeantBy = lambda address: None,
    ) -> None:
        self._feedback = feedback
        self._pipeline = pipeline
        self._directory = directory
        self._unsupported = unsupported
        self._verify = verify
        self._rates = rates
        self._greylist = greylist
        self._has_room = has_room
        self._postmaster = postmaster
        self._refusals = refusals
        self._log = log
        self._metrics = metrics

    async def connect(self, session: Session) -> Reply | None:
        """Everybody may come in; the limits on connections were looked at before."""
        self._log.connected(session)
        return None

    async def mail(self, session: Session, mail_from: str, options: MailOptions) -> Reply:
        """Any sender, while there is room to keep its mail (RFC 1870 §6.1)."""
        if not self._has_room():
            self.refused(session, None, "", NO_ROOM, Reason.LOCAL_ERROR)
            return NO_ROOM
        too_fast = self._rates.message(session.client_ip)
        if too_fast is not None:
            self.refused(session, None, "", too_fast, Reason.RATE_LIMIT)
            return too_fast
        return SENDER_OK

    async def rcpt(
        self, session: Session, envelope: Envelope, address: str, options: RcptOptions
    ) -> tuple[Reply, Recipient | None]:
        """A tenant's address, or the provider's own bare postmaster (RFC 5321 §4.5.1)."""
        too_fast = self._rates.recipient(session.client_ip)
        if too_fast is not None:
            self.refused(session, envelope, address, too_fast, Reason.RATE_LIMIT)
            return too_fast, None
        number = len(envelope.recipients) + 1
        meant = self._feedback(address)
        if envelope.recipients and (meant or self._feedback(envelope.recipients[0].address)):
            self.refused(session, envelope, address, REPORT_ALONE, Reason.TOO_MANY_RECIPIENTS)
            return REPORT_ALONE, None
        if meant is not None:
            return RECIPIENT_OK, Recipient(address, meant.tenant or SYSTEM_TENANT, domain_of(address), options, number)
        if "@" not in address:
            # Without a configured address it is kept in quarantine under the system tenant: never refused.
            return RECIPIENT_OK, Recipient(
                self._postmaster or address, SYSTEM_TENANT, domain_of(self._postmaster), options, number
            )
        name = lookup_form(domain_of(address))
        domain = self._directory().domain(name) if name else None
        if domain is None:
            self.refused(session, envelope, address, NO_RELAYING, Reason.UNKNOWN_DOMAIN)
            return NO_RELAYING, None
        reply = self._unsupported(domain, envelope.options)
        if reply is not None:
            reason = Reason.TOO_LARGE if reply.code == 552 else Reason.UNSUPPORTED_BY_NEXT_HOP
            self.refused(session, envelope, address, reply, reason)
            return reply, None
        refusal = await self._verify(address, domain)
        if refusal is not None:
            self.refused(session, envelope, address, refusal.reply, refusal.reason)
            return refusal.reply, None
        recipient = self._recipient(address, domain, options, number)
        if any(recipient.address == other.address for other in envelope.recipients):
            return RECIPIENT_OK, None  # by an alias and by its own name: once is enough
        refusal = await self._not_yet(session, envelope, recipient)
        if refusal is not None:
            self.refused(session, envelope, address, refusal.reply, refusal.reason)
            return refusal.reply, None
        return RECIPIENT_OK, recipient

    async def _not_yet(self, session: Session, envelope: Envelope, recipient: Recipient) -> Refusal | None:
        """Why the sender must come again: it is new to a tenant that greylists, or the tenant's mail comes too fast."""
        tenant = self._directory().tenants.get(recipient.tenant)
        if tenant is not None and tenant.greylist and not is_special(recipient.address):
            milliseconds = await self._wait(session, envelope, recipient)
            if milliseconds:
                seconds = -(-milliseconds // SECOND)
                return Refusal(
                    Reply(451, "4.7.1", f"Greylisted; please come again in {seconds} seconds"), Reason.GREYLISTED
                )
        if any(recipient.tenant == other.tenant for other in envelope.recipients):
            return None  # its message is counted
        too_fast = self._rates.tenant_message(recipient.tenant)
        return Refusal(too_fast, Reason.RATE_LIMIT) if too_fast is not None else None

    async def _wait(self, session: Session, envelope: Envelope, recipient: Recipient) -> int:
        try:
            return await self._greylist.wait(recipient.tenant, session.address, envelope.mail_from, recipient.address)
        except UnavailableError:
            return 0  # what can be done without the database is seen after the data

    def _recipient(self, address: str, domain: Domain, options: RcptOptions, number: int) -> Recipient:
        """The recipient as the next hop is told of it: of an alias that is rewritten, the address behind it."""
        if not (domain.alias_of and domain.rewrite):
            return Recipient(address, domain.tenant, domain.name, options, number)
        home = self._directory().mailboxes(domain)
        if not options.orcpt:  # RFC 3461 §5.2.1: who rewrites an address says what it was
            options = replace(options, orcpt=original_recipient(address))
        return Recipient(moved(address, domain=home.name), domain.tenant, home.name, options, number)

    async def data(self, session: Session, envelope: Envelope, content: bytes) -> Reply:
        """The life of the message from here on is the pipeline's."""
        return await self._pipeline.process(session, envelope, content)

    def refused(self, session: Session, envelope: Envelope | None, address: str, reply: Reply, reason: Reason) -> None:
        """Record a refusal: in the log, the metrics and, for the trace, the database."""
        domain = self._directory().domain(lookup_form(domain_of(address)) or "") if address else None
        tenant = domain.tenant if domain else None
        mail_from = envelope.mail_from if envelope else None
        self._log.refused(session, reply=reply, reason=reason, mail_from=mail_from, recipient=address)
        name = self._directory().tenants[tenant].name if tenant in self._directory().tenants and tenant else ""
        self._metrics.smtp_refusals.labels(name, reason.value).inc()
        self._refusals.record(tenant, reason, reply, session=session, mail_from=mail_from, recipient=address or None)


class MetricsObserver:
    """Counts what the door tells: implements smtp.door.Observer."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._accepted = metrics.smtp_connections.labels("accepted")
        self._refused = metrics.smtp_connections.labels("refused")

    def session_opened(self) -> None:
        """One more session is open."""
        self._accepted.inc()
        self._metrics.smtp_sessions_open.inc()

    def session_closed(self, seconds: float) -> None:
        """One fewer."""
        self._metrics.smtp_sessions_open.dec()

    def connection_refused(self, why: str) -> None:
        """Turned away by a limit."""
        self._refused.inc()

    def tls_handshake(self, version: str) -> None:
        """A STARTTLS ended, well or not."""
        known = version if version in ("TLSv1.2", "TLSv1.3") else "failed"
        self._metrics.smtp_tls_handshakes.labels(known).inc()
        if known == "failed":
            self._metrics.failed(ErrorKind.TLS)

    def large_waits(self, more: int) -> None:
        """More of them wait, or fewer."""
        self._metrics.smtp_large_waiting.inc(more)

    def unforeseen(self) -> None:
        """A bug until shown otherwise."""
        self._metrics.failed(ErrorKind.PIPELINE)
