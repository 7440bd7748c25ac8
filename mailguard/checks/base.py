"""The contract of a check: what it is given (CheckContext) and what it must be (Check). Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mailguard.core.envelope import Envelope, Session
from mailguard.core.tenant import Tenant
from mailguard.core.values import value
from mailguard.core.verdict import CheckResult, Findings
from mailguard.message.parse import Message

if TYPE_CHECKING:
    from mailguard.net.dns import Resolver


@value
class CheckContext:
    """Everything a check may look at: one mail, whoever it is for, and the resolver to ask about it.

    `hostname` is our own name (SPF's %{r}); `authserv_id` is what our Authentication-Results carry (RFC 8601 §2.2).
    """

    session: Session
    envelope: Envelope
    message: Message
    resolver: Resolver
    hostname: str
    authserv_id: str


class Check(Protocol):
    """One check. `needs` names the checks whose results it is handed; all others run at the same time as it does.

    `run` may raise UnavailableError when what it relies on is away, and may take longer than there is time for: the runner
    makes both a visible TEMPERROR. It never blocks the event loop for long.

    One that waits for nobody (no DNS, no daemon, no other process) may have `waits = False`: such checks need no task each.
    For a large mail it runs in a thread, and so must change nothing but what is its own.
    """

    @property
    def name(self) -> str:
        """Its name in results, metrics and configuration, in lower case."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the checks that must have ended before it starts."""
        ...

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """Look at one mail. `results` holds those of `needs` that are configured."""
        ...


class TenantCheck(Protocol):
    """What is known of a mail only with regard to one tenant: whom it knows, whom it learned from.

    It runs once for each tenant of a mail, after all Checks, with what these found. It may ask the database; what it
    cannot find out in time is a visible TEMPERROR, as of a Check.
    """

    @property
    def name(self) -> str:
        """Its name in results and metrics, in lower case; of no Check."""
        ...

    async def run(self, tenant: Tenant, context: CheckContext, findings: Findings) -> CheckResult:
        """Look at one mail as `tenant` sees it. May raise UnavailableError."""
        ...
