"""Claims that travel together: one message, one tenant, one route, one header block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mailguard.core.edits import edited
from mailguard.core.envelope import Recipient
from mailguard.message.stamps import outgoing
from mailguard.store.claims import Claim

RESCAN = "rescan"
"""The purpose of held mail: it waits for a scanner, not for a next hop."""
FORWARD = "forward"
RELEASE = "release"
DSN = "dsn"
"""A report to a sender: of a failure, a delay, or that a mail was passed on (RFC 3464)."""
REPORT = "report"
"""A report to a client, of a month."""

LaneKey = tuple[int, str]
"""A tenant and a domain; tenant 0 and RESCAN for held mail."""


@dataclass(frozen=True, slots=True)
class Group:
    """Claims on units of one message for one next hop; of held mail, all units of the message."""

    claims: tuple[Claim, ...]

    @property
    def first(self) -> Claim:
        """Any of them, for what they have in common."""
        return self.claims[0]

    @property
    def lane(self) -> LaneKey:
        """Whose mail to where: what shares a next hop's patience."""
        return (0, RESCAN) if self.first.purpose == RESCAN else (self.first.tenant, self.first.domain)

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """As they go into the envelope, in the order of the claims."""
        return tuple(
            Recipient(claim.recipient, claim.tenant, claim.domain, claim.rcpt_options, number_of(claim.unit))
            for claim in self.claims
        )


def number_of(unit: str) -> int:
    """The recipient's number in a unit's id."""
    return int(unit.rpartition("-")[2])


def grouped(claims: Iterable[Claim]) -> list[Group]:
    """Claims as groups, in the order of their first ones."""
    groups: dict[tuple[object, ...], list[Claim]] = {}
    for claim in claims:
        key: tuple[object, ...] = (claim.message, RESCAN)
        if claim.purpose != RESCAN:
            key = (
                claim.message,
                claim.tenant,
                claim.domain,
                claim.purpose,
                claim.headers,
                claim.subject_tag,
                claim.edits,
            )
        groups.setdefault(key, []).append(claim)
    return [Group(tuple(group)) for group in groups.values()]


Compose = Callable[[Claim, bytes], Sequence[bytes]]
"""The message as it goes out, in chunks, from a claim and the original."""


def composer(authserv_id: str) -> Compose:
    """Makes the unit's edits, puts its header block on top of the original and its tag before the Subject; takes out what claims to be ours."""

    def compose(claim: Claim, original: bytes) -> Sequence[bytes]:
        original = edited(original, claim.edits)
        if not claim.headers:
            return (original,)  # a message of our own
        block = claim.headers.encode("utf-8", "surrogateescape")
        return outgoing(original, block, authserv_id=authserv_id, subject_tag=claim.subject_tag)

    return compose
