"""Whether a recipient exists, as its domain wants it verified: no question, the tenant's list, or the next hop's word.

postmaster@ and abuse@ always pass. Unknown ones are refused; where nobody can tell, those that were known pass and the others
are deferred.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mailguard.core.address import is_special
from mailguard.core.decision import Reason
from mailguard.core.errors import UnavailableError
from mailguard.core.mailbox import Mailbox, mailboxes
from mailguard.core.reply import LOCAL_ERROR, Reply
from mailguard.core.tenant import Directory, Domain, Tenant, Verification
from mailguard.delivery.call_ahead import CallAhead, Source
from mailguard.delivery.forward import Asked
from mailguard.delivery.ldap_lookup import LdapLookups
from mailguard.net.smtp_values import Answer, Stage
from mailguard.ops.metrics import ErrorKind, Metrics, VerificationResult
from mailguard.store.db import Database
from mailguard.store.recipients import is_listed
from mailguard.store.verifications import Said, ServerAnswer

UNKNOWN = Reply(550, "5.1.1", "No such recipient here")
UNVERIFIED = Reply(
    451, "4.4.1", "The recipient's mail server cannot be asked now whether the address exists; please try again"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a recipient is not accepted, and what the sender hears."""

    reply: Reply
    reason: Reason


REFUSALS = {
    VerificationResult.UNKNOWN: Refusal(UNKNOWN, Reason.UNKNOWN_RECIPIENT),
    VerificationResult.UNVERIFIED: Refusal(UNVERIFIED, Reason.UNVERIFIED_RECIPIENT),
    VerificationResult.ERROR: Refusal(LOCAL_ERROR, Reason.LOCAL_ERROR),
}
"""All other results pass."""
NOT_YET = Refusal(Reply(451, "4.1.1", "No such recipient here yet; please try again"), Reason.UNKNOWN_RECIPIENT)
"""While a tenant's server is being set up (soft_bounce): its 5yz counts as 4yz here too."""

_BY_WORD = {
    Said.KNOWN: VerificationResult.KNOWN,
    Said.UNKNOWN: VerificationResult.UNKNOWN,
    Said.UNCLEAR: VerificationResult.UNCLEAR,
    Said.ACCEPTS_ANY: VerificationResult.ACCEPTS_ANY,
}
_STRENGTH = (
    VerificationResult.KNOWN,
    VerificationResult.ACCEPTS_ANY,
    VerificationResult.REMEMBERED,
    VerificationResult.UNCLEAR,
    VerificationResult.UNVERIFIED,
    VerificationResult.UNKNOWN,
)
"""Of the mailboxes that an address may mean the one that comes first here decides: who may exist is not refused."""


class Verifier:
    """Asked at RCPT. `memory`: look-ups of lists that this process keeps, until the directory changes."""

    def __init__(
        self,
        *,
        directory: Callable[[], Directory],
        db: Database,
        call_ahead: CallAhead,
        ldap: LdapLookups,
        metrics: Metrics,
        memory: int = 20_000,
    ) -> None:
        self._directory = directory
        self._db = db
        self._call_ahead = call_ahead
        self._ldap = ldap
        self._metrics = metrics
        self._limit = memory
        self._listed: OrderedDict[tuple[int, str], bool] = OrderedDict()
        self._version = -1

    async def verify(self, address: str, domain: Domain) -> Refusal | None:
        """Why `address` of `domain` is not accepted; None when it is. Never raises for what is away."""
        directory = self._directory()
        mode = directory.verification(domain)
        if mode is Verification.NONE:
            return None
        tenant = directory.tenants.get(domain.tenant)
        if is_special(address):
            result = VerificationResult.EXEMPT
        else:
            home = directory.mailboxes(domain)
            meant = mailboxes(address, domain=home.name, separators=tenant.separators if tenant else "")
            if mode is Verification.LIST:
                result = await self._by_list(meant, home, directory.version)
            else:
                source = None if mode is Verification.CALL_AHEAD else self._directory_of(tenant)
                result = await self._by_asking(meant, home, directory.version, source)
        self._metrics.verifications.labels(mode.value, result.value).inc()
        if result is VerificationResult.UNKNOWN and mode is Verification.CALL_AHEAD and tenant and tenant.soft_bounce:
            return NOT_YET
        return REFUSALS.get(result)

    def _directory_of(self, tenant: Tenant | None) -> Source:
        """Asks the tenant's directory server."""
        lookup = tenant.ldap if tenant else None
        return partial(self._ldap.ask, lookup) if lookup else _no_directory

    async def _by_asking(
        self, meant: Sequence[Mailbox], home: Domain, version: int, source: Source | None
    ) -> VerificationResult:
        best = VerificationResult.UNKNOWN
        for mailbox in meant:
            answer, counts = await self._call_ahead.said(mailbox, home, version=version, source=source)
            best = min(best, _of(answer, counts=counts), key=_STRENGTH.index)
            if best in (VerificationResult.KNOWN, VerificationResult.ACCEPTS_ANY):
                break
        return best

    async def _by_list(self, meant: Sequence[Mailbox], home: Domain, version: int) -> VerificationResult:
        if version != self._version:
            self._listed.clear()
            self._version = version
        key = (home.tenant, meant[-1].key)  # the whole address tells the others
        listed = self._listed.get(key)
        if listed is None:
            keys = [mailbox.key for mailbox in meant]
            try:
                listed = await self._db.read(lambda conn: is_listed(conn, home.tenant, keys))
            except UnavailableError:
                self._metrics.failed(ErrorKind.DATABASE)
                return VerificationResult.ERROR
            if version == self._version:
                self._listed[key] = listed
                if len(self._listed) > self._limit:
                    self._listed.popitem(last=False)
        return VerificationResult.KNOWN if listed else VerificationResult.UNKNOWN


async def _no_directory(addresses: Sequence[str]) -> Asked:
    return Asked((Answer(Stage.ROUTE, None, "no directory server is configured"),) * len(addresses))


def _of(answer: ServerAnswer | None, *, counts: bool) -> VerificationResult:
    """The result by what the server said; an answer that does not count by its age stands in for one that cannot be had."""
    if answer is not None and counts:
        return _BY_WORD[answer.said]
    if answer is not None and answer.said in (Said.KNOWN, Said.ACCEPTS_ANY):
        return VerificationResult.REMEMBERED
    return VerificationResult.UNVERIFIED
