"""What goes into the ledger, as values: new messages and units, moves, places in the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailguard.core.decision import Decision, Reason
from mailguard.core.edits import Edit
from mailguard.core.envelope import MailOptions, Recipient, Session
from mailguard.core.events import State
from mailguard.core.verdict import CheckResult, Findings, ScoredSymbol

Fences = Mapping[str, int]
"""Of units that were put in the queue: the fence of their row, for one who holds it from the start."""
QUEUED = frozenset({State.SPOOLED, State.HELD})
"""States in which a unit has a row in the queue; in all others it has none."""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A unit's place in the queue. `purpose`: forward, release, dsn, report or rescan. Times in milliseconds UTC.

    With `holder` and `lease_until` the one who enqueues it holds it from the start (it still awaits a reply). `reply`: what a
    next hop said before, or why there was none.
    """

    purpose: str
    due_at: int
    expires_at: int
    holder: str = ""
    lease_until: int = 0
    reply: str = ""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message on its way into the ledger. `blob`: its body is already in the blob store under `id`."""

    id: str
    received_at: int
    session: Session
    mail_from: str
    options: MailOptions
    size: int
    sha256: str
    header_message_id: str = ""
    header_from: str = ""
    subject: str = ""
    findings: Findings = field(default_factory=Findings)
    blob: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that is in the ledger: what another unit of it takes."""

    id: str
    received_at: int
    size: int


@dataclass(frozen=True, slots=True)
class NewUnit:
    """One recipient of a new message, and where it starts. `headers`: the block put on top when it is delivered.

    `holder` is the worker's instance while FORWARDING; `queue` is given when, and only when, `state` is SPOOLED or HELD.
    """

    number: int
    recipient: Recipient
    state: State
    reason: Reason
    decision: Decision
    score: float = 0.0
    symbols: Sequence[ScoredSymbol] = ()
    headers: str = ""
    holder: str = ""
    queue: QueueEntry | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    probe: bool = False
    """Whether the mail is of `mailguard probe`: it is never billed."""
    probe_mark: str = ""
    """The id of the mark that says so, which is believed once; empty: `probe` alone says it."""
    found: Sequence[CheckResult] = ()
    """What the checks found that look with the tenant's eyes."""
    edits: Sequence[Edit] = ()
    """What is delivered is the message with these."""
    original_of: int = 0
    """The number of the unit that is delivered stripped, of which this one keeps the original: one mail in all that is counted."""


@dataclass(frozen=True, slots=True)
class Move:
    """One unit to another state.

    `size` in octets counts for the bill, 0: the message's. `queue` is given when, and only when, `to_state` is SPOOLED or
    HELD; its body must then be in the blob store, as for every state that keeps it. A unit that leaves such a state leaves
    the queue by itself; `dequeue` demands that it was there. `expected`: only from this state. `fence`: only while the
    queue row has it, that is while the caller's claim is good.
    """

    unit: str
    to_state: State
    reason: Reason
    actor: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    size: int = 0
    queue: QueueEntry | None = None
    dequeue: bool = False
    expected: State | None = None
    fence: int | None = None
