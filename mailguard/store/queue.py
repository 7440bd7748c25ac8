"""The queue: which units are due, who holds them and until when. Outcomes go through the ledger, with the claim's fence.

A claim is a lease by the database's clock. It moves `due_at` to its end, so a lease that runs out makes the row due again
by itself; the next claim counts that as a crash and raises the fence, and the old holder's writes miss from then on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, tuple_, update

from mailguard.core.edits import Edit
from mailguard.core.envelope import MailOptions, RcptOptions
from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.events import MailEvent
from mailguard.core.verdict import Findings
from mailguard.store import schema
from mailguard.store.db import Database, now
from mailguard.store.findings import findings_from_json
from mailguard.store.ledger import note_in
from mailguard.store.texts import clean, edits_from_json, mail_options_from_json, rcpt_options_from_json

NEVER = 2**53
"""`due_at` of what an admin holds."""
SIBLINGS = 1_000
"""How many more rows of the claimed messages a claim may bring along."""

_queue = schema.queue


@dataclass(frozen=True, slots=True)
class Claim:
    """A unit that is ours to deliver until the lease ends, with what that takes. Times in milliseconds UTC.

    `crashes` counts leases that ran out without an outcome, this row's last one included.
    """

    unit: str
    message: str
    tenant: int
    domain: str
    purpose: str
    attempts: int
    crashes: int
    fence: int
    queued_at: int
    expires_at: int
    lease_until: int
    last_reply: str
    received_at: int
    size: int
    mail_from: str
    recipient: str
    mail_options: MailOptions
    rcpt_options: RcptOptions
    headers: str
    subject_tag: str = ""
    edits: tuple[Edit, ...] = ()
    """What is delivered is the body with these."""


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
        return await self._db.read(lambda connection: _claims(connection, units, _queue.c.holder == holder))

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


def claim_in(
    connection: Connection,
    holder: str,
    *,
    limit: int,
    lease_ms: int,
    besides: Collection[str] = (),
    without: Collection[str] = (),
) -> list[Claim]:
    """`QueueStore.claim` inside a transaction."""
    at = now(connection)
    chosen = _choose(connection, at, limit, besides, without)
    if not chosen:
        return []
    fields = {"holder": holder, "lease_until": at + lease_ms, "due_at": at + lease_ms}
    counted = {"fence": _queue.c.fence + 1, "crashes": _queue.c.crashes + case((_queue.c.holder != "", 1), else_=0)}
    connection.execute(update(_queue).where(_queue.c.unit.in_(chosen)).values(**fields, **counted))
    return _claims(connection, chosen)


def _choose(
    connection: Connection, at: int, limit: int, besides: Collection[str], without: Collection[str]
) -> list[str]:
    """Units of due rows, locked on PostgreSQL: an equal share for each tenant first, then whatever is oldest."""
    due = _queue.c.due_at <= at
    if without:
        due = and_(due, _queue.c.unit.not_in(sorted(without)))
    if besides:
        # Held mail waits for the scanner, not for a next hop.
        due = and_(due, or_(_queue.c.domain.not_in(sorted(besides)), _queue.c.purpose == "rescan"))
    first = select(func.min(_queue.c.due_at)).where(_queue.c.tenant == schema.tenants.c.id, due).scalar_subquery()
    turns = select(schema.tenants.c.id, first.label("first")).subquery()
    tenants = connection.scalars(
        select(turns.c.id).where(turns.c.first.is_not(None)).order_by(turns.c.first).limit(limit)
    ).all()
    chosen: dict[str, tuple[str, str]] = {}
    for turn, tenant in enumerate(tenants):
        share = -(-(limit - len(chosen)) // (len(tenants) - turn))  # what others left over is shared by the rest
        _take(connection, and_(due, _queue.c.tenant == tenant), chosen, share)
    if len(chosen) < limit:
        _take(connection, due, chosen, limit - len(chosen))
    if chosen:
        mails = sorted(set(chosen.values()))
        # By message, and in no order, or SQLite looks through all that is due.
        siblings = (
            _queue.c.message.in_({message for message, _ in mails}),
            tuple_(_queue.c.message, _queue.c.domain).in_(mails),
        )
        _take(connection, and_(due, *siblings), chosen, SIBLINGS, ordered=False)
    return list(chosen)


def _take(
    connection: Connection,
    where: ColumnElement[bool],
    chosen: dict[str, tuple[str, str]],
    limit: int,
    *,
    ordered: bool = True,
) -> None:
    statement = (
        select(_queue.c.unit, _queue.c.message, _queue.c.domain)
        .where(where, _queue.c.unit.not_in(list(chosen)))
        .order_by(*([_queue.c.due_at] if ordered else []))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    for row in connection.execute(statement):
        chosen[row.unit] = (row.message, row.domain)


def _claims(connection: Connection, units: Sequence[str], *conditions: ColumnElement[bool]) -> list[Claim]:
    of_message = schema.messages.c
    of_unit = schema.units.c
    rows = connection.execute(
        select(
            _queue,
            of_unit.recipient_raw,
            of_unit.options.label("rcpt_options"),
            of_unit.headers,
            of_unit.subject_tag,
            of_unit.edits,
            of_message.received_at,
            of_message.size,
            of_message.mail_from_raw,
            of_message.options.label("mail_options"),
        )
        .join(schema.units, of_unit.id == _queue.c.unit)
        .join(schema.messages, of_message.id == _queue.c.message)
        .where(_queue.c.unit.in_(units), *conditions)
        .order_by(_queue.c.queued_at, _queue.c.unit)
    )
    return [_claim(row) for row in rows]


def _claim(row: Any) -> Claim:
    return Claim(
        unit=row.unit,
        message=row.message,
        tenant=row.tenant,
        domain=row.domain,
        purpose=row.purpose,
        attempts=row.attempts,
        crashes=row.crashes,
        fence=row.fence,
        queued_at=row.queued_at,
        expires_at=row.expires_at,
        lease_until=row.lease_until,
        last_reply=row.last_reply,
        received_at=row.received_at,
        size=row.size,
        mail_from=row.mail_from_raw,
        recipient=row.recipient_raw,
        mail_options=mail_options_from_json(row.mail_options),
        rcpt_options=rcpt_options_from_json(row.rcpt_options),
        headers=row.headers,
        subject_tag=row.subject_tag,
        edits=edits_from_json(row.edits),
    )


def _still_ours(claims: Sequence[Claim]) -> ColumnElement[bool]:
    return tuple_(_queue.c.unit, _queue.c.fence).in_([(claim.unit, claim.fence) for claim in claims])


def _update_ours(connection: Connection, claims: Sequence[Claim], values: dict[str, Any]) -> list[Claim]:
    """Update the rows that the claims still hold; returns these claims."""
    if not claims:
        return []
    statement = update(_queue).where(_still_ours(claims)).values(**values).returning(_queue.c.unit)
    ours = set(connection.scalars(statement))
    return [claim for claim in claims if claim.unit in ours]


def renew_in(connection: Connection, claims: Sequence[Claim], *, lease_ms: int) -> list[Claim]:
    """`QueueStore.renew` inside a transaction."""
    until = now(connection) + lease_ms
    return _update_ours(connection, claims, {"lease_until": until, "due_at": until})


def reschedule_in(
    connection: Connection, claims: Sequence[Claim], *, due_at: int, reply: str, events: Sequence[MailEvent] = ()
) -> list[Claim]:
    """`QueueStore.reschedule` inside a transaction."""
    values = {"attempts": _queue.c.attempts + 1, "last_reply": clean(reply, 512), "crashes": 0}
    ours = _update_ours(connection, claims, {**_let_go(due_at), **values})
    units = {claim.unit for claim in ours}
    note_in(connection, [event for event in events if event.unit in units])
    return ours


def give_back_in(connection: Connection, claims: Sequence[Claim], *, due_at: int = 0) -> list[Claim]:
    """`QueueStore.give_back` inside a transaction."""
    return _update_ours(connection, claims, _let_go(due_at or now(connection)))


def _let_go(due_at: int) -> dict[str, Any]:
    # What an admin put on hold while it was being attempted is held from now on.
    return {"holder": "", "lease_until": 0, "due_at": case((_queue.c.held, NEVER), else_=due_at)}


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
    return _claims(connection, units)


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
