"""Where a mail is and what happened to it: units with their events, and what was refused at the door. Reads only.

The strings are the senders' (subjects, addresses, replies): whoever shows them escapes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import ColumnElement, Row, Select, false, func, select
from sqlalchemy.engine import Connection

from mailguard.core.errors import NotFoundError
from mailguard.core.events import State
from mailguard.core.verdict import CheckResult, Findings
from mailguard.store import schema
from mailguard.store.findings import findings_from_json, results_from_json
from mailguard.store.matching import address_ids_of, as_domain, id_condition, recipient_condition, sender_condition
from mailguard.store.newest import Way, newest_units, ways_from_sender, ways_to_all, ways_to_recipient, ways_to_tenant
from mailguard.store.texts import clean

EVERYTHING = 1_000_000
"""A limit that stands for none."""
_CHUNK = 500
"""Ids in one IN list; SQLite took 999 parameters at most for long."""


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """What is looked for; empty fields do not matter.

    `sender` and `recipient` are an address, a domain (`b.example` or `@b.example`), or for the sender `<>`; `sender` is also
    compared with the From field. `id` is a message's or a unit's. `since` and `until` are in milliseconds UTC. At most
    `limit` units and as many refusals are found, the newest.
    """

    recipient: str = ""
    sender: str = ""
    header_message_id: str = ""
    id: str = ""
    tenant: int | None = None
    since: int = 0
    until: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class TracedEvent:
    """One MailEvent as it was recorded."""

    at: int
    kind: str
    reason: str
    from_state: str = ""
    to_state: str = ""
    actor: str = ""
    size: int = 0
    detail: Mapping[str, object] = field(default_factory=dict)


class Standing(StrEnum):
    """What a place in the queue waits for."""

    WAITING = "waiting"
    """For `due_at`."""
    UNDER_WAY = "under_way"
    """For the outcome of an attempt that is being made now."""
    ON_HOLD = "on_hold"
    """For an admin."""


@dataclass(frozen=True, slots=True)
class QueueRow:
    """Where a spooled or held unit stands in the queue."""

    purpose: str
    due_at: int
    expires_at: int
    attempts: int
    last_reply: str
    held: bool
    lease_until: int = 0
    """While it is being attempted: when whoever does so must have said what came of it."""

    def standing(self, now: int) -> Standing:
        """What it waits for at `now` (ms UTC)."""
        if self.lease_until > now:
            return Standing.UNDER_WAY
        return Standing.ON_HOLD if self.held else Standing.WAITING


@dataclass(frozen=True, slots=True)
class TracedUnit:
    """One accepted recipient of a message, with all that is known of it. `symbols` are (name, points) for its tenant."""

    id: str
    message: str
    tenant: int
    recipient: str
    domain: str
    mail_from: str
    state: str
    reason: str
    action: str
    score: float
    policy: str
    policy_hash: str
    explanation: str
    symbols: tuple[tuple[str, float], ...]
    received_at: int
    changed_at: int
    client_ip: str
    helo: str
    tls: str
    size: int
    sha256: str
    header_message_id: str
    header_from: str
    subject: str
    findings: Findings
    body: bool
    """Whether the message is still kept for this recipient; what is deleted counts as gone before its file is."""
    queue: QueueRow | None = None
    events: tuple[TracedEvent, ...] = ()
    probe: bool = False
    """Whether it is of `mailguard probe`."""
    found: tuple[CheckResult, ...] = ()
    """What the checks found that look with the tenant's eyes."""
    original_of: str = ""
    """The unit that was delivered stripped, of which this one keeps the original."""

    @property
    def at(self) -> int:
        """When it was received."""
        return self.received_at


@dataclass(frozen=True, slots=True)
class TracedRefusal:
    """Something refused before its DATA was completed, or `count` things alike.

    What came too fast, or was nobody's, is counted without its addresses: they are None, and `at` is when counting began.
    """

    at: int
    tenant: int | None
    reason: str
    code: int
    reply: str
    client_ip: str
    helo: str
    mail_from: str | None
    recipient: str | None
    count: int


TraceRow = TracedUnit | TracedRefusal


def search(conn: Connection, query: TraceQuery) -> list[TraceRow]:
    """What the relay saw that matches, the oldest first, units with their events and place in the queue."""
    units = with_events(conn, units_of(conn, _newest(conn, query)))
    rows: list[TraceRow] = [*units, *_refusals(conn, query)]
    return sorted(rows, key=lambda row: row.at)


