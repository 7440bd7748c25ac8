"""Greylisting: who sends what to whom for the first time must come again, as real mail servers do and many robots do not.

A sender is a network (IPv4 /24, IPv6 /64) and a MAIL FROM. Once enough senders of a network have come again, all of it is let
in. Only hashes are kept, per tenant, in the database: all workers and nodes know the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_network

from sqlalchemy import Connection, delete, select

from mailguard.core.address import normalise
from mailguard.core.clock import DAY, HOUR, MINUTE
from mailguard.store.db import Database, now
from mailguard.store.schema import greylist
from mailguard.store.statements import upserting

TOUCHED = HOUR
"""Milliseconds in which a sender that is let in is not noted again: a busy one costs a read a mail, and no write."""
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """One row: a sender's, or a network's (`passes` counts its senders then). Times in milliseconds UTC."""

    key: str
    first_at: int
    last_at: int
    passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GreylistSettings:
    """In milliseconds: `delay` before a new sender may come again, `window` in which it must, and how long one that did is
    remembered after its last mail (`remembered`). `auto_allow`: senders of a network after which all of it is let in.
    """

    delay: int = 5 * MINUTE
    window: int = 24 * HOUR
    remembered: int = 35 * DAY
    auto_allow: int = 5


class Greylist:
    """Asked at RCPT for tenants that have it switched on."""

    def __init__(self, db: Database, settings: GreylistSettings | None = None) -> None:
        self._db = db
        self._settings = settings or GreylistSettings()

    async def wait(self, tenant: int, client: IPv4Address | IPv6Address, mail_from: str, recipient: str) -> int:
        """How many milliseconds the sender must wait before it comes again; 0: it is let in. Raises UnavailableError."""
        network = network_of(client)
        keys = (_key(tenant, network), _key(tenant, network, normalise(mail_from), normalise(recipient)))
        settled = await self._db.read(lambda connection: self._peek(connection, keys))
        if settled is not None:
            return settled
        return await self._db.write(lambda connection: self._decide(connection, tenant, keys))

    async def forget(self) -> int:
        """Remove some of what need not be remembered any more; returns how much. For upkeep."""
        return await self._db.write(self._forget)

    def _peek(self, connection: Connection, keys: tuple[str, str]) -> int | None:
        """The answer when nothing needs to be noted for it."""
        at = now(connection)
        rows = _rows(connection, keys)
        for key in keys:
            row = rows.get(key)
            if row is not None and self._passes(row, keys, at):
                return 0 if at - row.last_at < TOUCHED else None
        row = rows.get(keys[1])
        waiting = row.first_at + self._settings.delay - at if row is not None else 0
        return waiting if waiting > 0 else None

    def _decide(self, connection: Connection, tenant: int, keys: tuple[str, str]) -> int:
        at = now(connection)
        rows = _rows(connection, keys)
        network, sender = (rows.get(key) for key in keys)
        if network is not None and self._passes(network, keys, at):
            _note(connection, tenant, replace(network, last_at=at))
            return 0
        if sender is None or (not self._passes(sender, keys, at) and at - sender.first_at > self._settings.window):
            _note(connection, tenant, _Seen(keys[1], at, at, 0))
            return self._settings.delay
        waiting = sender.first_at + self._settings.delay - at
        if waiting > 0 and not sender.passes:
            return waiting
        _note(connection, tenant, replace(sender, last_at=at, passes=sender.passes + 1))
        if not sender.passes:
            if network is None or not self._is_remembered(network, at):
                network = _Seen(keys[0], at, at, 0)
            _note(connection, tenant, replace(network, last_at=at, passes=network.passes + 1))
        return 0

    def _passes(self, row: _Seen, keys: tuple[str, str], at: int) -> bool:
        needed = self._settings.auto_allow if row.key == keys[0] else 1
        return row.passes >= needed and self._is_remembered(row, at)

    def _is_remembered(self, row: _Seen, at: int) -> bool:
        return at - row.last_at <= self._settings.remembered

    def _forget(self, connection: Connection) -> int:
        at, settings = now(connection), self._settings
        gone = select(greylist.c.key).where(
            (greylist.c.last_at < at - settings.remembered)
            | ((greylist.c.passes == 0) & (greylist.c.last_at < at - settings.window))
        )
        keys = connection.scalars(gone.order_by(greylist.c.last_at).limit(_BATCH)).all()
        return connection.execute(delete(greylist).where(greylist.c.key.in_(keys))).rowcount


def network_of(client: IPv4Address | IPv6Address) -> str:
    """What is taken for one sender: the servers of a provider take turns within it."""
    return str(ip_network((client, 24 if client.version == 4 else 64), strict=False))


def _key(tenant: int, *parts: str) -> str:
    return sha256("\0".join((str(tenant), *parts)).encode("utf-8", "surrogateescape")).hexdigest()


def _rows(connection: Connection, keys: tuple[str, str]) -> Mapping[str, _Seen]:
    columns = greylist.c
    query = select(columns.key, columns.first_at, columns.last_at, columns.passes).where(columns.key.in_(keys))
    return {row.key: _Seen(row.key, row.first_at, row.last_at, row.passes) for row in connection.execute(query)}


def _note(connection: Connection, tenant: int, seen: _Seen) -> None:
    changed = {"first_at": seen.first_at, "last_at": seen.last_at, "passes": seen.passes}
    statement = upserting(connection, greylist).values(key=seen.key, tenant=tenant, **changed)
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=changed))
