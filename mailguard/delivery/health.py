"""How next hops are: which are down and when each may be probed, and how many messages at once one is ready for.

Soft state of one process: losing it costs a few more probes, never mail.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from random import Random, SystemRandom

from mailguard.delivery.backoff import Backoff
from mailguard.net.smtp_pool import PoolKey


class Admission(Enum):
    """Whether a next hop may be asked now."""

    OPEN = auto()
    PROBE = auto()
    """It was down: this message finds out whether it still is, alone."""
    CLOSED = auto()


@dataclass(slots=True)
class _Hop:
    window: float
    failures: int = 0
    probe_at: float = 0.0
    probing: bool = False
    why: str = ""


class HopHealth:
    """Ask `admit` before a next hop, then tell one of `succeeded`, `failed` or `unknown` with the admission it gave.

    A hop is down from its first failure to its next success; meanwhile one message at a time probes it, at intervals
    that double from `first` to `most` seconds. `window` says how many messages at once the queue may send: `start` at
    first and after a failure, one more with each success, `widest` at most.
    """

    def __init__(
        self,
        *,
        first: float = 5.0,
        most: float = 300.0,
        start: int = 5,
        widest: int = 20,
        hops: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self._backoff = Backoff(round(first * 1000), round(most * 1000), random=random or SystemRandom())
        self._start = start
        self._widest = widest
        self._limit = hops
        self._clock = clock
        self._hops: OrderedDict[PoolKey, _Hop] = OrderedDict()

    def admit(self, key: PoolKey) -> Admission:
        """Whether the hop may be asked now. A PROBE is nobody else's until it is reported."""
        hop = self._hops.get(key)
        if hop is None or not hop.failures:
            return Admission.OPEN
        if hop.probing or self._clock() < hop.probe_at:
            return Admission.CLOSED
        hop.probing = True
        return Admission.PROBE

    def is_closed(self, key: PoolKey) -> bool:
        """Whether `admit` would say CLOSED."""
        hop = self._hops.get(key)
        return hop is not None and hop.failures > 0 and (hop.probing or self._clock() < hop.probe_at)

    def until_probe(self, key: PoolKey) -> float:
        """Seconds until it may be probed; 0 when that is now, or it is not down."""
        hop = self._hops.get(key)
        return max(0.0, hop.probe_at - self._clock()) if hop is not None and hop.failures else 0.0

    def succeeded(self, key: PoolKey) -> bool:
        """It conversed with us; whether it had been down before."""
        hop = self._hop(key)
        was_down = hop.failures > 0
        hop.failures, hop.probing = 0, False
        hop.window = min(self._widest, hop.window + 1)
        return was_down

    def failed(self, key: PoolKey, admission: Admission, *, why: str = "") -> None:
        """There was no conversation. Of many that fail at the same time only the first counts."""
        hop = self._hop(key)
        hop.why = why
        hop.window = self._start
        if admission is Admission.PROBE:
            hop.probing = False
        elif hop.failures:
            return
        hop.failures += 1
        hop.probe_at = self._clock() + self._backoff.wait(hop.failures) / 1000

    def why(self, key: PoolKey) -> str:
        """What was said of its last failure; empty when it is not down."""
        hop = self._hops.get(key)
        return hop.why if hop is not None and hop.failures else ""

    def unknown(self, key: PoolKey, admission: Admission) -> None:
        """It was not asked after all."""
        if admission is Admission.PROBE:
            self._hop(key).probing = False

    def window(self, key: PoolKey) -> int:
        """How many messages at once the queue may send it."""
        hop = self._hops.get(key)
        if hop is None:
            return self._start
        return 1 if hop.failures else int(hop.window)

    def _hop(self, key: PoolKey) -> _Hop:
        hop = self._hops.get(key)
        if hop is None:
            hop = self._hops[key] = _Hop(self._start)
            if len(self._hops) > self._limit:
                self._hops.popitem(last=False)
        else:
            self._hops.move_to_end(key)
        return hop
