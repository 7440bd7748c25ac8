"""Mail to feedback addresses: users forward, as attachments, mail that was judged wrongly, and their tenant's filter learns.

Such mail goes no further, is no unit of the ledger and is not billed. Only a copy of a mail that was delivered to the very user who
sends it counts, and only when SPF or DKIM of the tenant's domain proves who that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mailguard.core.address import domain_of, normalise
from mailguard.core.clock import DAY
from mailguard.core.envelope import Envelope, Session
from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.core.feedback import FeedbackAddress, FeedbackResult
from mailguard.core.mailbox import mailboxes
from mailguard.core.reply import Reply
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.core.verdict import AuthMethod, AuthOutcome, Findings
from mailguard.learning.copies import Copy, read_copy
from mailguard.learning.lessons import Result, Teaching, teach
from mailguard.learning.reading import read_example
from mailguard.learning.scale import Scale, without_learned
from mailguard.message.message import Message, Part
from mailguard.net.suffixes import aligned
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.pipeline.judge import Judge
from mailguard.store import schema
from mailguard.store.db import Database
from mailguard.store.forms import lookup_form
from mailguard.store.lessons import Source
from mailguard.store.trace import TracedUnit, find_units

MOST_COPIES = 10
"""Copies of one mail that are looked at."""
MOST_OCTETS = 10_000_000
"""Octets of a copy that is looked at."""
MOST_DAYS = 90
"""Days for which delivered mail can be reported."""
DELIVERED = frozenset({State.DELIVERED.value, State.RELEASED.value})
_COPIES = frozenset({"message/rfc822", "message/global"})


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Who sent a report: a user of a tenant, as the domain of the tenant has it."""

    address: str
    tenant: Tenant
    domain: Domain


