"""From the ledger's events to what tenants know of authors: a batch is read, then added up in one short transaction.

Whom an event is about says `units.found`, where the check `history` put the author of each mail and whether it was proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, or_, select, update

from mailguard.core.clock import DAY
from mailguard.core.correspondent import AUTHENTICATED, UNPROVEN
from mailguard.core.decision import Action
from mailguard.core.events import EventKind, State
from mailguard.core.names import name_key
from mailguard.store.bookmarks import advance, positions, settled_until
from mailguard.store.db import now
from mailguard.store.findings import result_from_json
from mailguard.store.schema import events, units
from mailguard.store.schema_history import correspondents, sender_domains
from mailguard.store.schema_service import complaints
from mailguard.store.statements import upserting
from mailguard.store.texts import clean

CHECK = "history"
"""The check whose first symbol in `units.found` names the author."""
BATCH = 200
"""Events that one batch reads."""
FORGOTTEN_AT_ONCE = 1_000
UNHEARD_DAYS = 30.0
"""After which authors are forgotten of whom nothing ever came through."""
_EVENT, _COMPLAINT = "history_event", "history_complaint"
_OUTCOMES = {
    State.DELIVERED.value: "delivered",
    State.RELEASED.value: "released",
    State.QUARANTINED.value: "quarantined",
}
_COUNTS = ("delivered", "released", "quarantined")
_BAD = ("spam", "virus")
"""Kinds of complaint (complaints.Kind) that speak against the author."""
_DOMAIN_LIMIT, _ADDRESS_LIMIT = 255, 320

Key = tuple[int, str, str]
"""Tenant, organisational domain, address (empty: all of the domain)."""


@dataclass(slots=True)
class Tally:
    """What is to be added to a correspondent's row. Times in milliseconds UTC."""

    name: str = ""
    first_at: int = 0
    last_at: int = 0
    days: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))

    def add(self, outcome: str, at: int, name: str) -> None:
        """One more mail."""
        self.counts[outcome] += 1
        self.first_at = min(self.first_at or at, at)
        self.last_at = max(self.last_at, at)
        self.name = name or self.name
        if outcome != "quarantined":
            self.days.add(at // DAY)


@dataclass(slots=True)
class Batch:
    """What a number of events and complaints come to. `before` and `after`: how far was read, by key in `meta`."""

    before: dict[str, int]
    after: dict[str, int]
    events: int = 0
    full: bool = False
    proven: dict[Key, Tally] = field(default_factory=dict)
    unproven: dict[Key, int] = field(default_factory=dict)
    reported: dict[Key, int] = field(default_factory=dict)
    domains: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def moves_on(self) -> bool:
        """Whether there was anything new."""
        return self.after != self.before

    @property
    def keys(self) -> set[tuple[int, str]]:
        """The domains, by tenant, of which more is known now."""
        return {key[:2] for table in (self.proven, self.unproven, self.reported) for key in table}


@dataclass(frozen=True, slots=True)
class _Author:
    proven: bool
    address: str
    domain: str
    name: str


def read_batch(connection: Connection, *, limit: int = BATCH) -> Batch:
    """The next events and complaints that were not counted yet."""
    before = positions(connection, (_EVENT, _COMPLAINT))
    batch = Batch(before, dict(before))
    until = settled_until(connection)
    wanted = or_(events.c.from_state.is_(None), events.c.to_state.in_(list(_OUTCOMES)))
    query = (
        select(events.c.id, events.c.at, events.c.from_state, events.c.to_state, *_UNIT)
        .join(units, units.c.id == events.c.unit)
        .where(events.c.id > before[_EVENT], events.c.kind == EventKind.STATE.value, wanted)
        .order_by(events.c.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    for row in rows:
        if row.at > until:
            break
        batch.after[_EVENT] = row.id
        batch.events += 1
        _count_event(batch, row)
    batch.full = batch.events == limit
    said = (
        select(complaints.c.id, complaints.c.at, complaints.c.kind, *_UNIT)
        .join(units, units.c.id == complaints.c.unit)
        .where(complaints.c.id > before[_COMPLAINT])
        .order_by(complaints.c.id)
        .limit(limit)
    )
    for one in connection.execute(said):
        # A complaint is about mail that was counted before it.
        if one.at > until or batch.full:
            break
        batch.after[_COMPLAINT] = one.id
        author = None if one.probe or one.kind not in _BAD else _author(one.found)
        if author is not None and author.proven:
            for address in (author.address, ""):
                key = one.tenant, author.domain, address
                batch.reported[key] = batch.reported.get(key, 0) + 1
    return batch


_UNIT = (units.c.tenant, units.c.found, units.c.action, units.c.probe)


def _count_event(batch: Batch, row: Any) -> None:
    author = None if row.probe else _author(row.found)
    if author is None:
        return
    first, last = batch.domains.get(author.domain, (row.at, row.at))
    batch.domains[author.domain] = min(first, row.at), max(last, row.at)
    outcome = _OUTCOMES.get(row.to_state)
    # What was delivered with a warning is no proof of being wanted.
    if outcome is None or (outcome == "delivered" and row.action != Action.DELIVER.value):
        return
    if author.proven:
        for address in (author.address, ""):
            tally = batch.proven.setdefault((row.tenant, author.domain, address), Tally())
            tally.add(outcome, row.at, author.name if address else "")
    elif outcome == "delivered":
        for address in (author.address, ""):
            key = row.tenant, author.domain, address
            batch.unproven[key] = batch.unproven.get(key, 0) + 1


def _author(found: str) -> _Author | None:
    """Who the check said the author is; None: nobody, or what it said is erased."""
    result = result_from_json(found, CHECK)
    for symbol in result.get("symbols", ()) if result else ():
        if symbol["name"] in (AUTHENTICATED, UNPROVEN):
            address, domain, *name = symbol.get("evidence") or ("", "")
            address, domain = clean(address), clean(domain)
            if 0 < len(domain) <= _DOMAIN_LIMIT and 0 < len(address) <= _ADDRESS_LIMIT:
                key = clean(name_key(name[0])) if name else ""
                return _Author(symbol["name"] == AUTHENTICATED, address, domain, key)
    return None


def write_batch(connection: Connection, batch: Batch) -> None:
    """Add a batch to what is known. Raises ConflictError when somebody else came first."""
    advance(connection, batch.before, batch.after)
    if batch.proven:
        _add_proven(connection, batch.proven)
    for column, counted in ((correspondents.c.unproven, batch.unproven), (correspondents.c.reported, batch.reported)):
        for one, count in sorted(counted.items()):
            connection.execute(update(correspondents).where(_is(one)).values({column: column + count}))
    if batch.domains:
        _add_domains(connection, batch.domains)


def _add_proven(connection: Connection, proven: Mapping[Key, Tally]) -> None:
    statement = upserting(connection, correspondents)
    new, old = statement.excluded, correspondents.c
    later = and_(new.days > 0, new.last_at > old.last_at)
    another_day = and_(new.days > 0, or_(old.days == 0, new.last_at // DAY > old.last_at // DAY))
    changed: dict[str, ColumnElement[object]] = {
        "name": case((new.name != "", new.name), else_=old.name),
        "last_at": case((later, new.last_at), else_=old.last_at),
        "days": old.days + case((another_day, new.days), else_=0),
        **{name: old[name] + new[name] for name in _COUNTS},
    }
    rows = [
        {
            "tenant": tenant,
            "domain": domain,
            "address": address,
            "name": tally.name,
            "first_at": tally.first_at,
            "last_at": tally.last_at,
            "days": len(tally.days),
            **tally.counts,
        }
        for (tenant, domain, address), tally in sorted(proven.items())  # one order for all: no deadlock
    ]
    upsert = statement.on_conflict_do_update(index_elements=["tenant", "domain", "address"], set_=changed)
    connection.execute(upsert, rows)


def _add_domains(connection: Connection, domains: Mapping[str, tuple[int, int]]) -> None:
    statement = upserting(connection, sender_domains)
    new, old = statement.excluded, sender_domains.c
    upsert = statement.on_conflict_do_update(
        index_elements=["domain"],
        set_={"last_at": new.last_at},
        where=new.last_at // DAY > old.last_at // DAY,
    )
    rows = [{"domain": name, "first_at": first, "last_at": last} for name, (first, last) in sorted(domains.items())]
    connection.execute(upsert, rows)


def forget_in(connection: Connection, *, days: float, limit: int = FORGOTTEN_AT_ONCE) -> int:
    """Remove some of what nothing came from for so many days, and of what nothing came through; how many rows."""
    at = now(connection)
    old = at - round(days * DAY)
    unheard = at - round(min(days, UNHEARD_DAYS) * DAY)
    table = correspondents.c
    gone = or_(table.last_at < old, and_(table.last_at < unheard, table.delivered == 0, table.released == 0))
    ids = connection.scalars(select(table.id).where(gone).order_by(table.last_at).limit(limit)).all()
    removed = connection.execute(delete(correspondents).where(table.id.in_(ids))).rowcount
    seen = sender_domains.c
    names = connection.scalars(select(seen.domain).where(seen.last_at < old).order_by(seen.last_at).limit(limit)).all()
    return removed + connection.execute(delete(sender_domains).where(seen.domain.in_(names))).rowcount


def _is(key: Key) -> ColumnElement[bool]:
    table = correspondents.c
    tenant, domain, address = key
    return and_(table.tenant == tenant, table.domain == domain, table.address == address)
