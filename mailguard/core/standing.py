"""How a sender stands with a tenant: what became of its mail, with old mail counting ever less. Values and arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from mailguard.core.clock import DAY, HOUR

HALF_LIFE = 30 * DAY
"""Time (ms) after which an outcome counts half."""
RECENT_HALF_LIFE = HOUR
USUAL_HALF_LIFE = 14 * DAY
"""The same for how many mails come: of late, and as a rule."""
_LN2 = 0.693147


class SenderKind(StrEnum):
    """What is taken for a sender."""

    NETWORK = "network"
    """Of the client: IPv4 /24, IPv6 /48."""
    DOMAIN = "domain"
    """An organisational domain that was authenticated."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One sender of a mail: `192.0.2.0/24`, or a domain in look-up form."""

    kind: SenderKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @classmethod
    def read(cls, text: str) -> Sender | None:
        """What `str` made; None when it is none."""
        kind, _, name = text.strip().partition(" ")
        if kind not in list(SenderKind) or not name or " " in name:
            return None
        return cls(SenderKind(kind), name)


class Outcome(StrEnum):
    """What became of a mail; each speaks for or against its sender."""

    CAME = "came"
    """It was taken in: counts for the volume alone."""
    DELIVERED = "delivered"
    KEPT = "kept"
    """Quarantined or refused as spam or malware."""
    RELEASED = "released"
    """Kept, and then wanted all the same."""
    REPORTED = "reported"
    """Delivered, and then reported as spam or worse."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts as they were at `last_at` (ms UTC), decayed until then; `first_at` is when the sender was first seen.

    `recent` and `usual` count all mails, by the half-lives of an hour and of a fortnight.
    """

    first_at: int
    last_at: int
    delivered: float = 0.0
    kept: float = 0.0
    released: float = 0.0
    reported: float = 0.0
    recent: float = 0.0
    usual: float = 0.0

    def at(self, now: int) -> Standing:
        """The same as it counts at `now`; a clock that was set back makes nothing grow."""
        age = max(0, now - self.last_at)
        if not age:
            return self
        factor = 0.5 ** (age / HALF_LIFE)
        return replace(
            self,
            last_at=now,
            delivered=self.delivered * factor,
            kept=self.kept * factor,
            released=self.released * factor,
            reported=self.reported * factor,
            recent=self.recent * 0.5 ** (age / RECENT_HALF_LIFE),
            usual=self.usual * 0.5 ** (age / USUAL_HALF_LIFE),
        )

    def plus(self, outcome: Outcome, now: int) -> Standing:
        """The same with one more outcome. What is released was kept before, what is reported delivered: it changes sides."""
        then = self.at(now)
        match outcome:
            case Outcome.CAME:
                return replace(then, recent=then.recent + 1, usual=then.usual + 1)
            case Outcome.DELIVERED:
                return replace(then, delivered=then.delivered + 1)
            case Outcome.KEPT:
                return replace(then, kept=then.kept + 1)
            case Outcome.RELEASED:
                return replace(then, kept=max(0.0, then.kept - 1), released=then.released + 1)
            case Outcome.REPORTED:
                return replace(then, delivered=max(0.0, then.delivered - 1), reported=then.reported + 1)

    @property
    def good(self) -> float:
        """Mails that reached somebody who did not complain."""
        return self.delivered + self.released

    @property
    def bad(self) -> float:
        """Mails that were kept or reported."""
        return self.kept + self.reported

    @property
    def mails(self) -> float:
        """All that the outcomes are about."""
        return self.good + self.bad

    @property
    def surge(self) -> float:
        """How many times as many mails come now as come as a rule, by the hour."""
        now, usual = self.recent * _LN2, self.usual * _LN2 * RECENT_HALF_LIFE / USUAL_HALF_LIFE
        return now / usual if usual > 0 else 0.0
