"""The newest mail that a search means, by ways on which an index has it by time, so that only what is shown is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, select, true

from mailguard.core.events import State
from mailguard.store.matching import address_condition, as_domain, author_conditions
from mailguard.store.schema import addresses, messages, units

EACH_AT_MOST = 20
"""Addresses that are looked for one by one, each from its newest mail on; of more all mail is gathered first."""
GATHERED_AT_MOST = 1_000
"""Addresses whose mail is gathered; who has more has so much mail that it is met soon on the way through all, the newest first."""


@dataclass(frozen=True, slots=True)
class Way:
    """A condition, and the time by which an index has what fits it: the message's or the unit's, which are the same."""

    condition: ColumnElement[bool]
    at: ColumnElement[int]


def newest_units(
    conn: Connection,
    ways: Sequence[Way],
    conditions: Sequence[ColumnElement[bool]] = (),
    *,
    since: int = 0,
    until: int = 0,
    limit: int,
) -> list[str]:
    """Ids of the newest units on any of the ways that meet all conditions, the oldest first. Times in ms UTC, 0: open."""
    found: dict[str, int] = {}
    for way in ways:
        time = [*([way.at >= since] if since else []), *([way.at < until] if until else [])]
        query = select(units.c.id, way.at.label("at")).join(messages, messages.c.id == units.c.message)
        query = query.where(way.condition, *conditions, *time).order_by(way.at.desc()).limit(limit)
        found.update((row.id, row.at) for row in conn.execute(query))
    return sorted(found, key=lambda unit: (found[unit], unit))[-limit:]


def ways_to_all() -> list[Way]:
    """To all mail."""
    return [Way(true(), messages.c.received_at)]


def ways_to_tenant(tenant: int) -> list[Way]:
    """To a tenant's mail."""
    return [Way((units.c.tenant == tenant) & (units.c.state == state.value), units.c.received_at) for state in State]


def ways_to_recipient(conn: Connection, text: str) -> list[Way]:
    """To mail for an address or a domain."""
    domain = as_domain(text)
    if domain is not None:
        return [Way(units.c.domain == domain, units.c.received_at)]
    return _each(conn, units.c.recipient, address_condition(text), units.c.received_at)


def ways_from_sender(conn: Connection, text: str) -> list[Way]:
    """To mail by MAIL FROM or the From field: an address, a domain or `<>`."""
    by_author = [Way(condition, messages.c.received_at) for condition in author_conditions(text)]
    return [*_each(conn, messages.c.mail_from, address_condition(text), messages.c.received_at), *by_author]


def _each(
    conn: Connection, column: ColumnElement[int], wanted: ColumnElement[bool], at: ColumnElement[int]
) -> list[Way]:
    """A way for each address; one to all of them when they are many."""
    ids = conn.scalars(select(addresses.c.id).where(wanted).limit(GATHERED_AT_MOST + 1)).all()
    if len(ids) > GATHERED_AT_MOST:
        return [Way(exists().where(addresses.c.id == column, wanted), at)]
    if len(ids) > EACH_AT_MOST:
        return [Way(column.in_(ids), at)]
    return [Way(column == number, at) for number in ids]
