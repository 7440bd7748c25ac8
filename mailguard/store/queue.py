"""The queue: which units are due, who holds them and until when. Outcomes go through the ledger, with the claim's fence.

A claim is a lease by the database's clock. It moves `due_at` to its end, so a lease that runs out makes the row due again
by itself; the next claim counts that as a crash and raises the fence, and the old holder's writes miss from then on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)

from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.events import MailEvent
from mailguard.core.verdict import Findings
from mailguard.store import schema
from mailguard.store.claims import Claim, claim_in, claims_in
from mailguard.store.db import Database, now
from mailguard.store.findings import findings_from_json
from mailguard.store.ledger import note_in
from mailguard.store.statements import run
from mailguard.store.texts import clean

NEVER = 2**53
"""`due_at` of what an admin holds."""

_queue = schema.queue


@dataclass(frozen=True, slots=True)
class Depth:
    """How much of a tenant waits for a purpose. `due`: of these, due now; `oldest_at`: when the oldest was queued."""

    tenant: int
    purpose: str
    count: int
    due: int
    held: int
    oldest_at: int


class QueueStore:
    """The queue's transactions. Every method raises UnavailableError when the database is away."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim(
        self,
        holder: str,
        *,
        limit: int,
        lease_ms: int,
        besides: Collection[str] = (),
        without: Collection[str] = (),
    ) -> list[Claim]:
        """Take up to `limit` due rows, a fair share of each tenant's, and the due siblings of the same message and domain.

        None of the domains in `besides`: their next hops are busy or down. None of the units in `without`, which the
        claimant has in hand: their leases may seem to have run out when the clock was set forward.
        """
        return await self._db.write(
            lambda connection: claim_in(
                connection, holder, limit=limit, lease_ms=lease_ms, besides=besides, without=without
            )
        )

    async def held(self, holder: str, units: Sequence[str]) -> list[Claim]:
        """The claims that `holder` has on units since he enqueued them as his (QueueEntry.holder)."""
        return await self._db.read(lambda connection: claims_in(connection, units, holder=holder))

    async def renew(self, claims: Sequence[Claim], *, lease_ms: int) -> list[Claim]:
        """Lengthen leases; returns those that are still ours (a lease that ran out is ours until another takes it)."""
        return await self._db.write(lambda connection: renew_in(connection, claims, lease_ms=lease_ms))

    async def reschedule(
        self, claims: Sequence[Claim], *, due_at: int, reply: str, events: Sequence[MailEvent] = ()
    ) -> list[Claim]:
        """After a failed attempt: due again at `due_at`, the attempt counted, `events` of these units noted.

        Returns those that were still ours; the others, and their events, are left out.
        """
        return await self._db.write(
            lambda connection: reschedule_in(connection, claims, due_at=due_at, reply=reply, events=events)
        )

    async def give_back(self, claims: Sequence[Claim], *, due_at: int = 0) -> list[Claim]:
        """Give up claims that were not attempted; no attempt and no crash is counted. `due_at` 0: at once."""
        return await self._db.write(lambda connection: give_back_in(connection, claims, due_at=due_at))

    async def postpone_domain(self, domain: str, *, until: int, tenant: int | None = None) -> int:
        """Nothing that waits for this domain's next hop is due before `until` (or its expiry); returns how many moved.

        `tenant`: only its mail, since next hops are known by tenant: mail of our own may be met otherwise.
        """
        return await self._db.write(
            lambda connection: postpone_domain_in(connection, domain, until=until, tenant=tenant)
        )

    async def hasten_domain(self, domain: str, *, limit: int = 1_000) -> int:
        """The next hop is back: what waits for it, what is due soonest first, is due now; returns how many moved."""
        return await self._db.write(lambda connection: hasten_domain_in(connection, domain, limit=limit))

    async def depth(self) -> list[Depth]:
        """How much waits, per tenant and purpose."""
        return await self._db.read(depth_in)

    async def next_due(self) -> int | None:
        """When the next row becomes due, in milliseconds UTC of the database's clock; None: the queue is empty."""
        return await self._db.read(next_due_in)

    async def late(self, *, before: int, limit: int) -> list[Claim]:
        """What was queued to be forwarded before a time, and no delay notice was decided about: oldest first, by message."""
        return await self._db.read(lambda connection: late_in(connection, before=before, limit=limit))

    async def findings(self, message: str) -> Findings:
        """What was found of a message, for the DSN rule. Raises NotFoundError."""
        return await self._db.read(lambda connection: findings_in(connection, message))


_OURS = and_(_queue.c.unit == bindparam("its_unit"), _queue.c.fence == bindparam("its_fence"))
_LET_GO = (
    update(_queue)
    .where(_OURS)
    .values(
        holder=literal_column("''"),
        lease_until=literal_column("0"),
        # What an admin put on hold while it was being attempted is held from now on.
        due_at=case((_queue.c.held, literal_column(str(NEVER))), else_=bindparam("due", type_=BigInteger)),
    )
)
_RESCHEDULE = _LET_GO.values(
    attempts=_queue.c.attempts + literal_column("1"), last_reply=bindparam("reply"), crashes=literal_column("0")
)
_RENEW = update(_queue).where(_OURS).values(lease_until=bindparam("until"), due_at=bindparam("until"))


