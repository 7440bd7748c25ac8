"""What can be learned from a mail that was judged before: its content through the classifier anew, its sender as was recorded."""

from __future__ import annotations

from dataclasses import dataclass

from mailguard.checks.base import Check, CheckContext
from mailguard.core.envelope import Envelope, Session
from mailguard.core.verdict import Findings
from mailguard.learning.delta import Example
from mailguard.learning.traits import traits_of
from mailguard.message.parse import parse
from mailguard.net.dns import Resolver


@dataclass(frozen=True, slots=True)
class Read:
    """An example, and the model that made its features (empty: none did)."""

    example: Example
    model: str = ""


class Reader:
    """Reads mail as the running relay does. `classifier` is its check; None: only senders are learned."""

    def __init__(self, classifier: Check | None, *, resolver: Resolver, hostname: str, authserv_id: str) -> None:
        self._classifier = classifier
        self._resolver = resolver
        self._hostname = hostname
        self._authserv_id = authserv_id

    async def read(self, content: bytes, *, session: Session, envelope: Envelope, findings: Findings) -> Read:
        """What is to be learned from the octets of a mail as it came in. `findings`: those that were recorded of it."""
        message = parse(content)
        traits = traits_of(message, findings.auth)
        if self._classifier is None:
            return Read(Example(b"", traits))
        context = CheckContext(
            session=session,
            envelope=envelope,
            message=message,
            resolver=self._resolver,
            hostname=self._hostname,
            authserv_id=self._authserv_id,
        )
        result = await self._classifier.run(context, {result.check: result for result in findings.results})
        seen = result.classification
        return Read(Example(seen.features, traits), seen.model) if seen else Read(Example(b"", traits))