def unnamed_refusals(conn: Connection, query: TraceQuery) -> int:
    """How many refusals of the query's time and tenant were counted without addresses, so that `search` may miss them."""
    refusals = schema.refusals
    conditions = [refusals.c.recipient.is_(None), refusals.c.mail_from.is_(None), *_refusal_scope(query)]
    return int(conn.execute(select(func.coalesce(func.sum(refusals.c.count), 0)).where(*conditions)).scalar_one())


def find_units(
    conn: Connection, conditions: Sequence[ColumnElement[bool]], *, limit: int, oldest: bool = False
) -> list[TracedUnit]:
    """The newest (or oldest) units with these conditions on `units` and `messages`, without events; the oldest first."""
    units, messages, queue = schema.units, schema.messages, schema.queue
    # What is sorted are ids: whole rows are wide.
    query = select(units.c.id).join(messages, messages.c.id == units.c.message)
    query = query.outerjoin(queue, queue.c.unit == units.c.id).where(*conditions)
    order = units.c.received_at
    query = query.order_by(*((order, units.c.id) if oldest else (order.desc(),))).limit(limit)
    return units_of(conn, conn.scalars(query).all())


def units_of(conn: Connection, ids: Sequence[str]) -> list[TracedUnit]:
    """The units of these ids, without events; the oldest first."""
    found = []
    for start in range(0, len(ids), _CHUNK):
        query = _unit_query().where(schema.units.c.id.in_(ids[start : start + _CHUNK]))
        found += [_unit(row) for row in conn.execute(query)]
    return sorted(found, key=lambda unit: (unit.received_at, unit.id))


def with_events(conn: Connection, units: Sequence[TracedUnit]) -> list[TracedUnit]:
    """The same units with their events, in the order in which these were recorded."""
    events: dict[str, list[TracedEvent]] = {}
    ids = [unit.id for unit in units]
    table = schema.events
    for start in range(0, len(ids), _CHUNK):
        chosen = table.c.unit.in_(ids[start : start + _CHUNK])
        for row in conn.execute(select(table).where(chosen).order_by(table.c.id)):
            events.setdefault(row.unit, []).append(
                TracedEvent(
                    row.at,
                    row.kind,
                    row.reason,
                    row.from_state or "",
                    row.to_state or "",
                    row.actor,
                    row.size,
                    _object(row.detail),
                )
            )
    return [replace(unit, events=tuple(events.get(unit.id, ()))) for unit in units]


def look_up(conn: Connection, ids: Sequence[str]) -> list[TracedUnit]:
    """The units of these unit or message ids, in any state, each once. Raises NotFoundError naming those that are not there."""
    found: dict[str, TracedUnit] = {}
    missing = []
    for text in ids:
        condition = id_condition(text)
        units = find_units(conn, [condition], limit=EVERYTHING, oldest=True) if condition is not None else []
        if not units:
            missing.append(text)
        found.update((unit.id, unit) for unit in units)
    if missing:
        raise NotFoundError(f"no mail has the id {', '.join(missing)}")
    return list(found.values())


def choose(conn: Connection, ids: Sequence[str], *, states: frozenset[State]) -> list[TracedUnit]:
    """The units that an admin means by these ids: a unit's id means it alone, a message's all of its units in `states`.

    Of a message that has none in `states` all units are returned, so that the caller can say what became of them. Raises
    NotFoundError.
    """
    chosen: dict[str, TracedUnit] = {}
    for text in ids:
        units = look_up(conn, [text])
        fitting = [unit for unit in units if State(unit.state) in states]
        chosen.update((unit.id, unit) for unit in (fitting or units))
    return list(chosen.values())


# --- conditions ------------------------------------------------------------------------------------------------------


def _newest(conn: Connection, query: TraceQuery) -> list[str]:
    """The ids of the units that are meant: found by what is likely to narrow them most, the rest being conditions on these."""
    units, messages = schema.units.c, schema.messages.c
    criteria: list[tuple[ColumnElement[bool], Callable[[], list[Way]]]] = []
    if query.id:
        by_id = id_condition(query.id)
        chosen = false() if by_id is None else by_id
        criteria.append((chosen, lambda: [Way(chosen, units.received_at)]))
    if query.header_message_id:
        bare = clean(query.header_message_id.strip().strip("<>"))
        named = messages.header_message_id.in_([bare, f"<{bare}>"])
        criteria.append((named, lambda: [Way(named, messages.received_at)]))
    if query.sender:
        criteria.append((sender_condition(query.sender), lambda: ways_from_sender(conn, query.sender)))
    if query.recipient:
        to = recipient_condition(query.recipient), lambda: ways_to_recipient(conn, query.recipient)
        # A sender writes to few of our recipients, but to many of a domain.
        place = len(criteria) if as_domain(query.recipient) or not query.sender else len(criteria) - 1
        criteria.insert(place, to)
    if query.tenant is not None:
        tenant = query.tenant
        criteria.append((units.tenant == tenant, lambda: ways_to_tenant(tenant)))
    ways = criteria[0][1]() if criteria else ways_to_all()
    conditions = [condition for condition, _ in criteria[1:]]
    return newest_units(conn, ways, conditions, since=query.since, until=query.until, limit=query.limit)


