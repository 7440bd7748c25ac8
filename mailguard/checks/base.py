"""The contract of a check: what it is given (CheckContext) and what it must be (Check). Nothing here runs anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mailguard.core.envelope import Envelope, Session
from mailguard.core.verdict import CheckResult
from mailguard.message.parse import Message

if TYPE_CHECKING:
    from mailguard.net.dns import Resolver


@dataclass(frozen=True, slots=True)
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
