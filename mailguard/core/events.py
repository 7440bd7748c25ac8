"""The ledger: the closed set of states of a unit (an accepted RCPT whose DATA was completed), the moves between them, and the
MailEvent that records each. The trace, the usage, the audit and the bill all read these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mailguard.core.decision import Reason


class State(StrEnum):
    """Where a unit is now. Exactly one at any time."""

    FORWARDING = "forwarding"
    """Intent committed; the next hop is being asked in the sender's session."""
    DELIVERED = "delivered"
    SPOOLED = "spooled"
    """Durable in the queue: to be delivered, or being released."""
    HELD = "held"
    """Durable, waiting for a new scan."""
    QUARANTINED = "quarantined"
    RELEASED = "released"
    """Delivered out of quarantine."""
    DISCARDED = "discarded"
    BOUNCED = "bounced"
    """Given up, and the sender was told by a DSN."""
    UNDELIVERABLE = "undeliverable"
    """Given up, the sender may not be told: kept, and alerted."""
    EXPIRED = "expired"
    DELETED = "deleted"
    CANCELLED = "cancelled"
    PARKED = "parked"
    """Taken out of the queue after repeated crashes on it."""
    INTERRUPTED = "interrupted"
    """A crash came between intent and outcome; the sender had no 250 and tries again."""
    REJECTED = "rejected"
    """The sender heard 5yz after its data: nothing was kept."""
    DEFERRED = "deferred"
    """The sender heard 4yz after its data: nothing was kept."""

    @property
    def keeps_body(self) -> bool:
        """Whether the message's blob must exist while a unit is here."""
        return self in KEEPS_BODY


KEEPS_BODY = frozenset(
    {State.SPOOLED, State.HELD, State.QUARANTINED, State.UNDELIVERABLE, State.PARKED, State.RELEASED}
)
"""RELEASED too, until its retention ends: the client's server may lose what it took, and `release --again` brings it back."""

NEW: None = None
"""Stands for "no unit yet" in TRANSITIONS."""

_S = State
TRANSITIONS: Mapping[State | None, frozenset[State]] = {
    NEW: frozenset({_S.FORWARDING, _S.SPOOLED, _S.HELD, _S.QUARANTINED, _S.DISCARDED, _S.REJECTED, _S.DEFERRED}),
    _S.FORWARDING: frozenset(
        {_S.DELIVERED, _S.SPOOLED, _S.REJECTED, _S.DEFERRED, _S.BOUNCED, _S.UNDELIVERABLE, _S.INTERRUPTED}
    ),
    _S.INTERRUPTED: frozenset(
        {_S.DELIVERED, _S.SPOOLED, _S.BOUNCED, _S.UNDELIVERABLE}
    ),  # by the journal's replay alone
    _S.SPOOLED: frozenset(
        {_S.DELIVERED, _S.RELEASED, _S.QUARANTINED, _S.BOUNCED, _S.UNDELIVERABLE, _S.EXPIRED, _S.CANCELLED, _S.PARKED}
    ),
    _S.HELD: frozenset(
        {_S.SPOOLED, _S.QUARANTINED, _S.DISCARDED, _S.EXPIRED, _S.DELETED, _S.UNDELIVERABLE, _S.BOUNCED}
    ),
    _S.QUARANTINED: frozenset({_S.SPOOLED, _S.EXPIRED, _S.DELETED}),
    _S.UNDELIVERABLE: frozenset({_S.SPOOLED, _S.EXPIRED, _S.DELETED}),
    _S.PARKED: frozenset({_S.SPOOLED, _S.CANCELLED, _S.EXPIRED, _S.DELETED}),
    _S.RELEASED: frozenset({_S.SPOOLED, _S.EXPIRED, _S.DELETED}),  # `release --again`
    _S.DELIVERED: frozenset(),
    _S.DISCARDED: frozenset(),
    _S.BOUNCED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.DELETED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.DEFERRED: frozenset(),
}
"""Which state may follow which. The store refuses any other move."""


class EventKind(StrEnum):
    """What a MailEvent tells. STATE moves the unit; the others only add to its trace."""

    STATE = "state"
    ATTEMPT = "attempt"
    """One delivery attempt at a next hop, with the server's reply."""
    ACCESS = "access"
    """A person looked at a kept message (`quarantine show --raw`)."""
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class MailEvent:
    """One thing that happened to a unit. `at` is in milliseconds UTC; `detail` holds JSON-able facts of the kind."""

    unit: str
    at: int
    kind: EventKind
    reason: Reason
    to_state: State | None = None
    from_state: State | None = None
    actor: str = ""
    """Who caused it: empty for the relay itself, else the admin's name."""
    detail: Mapping[str, object] = field(default_factory=dict)
