"""What a delivery attempt came to, and what follows from a first one in the sender's session: design as a table, all pure."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from enum import StrEnum

from mailguard.core.decision import Reason
from mailguard.core.reply import OK, Reply, sanitise
from mailguard.core.values import value
from mailguard.net.smtp_values import Answer, Stage

__all__ = [
    "FirstAttempt",
    "FirstMove",
    "Outcome",
    "OutcomeKind",
    "RecipientMove",
    "Stage",
    "classify",
    "hop_failed",
    "merge_outcomes",
    "passed_through",
]

REFUSAL_STAGES = frozenset({Stage.RCPT, Stage.DATA, Stage.CONTENT})
"""Where a 5xx is about the mail. Before, it is about us: our address is blocked, TLS or credentials are missing."""
ABOUT_US = frozenset({530, 534, 535, 538})
"""Codes that are about us at any stage: authentication or encryption required (RFC 4954 §6, RFC 3207 §4)."""


class OutcomeKind(StrEnum):
    """How an attempt ended for one recipient."""

    DELIVERED = "delivered"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"
    """The content was sent, or is on its way, and no reply has come yet."""


@value
class Outcome:
    """What one attempt came to for one recipient (its number in the envelope).

    `reply` is the server's, None when none came: `detail` then says why. `local`: the reply is ours, since the server
    does not offer what the message needs. `next_hop` and `ip` say who was asked last; `elapsed` is in seconds.
    `postponed`: nobody was asked, since the next hop is known to be down, or busy with others of ours. `dsn`: the server
    offers DSN (RFC 3461), so it was told what the sender asked for. `waited`: seconds from the end of the message's data to
    the reply, of what was delivered while its sender waited. Of an UNKNOWN one `final` resolves, within 10 minutes after
    the content, to what it came to after all.
    """

    recipient: int
    tenant: int
    kind: OutcomeKind
    stage: Stage
    reply: Reply | None = None
    detail: str = ""
    local: bool = False
    next_hop: str = ""
    ip: str = ""
    tls: str = ""
    elapsed: float = 0.0
    postponed: bool = False
    dsn: bool = False
    waited: float | None = None
    final: asyncio.Future[Outcome] | None = field(default=None, compare=False, repr=False)

    @property
    def refuses_us(self) -> bool:
        """A 5xx that is not about the mail: the client's configuration, which somebody must be told of."""
        return self.kind is OutcomeKind.TEMPORARY and self.reply is not None and self.reply.permanent

    @property
    def unprotected(self) -> bool:
        """What is asked of the next hop (TLS, DANE, our credentials) could not be had: somebody must be told of it.

        Opportunistic TLS that fails goes on in plaintext and does not come here.
        """
        return (
            self.kind is OutcomeKind.TEMPORARY
            and self.stage in (Stage.STARTTLS, Stage.AUTH)
            and (self.reply is None or (self.reply.transient and self.reply.code != 421))
        )

    @property
    def hop_failed(self) -> bool:
        """Whether the next hop itself is at fault: no conversation with it, or it is closing (421)."""
        return not self.postponed and hop_failed(self.kind, self.stage, self.reply)

    @property
    def reason(self) -> Reason:
        """The same in the ledger's words."""
        if self.kind is OutcomeKind.PERMANENT:
            return Reason.UNSUPPORTED_BY_NEXT_HOP if self.local else Reason.NEXT_HOP_REFUSED
        return _REASONS[self.kind]

    @property
    def text(self) -> str:
        """The reply, or why there is none, in one safe line."""
        return str(self.reply) if self.reply else sanitise(self.detail)

    def facts(self) -> Mapping[str, object]:
        """For the trace: what was asked of whom, and the answer."""
        facts = {
            "outcome": self.kind.value,
            "stage": self.stage.value,
            "next_hop": self.next_hop,
            "ip": self.ip,
            "tls": self.tls,
            "reply": str(self.reply) if self.reply else "",
            "error": sanitise(self.detail),
            "seconds": round(self.elapsed, 3),
            "latency_ms": "" if self.waited is None else round(self.waited * 1000),
        }
        return {name: value for name, value in facts.items() if value != ""}


_REASONS = {
    OutcomeKind.DELIVERED: Reason.NEXT_HOP_ACCEPTED,
    OutcomeKind.TEMPORARY: Reason.NEXT_HOP_UNAVAILABLE,
    OutcomeKind.UNKNOWN: Reason.OUTCOME_UNKNOWN,
}