def _update_ours(
    connection: Connection, claims: Sequence[Claim], statement: Update, values: Mapping[str, Any]
) -> list[Claim]:
    """Update the rows that the claims still hold; returns these claims.

    One by one and prepared: to build one statement for all of them cost as much as fifteen of these.
    """
    ours = set()
    for claim in sorted(claims, key=lambda claim: claim.unit):  # one order for all: no deadlock between two of these
        if run(connection, statement, {"its_unit": claim.unit, "its_fence": claim.fence, **values}).rowcount:
            ours.add(claim.unit)
    return [claim for claim in claims if claim.unit in ours]


def renew_in(connection: Connection, claims: Sequence[Claim], *, lease_ms: int) -> list[Claim]:
    """`QueueStore.renew` inside a transaction."""
    return _update_ours(connection, claims, _RENEW, {"until": now(connection) + lease_ms})


def reschedule_in(
    connection: Connection, claims: Sequence[Claim], *, due_at: int, reply: str, events: Sequence[MailEvent] = ()
) -> list[Claim]:
    """`QueueStore.reschedule` inside a transaction."""
    ours = _update_ours(connection, claims, _RESCHEDULE, {"due": due_at, "reply": clean(reply, 512)})
    units = {claim.unit for claim in ours}
    note_in(connection, [event for event in events if event.unit in units])
    return ours


def give_back_in(connection: Connection, claims: Sequence[Claim], *, due_at: int = 0) -> list[Claim]:
    """`QueueStore.give_back` inside a transaction."""
    return _update_ours(connection, claims, _LET_GO, {"due": due_at or now(connection)})


def _waiting(domain: str) -> ColumnElement[bool]:
    """Rows that wait for the domain's next hop: not being attempted, not held, and not for a scanner."""
    return and_(_queue.c.domain == domain, _queue.c.holder == "", ~_queue.c.held, _queue.c.purpose != "rescan")


def postpone_domain_in(connection: Connection, domain: str, *, until: int, tenant: int | None = None) -> int:
    """`QueueStore.postpone_domain` inside a transaction."""
    waiting = _waiting(domain) if tenant is None else and_(_waiting(domain), _queue.c.tenant == tenant)
    due_at = case((_queue.c.expires_at < until, _queue.c.expires_at), else_=until)
    # By the index: what was postponed already, up to 10^5 mails, is not looked at again.
    sooner = and_(_queue.c.due_at < until, _queue.c.due_at < due_at)
    statement = update(_queue).where(waiting, sooner).values(due_at=due_at)
    return connection.execute(statement).rowcount


def hasten_domain_in(connection: Connection, domain: str, *, limit: int) -> int:
    """`QueueStore.hasten_domain` inside a transaction."""
    at = now(connection)
    later = and_(_waiting(domain), _queue.c.due_at > at)
    # In the index's order: a part that has moved is not met again by those that follow.
    units = select(_queue.c.unit).where(later).order_by(_queue.c.due_at).limit(limit).with_for_update(skip_locked=True)
    found: Collection[str] = connection.scalars(units).all()
    return connection.execute(update(_queue).where(_queue.c.unit.in_(found)).values(due_at=at)).rowcount


def next_due_in(connection: Connection) -> int | None:
    """`QueueStore.next_due` inside a transaction."""
    found: int | None = connection.scalar(select(func.min(_queue.c.due_at)))
    return found


def late_in(connection: Connection, *, before: int, limit: int) -> list[Claim]:
    """`QueueStore.late` inside a transaction."""
    of_queue = _queue.c
    late = and_(of_queue.queued_at <= before, of_queue.purpose == "forward", ~of_queue.delay_told)
    units = connection.scalars(
        select(of_queue.unit).where(late).order_by(of_queue.queued_at, of_queue.unit).limit(limit)
    ).all()
    return claims_in(connection, units)


def tell_delay_in(connection: Connection, units: Sequence[str]) -> None:
    """Note that a delay notice was decided about these units.

    Raises ConflictError when one of them has left the queue, or it was decided already.
    """
    statement = update(_queue).where(_queue.c.unit.in_(units), ~_queue.c.delay_told).values(delay_told=True)
    if connection.execute(statement).rowcount != len(units):
        raise ConflictError("a unit has left the queue, or its sender was told already")


def depth_in(connection: Connection) -> list[Depth]:
    """`QueueStore.depth` inside a transaction."""
    at = now(connection)

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0))

    rows = connection.execute(
        select(
            _queue.c.tenant,
            _queue.c.purpose,
            func.count().label("rows"),
            count(or_(_queue.c.due_at <= at, and_(_queue.c.holder != "", ~_queue.c.held))).label("due"),
            count(_queue.c.held).label("held"),
            func.min(_queue.c.queued_at).label("oldest_at"),
        ).group_by(_queue.c.tenant, _queue.c.purpose)
    )
    return [Depth(row.tenant, row.purpose, row.rows, row.due, row.held, row.oldest_at) for row in rows]


def findings_in(connection: Connection, message: str) -> Findings:
    """`QueueStore.findings` inside a transaction."""
    text = connection.scalar(select(schema.messages.c.findings).where(schema.messages.c.id == message))
    if text is None:
        raise NotFoundError(f"no such mail: {message}")
    return findings_from_json(text)
