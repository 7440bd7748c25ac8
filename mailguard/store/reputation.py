"""How senders stand with tenants: asked for each mail, and kept up from the ledger's events in batches, off the hot path.

Whom an event is about says `units.found`, where the check `reputation` put the senders of each mail. Soft state, of bounded
size, the same for all workers; only hashes of senders are kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, delete, func, select

from mailguard.core.clock import DAY
from mailguard.core.decision import Action, Reason
from mailguard.core.errors import ConflictError
from mailguard.core.events import EventKind, State
from mailguard.core.standing import Outcome, Sender, Standing
from mailguard.store.bookmarks import advance, positions, settled_until
from mailguard.store.db import Database, now
from mailguard.store.findings import result_from_json
from mailguard.store.schema import events, units
from mailguard.store.schema_reputation import reputation
from mailguard.store.schema_service import complaints
from mailguard.store.statements import upserting

CHECK = "reputation"
"""The check whose detail in `units.found` names the senders."""
BATCH = 500
"""Events of one batch."""
PAUSE = 0.05
"""Seconds between two batches: a long ledger that is read for the first time must not slow mail down."""
MOST = 50_000
"""Senders that are remembered of one tenant; the ones that were quiet longest go first."""
REMEMBERED = 180 * DAY
"""How long (ms) a sender is remembered after its last mail."""
_FORGOTTEN_AT_ONCE = 2_000
_EVENT, _COMPLAINT = "reputation_event", "reputation_complaint"
_SPAM = frozenset({Reason.SPAM_SCORE.value, Reason.MALWARE.value, Reason.REJECTED_FOR_OTHERS.value})
_REPORTS = ("spam", "virus")
"""Kinds of complaint (complaints.Kind) that speak against the sender."""
_BAD_MARKS = ("REPUTATION_BAD", "REPUTATION_NETWORK_BAD")
_COUNTS = tuple(one.name for one in fields(Standing))

Told = tuple[int, Sender, Outcome, int]
"""Tenant, sender, what became of its mail, when (ms UTC)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a number of events and complaints say. `before` and `after`: how far was read, by key in `meta`."""

    before: Mapping[str, int]
    after: Mapping[str, int]
    told: tuple[Told, ...] = ()
    full: bool = False


class Reputations:
    """Implements checks.reputation.Standings. One a worker; `record` and `forget` are one worker's work for all.

    What was read counts for `ttl` seconds, of `most` senders at most.
    """

    def __init__(self, db: Database, *, ttl: float = 60.0, most: int = 10_000) -> None:
        self._db = db
        self._ttl = ttl
        self._most = most
        self._read: OrderedDict[str, tuple[float, Standing | None]] = OrderedDict()

    async def standings(self, tenant: int, senders: Sequence[Sender]) -> dict[Sender, Standing]:
        """How those of `senders` stand that are known, as of their last mail. Raises UnavailableError."""
        at = time.monotonic()
        keys = {_key(tenant, sender): sender for sender in senders}
        missing = [key for key in keys if self._read.get(key, (0.0, None))[0] <= at]
        if missing:
            found = await self._db.read(lambda connection: _rows(connection, missing))
            for key in missing:
                self._read[key] = (at + self._ttl, found.get(key))
                self._read.move_to_end(key)
            while len(self._read) > self._most:
                self._read.popitem(last=False)
        known = {sender: self._read.get(key, (0.0, None))[1] for key, sender in keys.items()}
        return {sender: standing for sender, standing in known.items() if standing is not None}

    async def record(self) -> int:
        """Count what became of mail since the last time, all of it; how many outcomes. Raises UnavailableError."""
        total = 0
        while True:
            batch = await self._db.read(read_batch)
            if batch.after == batch.before:
                return total
            try:
                await self._db.write(partial(write_batch, batch=batch))
            except ConflictError:
                return total  # another worker was faster
            for tenant, sender, _, _ in batch.told:
                self._read.pop(_key(tenant, sender), None)
            total += len(batch.told)
            if not batch.full:
                return total
            await asyncio.sleep(PAUSE)

    async def forget(self) -> int:
        """Remove some of what need not be remembered; how many senders. Raises UnavailableError."""
        return await self._db.write(forget_in)


def read_batch(connection: Connection, *, limit: int = BATCH) -> Batch:
    """What the next events and complaints say that were not counted yet."""
    before = positions(connection, (_EVENT, _COMPLAINT))
    after = dict(before)
    until = settled_until(connection)
    told: list[Told] = []
    query = (
        select(events.c.id, events.c.at, events.c.from_state, events.c.to_state, events.c.reason, *_UNIT)
        .join(units, units.c.id == events.c.unit)
        .where(events.c.id > before[_EVENT], events.c.kind == EventKind.STATE.value)
        .order_by(events.c.id)
        .limit(limit)
    )
    read = 0
    for row in connection.execute(query):
        if row.at > until:
            break
        after[_EVENT] = row.id
        read += 1
        outcomes = [] if row.probe else _outcomes(row)
        if outcomes:
            told += [(row.tenant, sender, outcome, row.at) for sender in _senders(row.found) for outcome in outcomes]
    if read == limit:  # a complaint is about mail that was counted before it
        return Batch(before, after, tuple(told), full=True)
    said = (
        select(complaints.c.id, complaints.c.at, complaints.c.kind, *_UNIT)
        .join(units, units.c.id == complaints.c.unit)
        .where(complaints.c.id > before[_COMPLAINT])
        .order_by(complaints.c.id)
        .limit(limit)
    )
    for one in connection.execute(said):
        if one.at > until:
            break
        after[_COMPLAINT] = one.id
        if one.kind in _REPORTS and not one.probe:
            told += [(one.tenant, sender, Outcome.REPORTED, one.at) for sender in _senders(one.found)]
    return Batch(before, after, tuple(told))


_UNIT = (units.c.tenant, units.c.found, units.c.action, units.c.symbols, units.c.probe)


def _outcomes(row: Any) -> list[Outcome]:
    outcomes = []
    if row.from_state is None and row.to_state != State.DEFERRED.value:  # which comes again
        outcomes.append(Outcome.CAME)
    if row.to_state == State.DELIVERED.value and row.action == Action.DELIVER.value:
        outcomes.append(Outcome.DELIVERED)  # what went with a warning is no proof of being wanted
    elif row.to_state == State.RELEASED.value:
        outcomes.append(Outcome.RELEASED)
    elif row.to_state in (State.QUARANTINED.value, State.REJECTED.value) and row.reason in _SPAM and _judged(row):
        outcomes.append(Outcome.KEPT)
    return outcomes


def _judged(row: Any) -> bool:
    """Whether it was kept for what it is, and not for a bad reputation too: that must not feed on itself."""
    if row.reason == Reason.MALWARE.value or not any(mark in row.symbols for mark in _BAD_MARKS):
        return True
    return not any(name in _BAD_MARKS and points > 0 for name, points in json.loads(row.symbols))


def _senders(found: str) -> list[Sender]:
    """Whom the check named as the senders; none when it did not run, or what it said is erased."""
    result = result_from_json(found, CHECK)
    detail = result.get("detail", "") if result else ""
    return [sender for text in detail.split(";") if (sender := Sender.read(text)) is not None]


def write_batch(connection: Connection, batch: Batch) -> None:
    """Add a batch to what is known. Raises ConflictError when somebody else came first."""
    advance(connection, batch.before, batch.after)
    named = [(_key(tenant, sender), tenant, outcome, at) for tenant, sender, outcome, at in batch.told]
    known = _rows(connection, {key for key, *_ in named})
    of_tenant: dict[str, int] = {}
    for key, tenant, outcome, at in named:
        of_tenant[key] = tenant
        known[key] = known.get(key, Standing(at, at)).plus(outcome, at)
    if not of_tenant:
        return
    add = upserting(connection, reputation)
    changed = {name: add.excluded[name] for name in _COUNTS}
    rows = [
        {"key": key, "tenant": of_tenant[key], **{name: getattr(known[key], name) for name in _COUNTS}}
        for key in sorted(of_tenant)
    ]
    connection.execute(add.on_conflict_do_update(index_elements=["key"], set_=changed), rows)


def forget_in(connection: Connection, *, most: int = MOST) -> int:
    """Remove some of the senders that were quiet for long, and those of a tenant beyond `most`."""
    table = reputation.c
    old = select(table.key).where(table.last_at < now(connection) - REMEMBERED).limit(_FORGOTTEN_AT_ONCE)
    keys = list(connection.scalars(old))
    crowded = select(table.tenant, func.count()).group_by(table.tenant).having(func.count() > most)
    for tenant, count in connection.execute(crowded).all():
        quiet = select(table.key).where(table.tenant == tenant).order_by(table.last_at)
        keys += connection.scalars(quiet.limit(min(count - most, _FORGOTTEN_AT_ONCE)))
    removed = 0
    for start in range(0, len(keys), 500):
        removed += connection.execute(delete(reputation).where(table.key.in_(keys[start : start + 500]))).rowcount
    return removed


def _rows(connection: Connection, keys: Collection[str]) -> dict[str, Standing]:
    found: dict[str, Standing] = {}
    columns = [reputation.c[name] for name in _COUNTS]
    ordered = sorted(keys)
    for start in range(0, len(ordered), 500):
        query = select(reputation.c.key, *columns).where(reputation.c.key.in_(ordered[start : start + 500]))
        found.update({row[0]: Standing(*row[1:]) for row in connection.execute(query)})
    return found


def _key(tenant: int, sender: Sender) -> str:
    return sha256(f"{tenant}\0{sender.kind}\0{sender.name}".encode()).hexdigest()