def hop_failed(kind: OutcomeKind, stage: Stage, reply: Reply | None) -> bool:
    """Whether what one recipient heard, or did not hear, says that the next hop itself is at fault."""
    if kind is not OutcomeKind.TEMPORARY:
        return False
    if stage in REFUSAL_STAGES:
        return reply is not None and reply.code == 421
    return stage is not Stage.MAIL or reply is None or reply.code == 421


def classify(answer: Answer) -> OutcomeKind:
    """What a server's last answer means for the recipient.

    Only a 2yz after the final dot is a delivery. A 5yz from RCPT on is final, unless it is about us; before, only what
    is about this message: its size (RFC 1870 §6.1) or its need of SMTPUTF8 (RFC 6531 §3.5).
    """
    reply = answer.reply
    if reply is None:
        return OutcomeKind.TEMPORARY
    if answer.stage is Stage.CONTENT and 200 <= reply.code < 300:
        return OutcomeKind.DELIVERED
    if not reply.permanent or reply.code in ABOUT_US:
        return OutcomeKind.TEMPORARY
    if answer.local or (answer.stage is Stage.MAIL and reply.enhanced in ("5.3.4", "5.6.7")):
        return OutcomeKind.PERMANENT
    if answer.stage is Stage.RCPT and reply.code == 552 and reply.enhanced in ("", "5.5.3"):
        return OutcomeKind.TEMPORARY  # "too many recipients" of older servers: RFC 5321 §4.5.3.1.10
    return OutcomeKind.PERMANENT if answer.stage in REFUSAL_STAGES else OutcomeKind.TEMPORARY


class FirstMove(StrEnum):
    """What happens to a recipient after the attempt in the sender's session."""

    DELIVERED = "delivered"
    SPOOL = "spool"
    AWAIT = "await"
    """Spooled under our lease, while the reply is still awaited."""
    PASS_THROUGH = "pass_through"
    """Nothing is kept: the sender hears the next hop's 5xx."""
    FAILED = "failed"
    """The sender hears 250, so the DSN rule applies."""


@value
class RecipientMove:
    """The move of one recipient, and the outcome it follows from. `alert`: the client's server refuses us, not the mail."""

    recipient: int
    move: FirstMove
    outcome: Outcome

    @property
    def alert(self) -> bool:
        """Whether somebody must be told that the next hop refuses us."""
        return self.outcome.refuses_us


@value
class FirstAttempt:
    """What the sender hears, and what becomes of each recipient that was tried, in the order of the outcomes."""

    reply: Reply
    moves: tuple[RecipientMove, ...]


_MOVES = {
    OutcomeKind.DELIVERED: FirstMove.DELIVERED,
    OutcomeKind.TEMPORARY: FirstMove.SPOOL,
    OutcomeKind.PERMANENT: FirstMove.FAILED,
    OutcomeKind.UNKNOWN: FirstMove.AWAIT,
}


def merge_outcomes(
    outcomes: Sequence[Outcome], *, soft_bounce: Collection[int] = (), elsewhere: int = 0
) -> FirstAttempt:
    """One reply for all recipients of a first attempt.

    `soft_bounce` holds the tenants whose next hop's 5yz counts as 4yz. `elsewhere` counts the message's accepted
    recipients that were not forwarded (quarantined, held, discarded): the sender hears 250 for them already.
    """
    if outcomes and not elsewhere and len({outcome.tenant for outcome in outcomes}) == 1:
        refused = [_move(outcome, soft_bounce) is FirstMove.FAILED for outcome in outcomes]
        if all(refused):
            moves = tuple(RecipientMove(one.recipient, FirstMove.PASS_THROUGH, one) for one in outcomes)
            return FirstAttempt(passed_through(outcomes[0]), moves)
    return FirstAttempt(OK, tuple(RecipientMove(one.recipient, _move(one, soft_bounce), one) for one in outcomes))


def _move(outcome: Outcome, soft_bounce: Collection[int]) -> FirstMove:
    if outcome.kind is OutcomeKind.PERMANENT and not outcome.local and outcome.tenant in soft_bounce:
        return FirstMove.SPOOL
    return _MOVES[outcome.kind]


def passed_through(outcome: Outcome) -> Reply:
    """The next hop's 5yz as ours: its code, an enhanced code in any case (RFC 2034 §4), its text made safe."""
    assert outcome.reply is not None
    text = sanitise(outcome.reply.text) or "Refused by the recipient's mail server"
    return Reply(outcome.reply.code, outcome.reply.enhanced or "5.0.0", text)
