"""What tenants know of authors: asked for each mail, and kept up from the ledger's events, off the hot path.

Nothing here is needed to be right about a mail: what is lost or comes late makes a known author a stranger, no more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, String, bindparam, literal, or_, select, union_all

from mailguard.core.correspondent import Acquaintance, Correspondent
from mailguard.core.errors import ConflictError
from mailguard.store.db import Database
from mailguard.store.history_events import forget_in, read_batch, write_batch
from mailguard.store.schema import meta
from mailguard.store.schema_history import correspondents, sender_domains

NAMESAKES = 4
"""Other addresses of one name that are looked at, those that wrote last."""
SINCE = "history_since"
"""The key in `meta` of when remembering began."""
_COLUMNS = tuple(one.name for one in fields(Correspondent))
_OWN, _NAMESAKE, _DOMAIN = 0, 1, 2


class History:
    """Implements checks.history.Correspondents. One a worker; `record` and `forget` are one worker's work for all."""

    def __init__(self, db: Database, *, days: float = 180.0, ttl: float = 60.0, most: int = 10_000) -> None:
        """`days`: after an author's last mail it is forgotten.

        What was read counts for `ttl` seconds, of `most` domains at most; what this worker records counts at once.
        """
        self._db = db
        self._days = days
        self._ttl = ttl
        self._most = most
        self._read: dict[tuple[int, str], dict[tuple[str, str], tuple[float, Acquaintance]]] = {}
        self._since: int | None = None

    async def known(self, tenant: int, *, address: str, domain: str, name: str) -> Acquaintance:
        """What is known of an author. `domain` is the organisational one, `name` a core.names.name_key. Raises UnavailableError."""
        now = time.monotonic()
        kept = self._read.get((tenant, domain))
        if kept is not None:
            found = kept.get((address, name))
            if found is not None and found[0] > now:
                return found[1]
        answer = await self._db.read(lambda connection: self._ask(connection, tenant, address, domain, name))
        self._keep((tenant, domain), (address, name), (now + self._ttl, answer))
        return answer

    def _ask(self, connection: Connection, tenant: int, address: str, domain: str, name: str) -> Acquaintance:
        if self._since is None:
            self._since = int(connection.scalar(select(meta.c.value).where(meta.c.key == SINCE)) or 0)
        author: Correspondent | None = None
        whole: Correspondent | None = None
        namesakes: list[Correspondent] = []
        since = 0
        asked = {"tenant": tenant, "domain": domain, "address": address, "name": name}
        for row in connection.execute(_WITH_NAMESAKES if name else _BY_ADDRESS, asked):
            kind, one = row[0], Correspondent(*row[1:])
            if kind == _DOMAIN:
                since = one.first_at
            elif kind == _NAMESAKE:
                namesakes.append(one)
            elif one.address:
                author = one
            else:
                whole = one
        return Acquaintance(author, whole, tuple(namesakes), since, self._since)

    def _keep(self, key: tuple[int, str], author: tuple[str, str], found: tuple[float, Acquaintance]) -> None:
        if key not in self._read and len(self._read) >= self._most:
            del self._read[next(iter(self._read))]
        kept = self._read.setdefault(key, {})
        if len(kept) >= 100:  # of a freemail domain, say
            del kept[next(iter(kept))]
        kept[author] = found

    def forget_read(self, keys: Iterable[tuple[int, str]]) -> None:
        """Ask anew about these domains of these tenants."""
        for key in keys:
            self._read.pop(key, None)

    async def record(self) -> int:
        """Note what became of mail since the last time, all of it; how many events. Raises UnavailableError."""
        total = 0
        while True:
            batch = await self._db.read(read_batch)
            if not batch.moves_on:
                return total
            try:
                await self._db.write(partial(write_batch, batch=batch))
            except ConflictError:
                return total  # another worker was faster
            self.forget_read(batch.keys)
            total += batch.events
            if not batch.full:
                return total

    async def forget(self) -> int:
        """Remove some of whom nothing came for long; how many rows. Raises UnavailableError."""
        return await self._db.write(partial(forget_in, days=self._days))


def _query(*, namesakes: bool) -> Select[Any]:
    """The rows about the author, its domain and its namesakes, in one question of indexed parts."""
    table = correspondents.c
    columns = [table[column] for column in _COLUMNS]
    tenant = table.tenant == bindparam("tenant")
    address = bindparam("address", type_=String)
    parts = [
        select(literal(_OWN), *columns).where(
            tenant, table.domain == bindparam("domain"), or_(table.address == "", table.address == address)
        ),
        select(
            literal(_DOMAIN),
            sender_domains.c.domain,
            literal(""),
            literal(""),
            sender_domains.c.first_at,
            *(literal(0) for _ in _COLUMNS[4:]),
        ).where(sender_domains.c.domain == bindparam("domain")),
    ]
    if namesakes:
        others = (
            select(literal(_NAMESAKE), *columns)
            .where(tenant, table.name == bindparam("name"), table.address != address)
            .order_by(table.last_at.desc())
            .limit(NAMESAKES)
            .subquery()
        )
        parts.append(select(*others.c))
    return select(*union_all(*parts).subquery().c)


_BY_ADDRESS, _WITH_NAMESAKES = _query(namesakes=False), _query(namesakes=True)
