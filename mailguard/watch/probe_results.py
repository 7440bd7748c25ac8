"""Results of probes on their way into the database, and what they say now: each once, none of the future or of a closed month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from mailguard.core.clock import MINUTE, to_iso
from mailguard.core.errors import ConfigError, Problem
from mailguard.store import schema
from mailguard.store.billing_months import closings
from mailguard.store.engine import now
from mailguard.store.probes import ProbeResult, record
from mailguard.store.schema_service import probes
from mailguard.watch.probe_result import RunResult

AHEAD = MINUTE
"""Milliseconds that the clock of the place may be ahead of the database's."""


@dataclass(frozen=True, slots=True)
class Taken:
    """How many results were new, were there already, and came too late: what their month came to is on the bill."""

    new: int
    known: int
    late: int


@dataclass(frozen=True, slots=True)
class Latest:
    """The last result of a tenant (its name): when it began (ms UTC), and whether all was as it must be."""

    tenant: str
    at: int
    ok: bool


def take_in(conn: Connection, results: Sequence[tuple[str, RunResult]]) -> Taken:
    """Record results, each with the name of where it stands. Raises ConfigError with all that is wrong, and records none then."""
    at = now(conn)
    closed = max((closing.ends_at for closing in closings(conn)), default=0)
    tenants = {row.name: row.id for row in conn.execute(select(schema.tenants.c.name, schema.tenants.c.id))}
    problems, kept, late = [], [], 0
    for where, result in results:
        if result.tenant not in tenants:
            problems.append(Problem(where, f"there is no tenant {result.tenant!r}"))
        elif result.at > at + AHEAD:
            problems.append(
                Problem(where, f"lies in the future ({to_iso(result.at)}): set the clock of {result.place} right")
            )
        elif result.at < closed:
            late += 1
        else:
            kept.append(_row(result, tenants[result.tenant]))
    if problems:
        raise ConfigError(problems)
    new = record(conn, kept)
    return Taken(new, len(kept) - new, late)


def latest(conn: Connection) -> list[Latest]:
    """The last result of each tenant that is there and was ever probed."""
    tenants, mine = schema.tenants, probes.alias("mine")
    last = select(func.max(mine.c.at)).where(mine.c.tenant == tenants.c.id).correlate(tenants).scalar_subquery()
    query = (
        select(tenants.c.name, *(one for one in probes.c if one.name != "id"))
        .where(probes.c.tenant == tenants.c.id, probes.c.at == last, tenants.c.removed_at.is_(None))
        .order_by(tenants.c.name)
    )
    found: dict[str, Latest] = {}
    for row in conn.execute(query):
        well = row.up and False not in (row.delivered, row.virus_stopped, row.spam_stopped)
        before = found.get(row.name)  # from another place at the same moment
        found[row.name] = Latest(row.name, row.at, well and (before is None or before.ok))
    return list(found.values())


def _row(result: RunResult, tenant: int) -> ProbeResult:
    return ProbeResult(
        tenant,
        result.at,
        result.place,
        result.up,
        result.delivered,
        result.virus_stopped,
        result.spam_stopped,
        result.door_ms,
        result.delivery_ms,
        result.detail,
    )
