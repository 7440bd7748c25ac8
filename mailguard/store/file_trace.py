"""Who got a file: mail by the SHA-256 or the name of an attached file, or of one within it, as its findings tell. Reads only.

Findings have no index: what is read grows with the time that is asked about, some 4 s for half a million mails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from sqlalchemy import ColumnElement, select
from sqlalchemy.engine import Connection

from mailguard.core.events import State
from mailguard.store import schema
from mailguard.store.trace import TracedUnit, find_units, with_events

DELIVERED = (State.DELIVERED, State.RELEASED)
"""States of mail that its recipient has."""
_HASH = re.compile(r'"sha256": ?"([0-9a-f]{64})"')
_CHUNK = 500


def find_mail_with_file(
    conn: Connection,
    *,
    sha256: str = "",
    name: str = "",
    tenant: int | None = None,
    since: int = 0,
    until: int = 0,
    limit: int = 100,
) -> list[TracedUnit]:
    """The newest units with a file of this hash (hexadecimal), or whose name (with the path to it) contains `name`."""
    conditions = _scope(tenant, since, until)
    findings = schema.messages.c.findings
    if sha256:
        conditions.append(findings.contains(f'"{sha256.lower()}"'))
    if name:
        conditions.append(findings.contains(json.dumps(name)[1:-1], autoescape=True))
        found = find_units(conn, conditions, limit=limit)
        # The name may have stood elsewhere in the findings.
        fitting = [unit for unit in found if any(name in file.name for file in unit.findings.attachments)]
        return with_events(conn, fitting)
    return with_events(conn, find_units(conn, conditions, limit=limit))


def find_delivered_with_files(
    conn: Connection,
    is_wanted: Callable[[str], bool],
    *,
    tenant: int | None = None,
    since: int = 0,
    until: int = 0,
    limit: int = 100,
) -> list[TracedUnit]:
    """The newest units that were delivered with a file whose hash is wanted."""
    units, messages = schema.units, schema.messages
    conditions = [
        *_scope(tenant, since, until),
        units.c.state.in_([state.value for state in DELIVERED]),
        messages.c.findings.contains('"sha256"'),
    ]
    rows = conn.execute(
        select(units.c.id, messages.c.findings)
        .join(messages, messages.c.id == units.c.message)
        .where(*conditions)
        .order_by(units.c.received_at.desc(), units.c.id)
        .execution_options(yield_per=_CHUNK)
    )
    chosen: list[str] = []
    for row in rows:
        if any(map(is_wanted, _HASH.findall(row.findings))):
            chosen.append(row.id)
            if len(chosen) >= limit:
                break
    rows.close()
    found: list[TracedUnit] = []
    for start in range(0, len(chosen), _CHUNK):
        found += find_units(conn, [units.c.id.in_(chosen[start : start + _CHUNK])], limit=_CHUNK)
    return with_events(conn, sorted(found, key=lambda unit: (unit.received_at, unit.id)))


def _scope(tenant: int | None, since: int, until: int) -> list[ColumnElement[bool]]:
    # The time is asked of messages, whose findings are read: it has an index there. Units have the same one.
    received = schema.messages.c.received_at
    conditions: list[ColumnElement[bool]] = []
    if tenant is not None:
        conditions.append(schema.units.c.tenant == tenant)
    if since:
        conditions.append(received >= since)
    if until:
        conditions.append(received < until)
    return conditions
