"""Surrogate ids of addresses: find or make them, with a small memory of the writer's that survives only what was committed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from mailguard.core.address import normalise
from mailguard.store.schema import addresses
from mailguard.store.statements import upserting
from mailguard.store.texts import clean

_MEMORY = "mailguard.addresses"
_AT_ONCE = 1_000
_MEMORY_SIZE = 20_000
_MEMORY_SECONDS = 300.0
"""Bounds how long an erased address may still get its old id, where nobody says that one was erased (Database.forget_addresses)."""


@dataclass(slots=True)
class _Memory:
    committed: dict[str, int] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)
    """What this transaction read or wrote: not to be believed before it is committed."""
    since: float = field(default_factory=time.monotonic)


def remember(connection: Connection, *, anew: bool = False) -> None:
    """Let `address_ids` remember on this connection; `settle` must be told how each transaction ends. `anew`: forget first."""
    memory = connection.info.get(_MEMORY)
    if (
        anew
        or memory is None
        or len(memory.committed) > _MEMORY_SIZE
        or time.monotonic() - memory.since > _MEMORY_SECONDS
    ):
        connection.info[_MEMORY] = _Memory()
    else:
        memory.fresh.clear()


def settle(connection: Connection, *, committed: bool) -> None:
    """The transaction was committed, or it or a part of it was undone."""
    memory: _Memory = connection.info[_MEMORY]
    if committed:
        memory.committed.update(memory.fresh)
    memory.fresh.clear()


def prepare(connection: Connection, raw: Iterable[str]) -> None:
    """Find or make the addresses of all works of a transaction, before the first of them.

    Two transactions that make the same new addresses each in its own order deadlock on PostgreSQL; in one order they only
    wait for each other.
    """
    address_ids(connection, raw)


def address_ids(connection: Connection, raw: Iterable[str]) -> dict[str, int]:
    """The id of each address, made when it is new; the keys are the addresses as given."""
    wanted = {address: clean(normalise(address), 320) for address in raw}
    memory: _Memory | None = connection.info.get(_MEMORY)
    known: dict[str, int] = {}
    missing: set[str] = set()
    for key in wanted.values():
        found = None if memory is None else memory.committed.get(key) or memory.fresh.get(key)
        if found is None:
            missing.add(key)
        else:
            known[key] = found
    ordered = sorted(missing)
    for start in range(0, len(ordered), _AT_ONCE):
        made = _find_or_make(connection, ordered[start : start + _AT_ONCE])
        known.update(made)
        if memory is not None:
            memory.fresh.update(made)
    return {address: known[key] for address, key in wanted.items()}


def _find_or_make(connection: Connection, keys: list[str]) -> dict[str, int]:
    found = _find(connection, keys)
    new = [{"address": key} for key in keys if key not in found]
    if new:
        connection.execute(upserting(connection, addresses).on_conflict_do_nothing(index_elements=["address"]), new)
        found |= _find(connection, [row["address"] for row in new])
    return found


def _find(connection: Connection, keys: list[str]) -> dict[str, int]:
    rows = connection.execute(select(addresses.c.address, addresses.c.id).where(addresses.c.address.in_(keys)))
    return {row.address: row.id for row in rows}
