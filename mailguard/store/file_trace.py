"""Who got a file: mail by the SHA-256 or the name of an attached file, or of one within it. Reads only.

`message_files` tells. What it does not have is looked for in the findings themselves, which takes some 4 s for half a million
mails: mail older than the release that began it, and what the previous release recorded while both ran.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from mailguard.core.clock import DAY
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.verdict import Attachment
from mailguard.store import schema
from mailguard.store.findings import findings_from_json
from mailguard.store.trace import TracedUnit, units_of, with_events

DELIVERED = (State.DELIVERED, State.RELEASED)
"""States of mail that its recipient has."""
BOTH_RAN = (10 * 60_000, 60 * 60_000)
"""Milliseconds before and after an upgrade in which the previous release may have recorded mail, without its files apart."""
_FROM, _AT = "files_indexed_from", "files_indexed_at"
_ASKED = 20_000
"""Hashes that are looked up one by one; of more each file's is looked up among them."""
_CHUNK = 500


def files_known_since(conn: Connection) -> int:
    """From when on (ms UTC) all mail is found fast; 0: from the first."""
    return _indexed(conn)[0]


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
    files, findings = schema.message_files.c, schema.messages.c.findings
    sha256 = sha256.lower()
    indexed: list[ColumnElement[bool]] = []
    written: list[ColumnElement[bool]] = []
    if sha256:
        indexed.append(files.sha256 == sha256)
        written.append(findings.contains(f'"{sha256}"'))
    if name:
        place = func.strpos if conn.dialect.name == "postgresql" else func.instr
        indexed.append(place(files.name, name) > 0)
        written.append(findings.contains(json.dumps(name)[1:-1], autoescape=True))

    def fits(file: Attachment) -> bool:
        return (not sha256 or file.sha256 == sha256) and name in file.name

    scope = _scope(tenant, since, until)
    found = _first(conn.execute(_in_index([*indexed, *scope], since)), limit)
    found += _in_findings(conn, [*written, *scope], fits, (since, until), limit)
    return _shown(conn, found, limit)


def find_delivered_with_files(
    conn: Connection,
    hashes: Collection[str],
    *,
    tenant: int | None = None,
    since: int = 0,
    until: int = 0,
    limit: int = 100,
) -> list[TracedUnit]:
    """The newest units that were delivered with a file whose hash is one of `hashes` (hexadecimal)."""
    wanted, files = frozenset(hashes), schema.message_files.c
    scope = [*_scope(tenant, since, until), schema.units.c.state.in_([state.value for state in DELIVERED])]
    found: list[str] = []
    if len(wanted) <= _ASKED:
        asked = sorted(wanted)
        for start in range(0, len(asked), _CHUNK):
            some = files.sha256.in_(asked[start : start + _CHUNK])
            # In no order: to have the newest first, PostgreSQL reads all files from there on.
            found += conn.scalars(_in_index([some, *scope], since).order_by(None))
    else:
        query = _in_index([files.sha256 != "", *scope], since).add_columns(files.sha256)
        rows = conn.execute(query)
        found += _first((row for row in rows if row.sha256 in wanted), limit)
    some_file = [schema.messages.c.findings.contains('"sha256"'), *scope]
    found += _in_findings(conn, some_file, lambda file: file.sha256 in wanted, (since, until), limit)
    return _shown(conn, found, limit)


def _in_index(conditions: Sequence[ColumnElement[bool]], since: int) -> Select[tuple[str]]:
    """The units with a file in the index, by their messages' ids and so the newest first; one comes once for each such file."""
    files, units = schema.message_files, schema.units
    query = select(units.c.id).join(files, files.c.message == units.c.message).where(*conditions)
    if since:  # an id begins with the time at which its session asked for it
        query = query.where(files.c.message >= new_message_id(max(0, since - DAY))[:10])
    return query.order_by(files.c.message.desc()).execution_options(yield_per=_CHUNK)


def _in_findings(
    conn: Connection,
    conditions: Sequence[ColumnElement[bool]],
    fits: Callable[[Attachment], bool],
    time: tuple[int, int],
    limit: int,
) -> list[str]:
    """The units with such a file that the index may lack."""
    units, messages = schema.units, schema.messages
    found: list[str] = []
    for start, end in _unindexed(conn, *time):
        within = messages.c.received_at >= start, messages.c.received_at < end
        query = select(units.c.id, messages.c.findings).join(messages, messages.c.id == units.c.message)
        query = query.where(*conditions, *within).order_by(messages.c.received_at.desc())
        rows = conn.execute(query.execution_options(yield_per=_CHUNK))
        found += _first((row for row in rows if any(map(fits, findings_from_json(row.findings).attachments))), limit)
    return found


def _unindexed(conn: Connection, since: int, until: int) -> list[tuple[int, int]]:
    """The parts of a time whose mail may not be in the index, without those that are empty."""
    known_since, upgraded_at = _indexed(conn)
    before, after = BOTH_RAN
    parts = [(0, known_since), (max(known_since, upgraded_at - before), upgraded_at + after if upgraded_at else 0)]
    within = [(max(since, start), min(until, end) if until else end) for start, end in parts]
    return [(start, end) for start, end in within if start < end]


def _indexed(conn: Connection) -> tuple[int, int]:
    """From when on mail is in the index, and when the release that began it was put in; 0: since ever."""
    rows = conn.execute(select(schema.meta).where(schema.meta.c.key.in_([_FROM, _AT])))
    values = {row.key: int(row.value) for row in rows}
    return values.get(_FROM, 0), values.get(_AT, 0)


def _first(rows: Iterable[Sequence[Any]], limit: int) -> list[str]:
    """The first so many ids, each once."""
    found: dict[str, None] = {}
    for row in rows:
        found[row[0]] = None
        if len(found) == limit:
            break
    return list(found)


def _shown(conn: Connection, ids: Sequence[str], limit: int) -> list[TracedUnit]:
    """The newest of these units, with their events."""
    # Ids begin with the time; those of one millisecond are put in order by chance, everywhere in the same way.
    return with_events(conn, units_of(conn, sorted(set(ids))[-limit:]))


def _scope(tenant: int | None, since: int, until: int) -> list[ColumnElement[bool]]:
    units = schema.units.c
    conditions: list[ColumnElement[bool]] = []
    if tenant is not None:
        conditions.append(units.tenant == tenant)
    if since:
        conditions.append(units.received_at >= since)
    if until:
        conditions.append(units.received_at < until)
    return conditions
