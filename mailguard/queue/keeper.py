"""The leases of the claims that this worker has in its hands: renewed until they are let go, checked before content is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from mailguard.core.errors import ConflictError, UnavailableError
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import ErrorKind, Metrics
from mailguard.store.claims import Claim
from mailguard.store.queue import QueueStore

MARGIN = 0.25
"""Fraction of a lease that must be left for its claim to count as good without asking the database."""


class Keeper:
    """Keeps claims ours. A claim that was lost to another is let go, and noticed before its message's content is sent."""

    def __init__(
        self,
        queue: QueueStore,
        *,
        lease_ms: int,
        log: MailLog,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._lease_ms = lease_ms
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._good_until: dict[Claim, float] = {}

    def __len__(self) -> int:
        return len(self._good_until)

    @property
    def units(self) -> set[str]:
        """The units of the claims in hand."""
        return {claim.unit for claim in self._good_until}

    def keep(self, claims: Iterable[Claim], *, taken_at: float) -> None:
        """Keep these, which were claimed or enqueued no earlier than `taken_at` by this class's clock."""
        for claim in claims:
            self._good_until[claim] = taken_at + self._lease_ms / 1000

    def let_go(self, claims: Iterable[Claim]) -> None:
        """They are recorded, given back, or left to run out."""
        for claim in claims:
            self._good_until.pop(claim, None)

    async def ensure(self, claims: Sequence[Claim]) -> None:
        """Return when all are ours for a good while yet. Raises ConflictError when one was lost, UnavailableError."""
        enough = self._clock() + self._lease_ms / 1000 * MARGIN
        doubtful = [claim for claim in claims if self._good_until.get(claim, 0.0) < enough]
        if doubtful and len(await self._renew(doubtful)) < len(doubtful):
            raise ConflictError(f"{claims[0].message} was claimed by another worker meanwhile")

    async def run(self) -> None:
        """Renew for ever; to be cancelled."""
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            claims = list(self._good_until)
            try:
                if claims:
                    await self._renew(claims)
            except UnavailableError as error:  # they are ours until another takes them: go on trying
                self._metrics.failed(ErrorKind.DATABASE)
                self._log.unforeseen("queue", error=error)

    async def _renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        asked_at = self._clock()
        ours = await self._queue.renew(claims, lease_ms=self._lease_ms)
        for claim in ours:
            if claim in self._good_until:
                self._good_until[claim] = asked_at + self._lease_ms / 1000
        self.let_go(set(claims) - set(ours))
        return ours