def _refusal_scope(query: TraceQuery) -> list[ColumnElement[bool]]:
    refusals = schema.refusals
    conditions: list[ColumnElement[bool]] = []
    if query.tenant is not None:
        conditions.append(refusals.c.tenant == query.tenant)
    if query.since:
        conditions.append(refusals.c.at >= query.since)
    if query.until:
        conditions.append(refusals.c.at < query.until)
    return conditions


def _refusals(conn: Connection, query: TraceQuery) -> list[TracedRefusal]:
    if query.id or query.header_message_id:
        return []  # refused before there was an id or a header
    refusals = schema.refusals
    sender, recipient = schema.addresses.alias("sender"), schema.addresses.alias("recipient")
    conditions = _refusal_scope(query)
    if query.recipient:
        conditions.append(refusals.c.recipient.in_(address_ids_of(query.recipient)))
    if query.sender:
        conditions.append(refusals.c.mail_from.in_(address_ids_of(query.sender)))
    statement = (
        select(refusals, sender.c.address.label("sender_address"), recipient.c.address.label("recipient_address"))
        .outerjoin(sender, sender.c.id == refusals.c.mail_from)
        .outerjoin(recipient, recipient.c.id == refusals.c.recipient)
        .where(*conditions)
        .order_by(refusals.c.at.desc(), refusals.c.id.desc())
        .limit(query.limit)
    )
    found = [
        TracedRefusal(
            row.at,
            row.tenant,
            row.reason,
            row.code,
            row.reply,
            row.client_ip,
            row.helo,
            row.sender_address,
            row.recipient_address,
            row._mapping["count"],
        )
        for row in conn.execute(statement)
    ]
    return found[::-1]


# --- rows to values --------------------------------------------------------------------------------------------------


def _unit_query() -> Select[tuple[object, ...]]:
    units, messages, queue = schema.units, schema.messages, schema.queue
    return (
        select(
            units,
            *(messages.c[name] for name in ("mail_from_raw", "client_ip", "helo", "tls", "size", "sha256")),
            *(messages.c[name] for name in ("header_message_id", "header_from", "subject", "findings", "blob")),
            queue.c.unit.label("queued"),
            queue.c.holder.label("queue_holder"),
            *(
                queue.c[name]
                for name in ("purpose", "due_at", "expires_at", "attempts", "last_reply", "held", "lease_until")
            ),
        )
        .join(messages, messages.c.id == units.c.message)
        .outerjoin(queue, queue.c.unit == units.c.id)
    )


def _unit(row: Row[tuple[object, ...]]) -> TracedUnit:
    value = row._mapping
    queue = None
    if value["queued"] is not None:
        queue = QueueRow(
            value["purpose"],
            value["due_at"],
            value["expires_at"],
            value["attempts"],
            value["last_reply"],
            bool(value["held"]),
            value["lease_until"] if value["queue_holder"] else 0,
        )
    same = (
        "id message tenant domain state reason action score policy policy_hash explanation received_at changed_at client_ip "
        "helo tls size sha256 header_message_id header_from subject original_of"
    )
    return TracedUnit(
        **{name: value[name] for name in same.split()},
        recipient=value["recipient_raw"],
        mail_from=value["mail_from_raw"],
        symbols=tuple((str(name), float(points)) for name, points in _array(value["symbols"])),
        findings=findings_from_json(value["findings"]),
        body=bool(value["blob"]) and State(value["state"]).keeps_body,
        queue=queue,
        probe=bool(value["probe"]),
        found=results_from_json(value["found"]),
    )


def _object(text: str) -> Mapping[str, object]:
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}


def _array(text: str) -> list[tuple[object, float]]:
    value = json.loads(text or "[]")
    return [(entry[0], entry[1]) for entry in value if isinstance(entry, list) and len(entry) >= 2]
