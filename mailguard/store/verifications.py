"""What next hops said about recipients: a cache in the database that all workers share. Soft: losing it costs questions only.

An answer that has expired is asked anew; a known recipient's counts all the same while its server is down, until it is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from mailguard.store.db import Database
from mailguard.store.schema import verifications
from mailguard.store.statements import upserting
from mailguard.store.tenants import bump, tenant_by_name
from mailguard.store.texts import clean

_BATCH = 1_000
"""Rows that one transaction removes, so that mail never waits long for it."""


class Said(StrEnum):
    """What a next hop said: about an address, or (the last two) about all of its domain."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNCLEAR = "unclear"
    """It refuses the question, or the address for another reason than that there is no such mailbox."""
    ACCEPTS_ANY = "accepts_any"
    """It accepts an address that cannot exist: its answers tell nothing."""
    REFUSES_UNKNOWN = "refuses_unknown"
    """It refuses such an address: its answers can be relied on."""


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """One answer. Times in milliseconds UTC; from `expires_at` on it is asked anew, from `forget_at` on it is gone.

    `mailbox`: the one that a directory named for the address, which is billed in its stead; empty for none.
    """

    said: Said
    checked_at: int
    expires_at: int
    forget_at: int
    reply: str = ""
    mailbox: str = ""


Key = tuple[int, str]
"""Tenant and mailbox key (core.mailbox), or `@domain` for what holds for all of a domain."""


class Verifications:
    """Reads answers, and gathers new ones to write in batches. One event loop's; `buffer` answers may wait at most."""

    def __init__(self, db: Database, *, buffer: int = 10_000) -> None:
        self._db = db
        self._buffer = buffer
        self._waiting: dict[Key, ServerAnswer] = {}

    def keep(self, tenant: int, key: str, answer: ServerAnswer) -> None:
        """Note an answer, to be written with the next flush. Neither waits nor fails."""
        if len(self._waiting) < self._buffer or (tenant, key) in self._waiting:
            self._waiting[tenant, key] = answer

    async def look_up(self, tenant: int, keys: Collection[str]) -> dict[str, ServerAnswer]:
        """The answers that there are. Raises UnavailableError."""
        return await self._db.read(lambda conn: look_up(conn, tenant, keys))

    async def flush(self) -> None:
        """Write what has gathered. Raises UnavailableError: it is kept for the next time."""
        answers = dict(self._waiting)
        if not answers:
            return
        await self._db.write(lambda conn: keep(conn, answers))
        for key, answer in answers.items():
            if self._waiting.get(key) is answer:
                del self._waiting[key]

    async def forget_old(self, *, now: int) -> int:
        """Remove what is to be forgotten; how many rows went."""
        gone = 0
        while batch := await self._db.write(lambda conn: _forget_batch(conn, now)):
            gone += batch
            if batch < _BATCH:
                break
        return gone


def look_up(conn: Connection, tenant: int, keys: Collection[str]) -> dict[str, ServerAnswer]:
    """The answers about mailboxes (or `@domain`) of a tenant that there are."""
    by_stored = {clean(key, 320): key for key in keys}
    query = select(verifications).where(verifications.c.tenant == tenant, verifications.c.address.in_(by_stored))
    return {by_stored[row.address]: _answer(row) for row in conn.execute(query)}


def keep(conn: Connection, answers: Mapping[Key, ServerAnswer]) -> None:
    """Write answers; where there is one already the newer stays."""
    rows = [
        {
            "tenant": tenant,
            "address": clean(key, 320),
            "result": answer.said.value,
            "checked_at": answer.checked_at,
            "expires_at": answer.expires_at,
            "forget_at": answer.forget_at,
            "reply": clean(answer.reply),
            "mailbox": clean(answer.mailbox, 320),
        }
        for (tenant, key), answer in sorted(answers.items())  # in one order everywhere: no deadlock between processes
    ]
    statement = upserting(conn, verifications)
    new = statement.excluded
    names = ("result", "checked_at", "expires_at", "forget_at", "reply", "mailbox")
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant", "address"],
            set_={name: new[name] for name in names},
            where=verifications.c.checked_at <= new.checked_at,
        ),
        rows,
    )


def list_verifications(conn: Connection, *, tenant: str, now: int) -> list[tuple[str, ServerAnswer]]:
    """All that is known of a tenant's recipients, those of domains first. Raises NotFoundError."""
    query = (
        select(verifications)
        .where(verifications.c.tenant == tenant_by_name(conn, tenant).tenant.id, verifications.c.forget_at > now)
        .order_by(verifications.c.address)
    )
    return [(row.address, _answer(row)) for row in conn.execute(query)]


def forget(conn: Connection, *, tenant: str, keys: Collection[str] = ()) -> int:
    """Remove the answers about `keys`, all of a tenant's when there are none; how many went. Raises NotFoundError."""
    mine = verifications.c.tenant == tenant_by_name(conn, tenant).tenant.id
    statement = delete(verifications).where(mine)
    if keys:
        statement = statement.where(verifications.c.address.in_({clean(key, 320) for key in keys}))
    gone = conn.execute(statement).rowcount
    bump(conn)  # the relay's processes have them in memory
    return gone


def _forget_batch(conn: Connection, now: int) -> int:
    old = select(verifications.c.tenant, verifications.c.address).where(verifications.c.forget_at <= now).limit(_BATCH)
    gone = 0
    for tenant, address in conn.execute(old).all():
        mine = (verifications.c.tenant == tenant) & (verifications.c.address == address)
        gone += conn.execute(delete(verifications).where(mine, verifications.c.forget_at <= now)).rowcount
    return gone


def _answer(row: Row[Any]) -> ServerAnswer:
    return ServerAnswer(
        Said(row.result),
        row.checked_at,
        row.expires_at,
        row.forget_at,
        row.reply,
        row.mailbox,
    )
