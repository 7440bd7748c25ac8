"""Probe results: what `mailguard probe` saw of the door, recorded from wherever it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.engine import Connection

from mailguard.store.engine import now
from mailguard.store.schema_service import probes
from mailguard.store.statements import upserting
from mailguard.store.texts import clean

_CHUNK = 500
"""Rows of one statement: SQLite takes 32,766 parameters at most."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One run of the probe for a tenant (its id). `at`: when it began, in milliseconds UTC; `place`: where it ran.

    `up`: the door took the clean mail. `delivered`, `virus_stopped` and `spam_stopped` say what became of the clean mail, of
    EICAR and of GTUBE; None where nobody looked. `door_ms`: milliseconds from the connection to the reply to the clean mail;
    `delivery_ms`: from the end of its data to its arrival. `detail`: replies and errors, for people.
    """

    tenant: int
    at: int
    place: str
    up: bool
    delivered: bool | None = None
    virus_stopped: bool | None = None
    spam_stopped: bool | None = None
    door_ms: int | None = None
    delivery_ms: int | None = None
    detail: str = ""


def record(conn: Connection, results: Sequence[ProbeResult]) -> int:
    """Keep results; how many were new. One that is there already (same tenant, time and place) stays as it is."""
    at, added = now(conn), 0
    rows = [
        {
            "tenant": result.tenant,
            "at": result.at,
            "place": clean(result.place, 64),
            "up": result.up,
            "delivered": result.delivered,
            "virus_stopped": result.virus_stopped,
            "spam_stopped": result.spam_stopped,
            "door_ms": result.door_ms,
            "delivery_ms": result.delivery_ms,
            "detail": clean(result.detail, 4_000),
            "recorded_at": at,
        }
        for result in sorted(results, key=lambda one: (one.tenant, one.at, one.place))
    ]
    for start in range(0, len(rows), _CHUNK):
        statement = upserting(conn, probes).values(rows[start : start + _CHUNK]).on_conflict_do_nothing()
        added += len(conn.execute(statement.returning(probes.c.id)).all())
    return added


def results(conn: Connection, tenant: int, *, start: int, end: int) -> list[ProbeResult]:
    """A tenant's results from `start` up to but not including `end` (ms UTC), in order."""
    query = (
        select(probes)
        .where(probes.c.tenant == tenant, probes.c.at >= start, probes.c.at < end)
        .order_by(probes.c.at, probes.c.place)
    )
    return [
        ProbeResult(
            row.tenant,
            row.at,
            row.place,
            bool(row.up),
            row.delivered,
            row.virus_stopped,
            row.spam_stopped,
            row.door_ms,
            row.delivery_ms,
            row.detail,
        )
        for row in conn.execute(query)
    ]