class Feedback:
    """Takes mail to feedback addresses. `spam_address` and `ham_address` are those of all tenants; empty: there are none."""

    def __init__(
        self,
        *,
        judge: Judge,
        db: Database,
        directory: Callable[[], Directory],
        scale: Scale,
        spam_address: str,
        ham_address: str,
        log: MailLog,
        metrics: Metrics,
    ) -> None:
        self._judge = judge
        self._db = db
        self._directory = directory
        self._scale = scale
        self._common = {
            normalise(address): FeedbackAddress(spam)
            for address, spam in ((spam_address, True), (ham_address, False))
            if address
        }
        self._log = log
        self._metrics = metrics

    def meant_by(self, address: str) -> FeedbackAddress | None:
        """What mail to an address means to the filter; None: it is an address like any other."""
        name = normalise(address)
        if name in self._common:
            return self._common[name]
        directory = self._directory()
        domain = directory.domain(lookup_form(domain_of(name)) or "")
        tenant = directory.tenants.get(domain.tenant) if domain else None
        if tenant is None or name not in (tenant.spam_address, tenant.ham_address):
            return None
        return FeedbackAddress(name == tenant.spam_address, tenant.id)

    async def take(self, session: Session, envelope: Envelope, message: Message, meant: FeedbackAddress) -> Reply:
        """Learn from the copies in one mail; the reply says what came of them, and is 250 whatever that is.

        Raises UnavailableError when it cannot be told now: the sender is to come again.
        """
        findings = await self._judge.find(session, envelope, message)
        who = self._reporter(envelope, message, findings, meant)
        if isinstance(who, FeedbackResult):
            return self._told(envelope, meant, [who])
        copies = list(_copies(message))
        results = [await self._copy(part, who, meant) for part in copies[:MOST_COPIES]]
        results += [FeedbackResult.TOO_MANY] * (len(copies) - MOST_COPIES)
        return self._told(envelope, meant, results or [FeedbackResult.NO_COPY], tenant=who.tenant.name)

    def _reporter(
        self, envelope: Envelope, message: Message, findings: Findings, meant: FeedbackAddress
    ) -> _Reporter | FeedbackResult:
        if _is_automatic(envelope, message):
            return FeedbackResult.AUTOMATIC
        address = normalise(envelope.mail_from)
        directory = self._directory()
        domain = directory.domain(lookup_form(domain_of(address)) or "")
        tenant = directory.tenants.get(domain.tenant) if domain else None
        if domain is None or tenant is None or meant.tenant not in (None, tenant.id):
            return FeedbackResult.FOREIGN
        if [normalise(one) for one in message.from_addresses] != [address]:
            return FeedbackResult.UNAUTHENTICATED
        if not _proven(domain.name, findings):
            return FeedbackResult.UNAUTHENTICATED
        if findings.malware:
            return FeedbackResult.MALWARE
        return _Reporter(address, tenant, domain)

    async def _copy(self, part: Part, who: _Reporter, meant: FeedbackAddress) -> FeedbackResult:
        if part.encoded_size > 2 * MOST_OCTETS:
            return FeedbackResult.TOO_LARGE
        raw = part.decoded(MOST_OCTETS + 1)
        if len(raw) > MOST_OCTETS:
            return FeedbackResult.TOO_LARGE
        copy = read_copy(raw)
        if copy is None:
            return FeedbackResult.NOT_OURS
        found = await self._db.read(lambda connection: self._delivered(connection, copy, who))
        if isinstance(found, FeedbackResult):
            return found
        unit, read = found, read_example(copy.content, found.findings)
        score = without_learned(unit.score, unit.symbols)
        one = Teaching(unit.tenant, unit.id, meant.spam, score, read.example, read.features, unit.probe)

        def work(connection: Connection) -> list[Result]:
            now = self._db.now(connection)
            return teach(connection, [one], source=Source.USER, teacher=who.address, now=now, scale=self._scale)

        (result,) = await self._db.write(work)
        self._log.taught(
            unit.id,
            tenant=who.tenant.name,
            teacher=who.address,
            label=meant.label,
            result=result.outcome.value,
            before=result.before,
            after=result.after,
        )
        return FeedbackResult(result.outcome.value)

    def _delivered(self, connection: Connection, copy: Copy, who: _Reporter) -> TracedUnit | FeedbackResult:
        """The unit of the mail that was delivered to this user."""
        units = schema.units
        since = self._db.now(connection) - MOST_DAYS * DAY
        conditions = [
            units.c.message == copy.message,
            units.c.tenant == who.tenant.id,
            units.c.state.in_(sorted(DELIVERED)),
            units.c.received_at >= since,
        ]
        wanted = self._mailboxes(who.address, who.domain, who.tenant)
        for unit in find_units(connection, conditions, limit=1_000, oldest=True):
            domain = self._directory().domain(lookup_form(domain_of(unit.recipient)) or "")
            if domain is None or not wanted & self._mailboxes(unit.recipient, domain, who.tenant):
                continue
            if not unit.header_message_id or unit.header_message_id != copy.header_message_id:
                return FeedbackResult.OTHER_MAIL
            return unit
        return FeedbackResult.NOT_DELIVERED

    def _mailboxes(self, address: str, domain: Domain, tenant: Tenant) -> set[str]:
        """The mailbox that an address most likely means: the same for what senders add to it, and for alias domains."""
        home = self._directory().mailboxes(domain)
        return {mailboxes(address, domain=home.name, separators=tenant.separators)[0].key}

    def _told(
        self, envelope: Envelope, meant: FeedbackAddress, results: Sequence[FeedbackResult], *, tenant: str = ""
    ) -> Reply:
        for result in results:
            self._metrics.feedback.labels(meant.label, result.value).inc()
        counted = {result: results.count(result) for result in results}
        self._log.feedback(
            envelope.message_id,
            mail_from=envelope.mail_from,
            tenant=tenant,
            label=meant.label,
            results={result.value: count for result, count in counted.items()},
        )
        said = ", ".join(f"{result.value} {count}" for result, count in counted.items())
        return Reply(250, "2.0.0", f"Report {envelope.message_id}: {said}")


def _is_automatic(envelope: Envelope, message: Message) -> bool:
    """Whether no person sent it (RFC 3834 §2): a bounce, an answering machine, a list."""
    submitted = message.get("auto-submitted").partition(";")[0].strip().lower()
    bulk = message.get("precedence").strip().lower() in ("bulk", "junk", "list", "auto_reply")
    return not envelope.mail_from or submitted not in ("", "no") or bulk or bool(message.get("list-id"))


def _proven(domain: str, findings: Findings) -> bool:
    """Whether the tenant's domain vouches for the mail. Raises UnavailableError when that cannot be told now."""
    unknown = False
    for one in findings.auth:
        if one.method is AuthMethod.SPF:
            ours = one.domain == domain
        else:
            ours = one.method is AuthMethod.DKIM and aligned(one.domain, domain)
        if ours and one.outcome is AuthOutcome.PASS:
            return True
        unknown = unknown or (ours and one.outcome is AuthOutcome.TEMPERROR)
    if unknown or any(check in ("spf", "dkim") for check in findings.failed_checks):
        raise UnavailableError("SPF and DKIM of a report cannot be checked for now")
    return False


def _copies(message: Message) -> Iterator[Part]:
    """The mails that are attached, not those within them."""
    within: set[int] = set()
    for index, part in enumerate(message.parts):
        if part.parent in within:
            within.add(index)
        elif part.content_type in _COPIES or part.filename.lower().endswith(".eml"):
            within.add(index)
            yield part
