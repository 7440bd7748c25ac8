"""What the door refused before its DATA was completed: a row each while that is slow, counts when it comes fast.

A flood must fill neither the disk nor memory: per tenant and reason only so many rows a minute are written, the rest adds
to one row a quarter of an hour. Mail for domains that are nobody's is only ever counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, update

from mailguard.core.clock import MINUTE, Clock
from mailguard.core.decision import Reason
from mailguard.core.envelope import Session
from mailguard.core.reply import Reply
from mailguard.store.addresses import address_ids
from mailguard.store.db import Database
from mailguard.store.schema import refusals
from mailguard.store.texts import clean

WINDOW = 15 * MINUTE
"""Time in milliseconds that one counting row covers; months of every time zone begin at the start of one."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    at: int
    tenant: int
    reason: Reason
    reply: Reply
    client_ip: str
    helo: str
    mail_from: str | None
    recipient: str | None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is counted together."""

    tenant: int | None
    reason: Reason
    code: int
    enhanced: str
    window: int


@dataclass(slots=True)
class _Bucket:
    """How many more rows this minute allows for a tenant and reason."""

    minute: int
    left: int


class Refusals:
    """Buffers refusals and writes them in batches. One event loop's; lost at a crash: what came since the last flush.

    `per_minute`: rows of one tenant and reason that a minute may bring. `buffer`: rows that may wait in memory.
    """

    def __init__(self, db: Database, clock: Clock, *, per_minute: int = 60, buffer: int = 5_000) -> None:
        self._db = db
        self._clock = clock
        self._per_minute = per_minute
        self._buffer = buffer
        self._rows: deque[_Refusal] = deque()
        self._counts: dict[_Kind, int] = {}
        self._written: dict[_Kind, int] = {}  # ids of the counting rows of this window
        self._buckets: dict[tuple[int, Reason], _Bucket] = {}

    def record(
        self,
        tenant: int | None,
        reason: Reason,
        reply: Reply,
        *,
        session: Session | None = None,
        mail_from: str | None = None,
        recipient: str | None = None,
    ) -> None:
        """Note one refusal; `tenant` None: nobody's (unknown domain, or refused before RCPT). Neither waits nor fails."""
        at = self._clock()
        if tenant is None or not self._has_room(tenant, reason, at):
            kind = _Kind(tenant, reason, reply.code, reply.enhanced, at // WINDOW)
            self._counts[kind] = self._counts.get(kind, 0) + 1
            return
        ip, helo = ("", "") if session is None else (session.client_ip, session.helo)
        self._rows.append(_Refusal(at, tenant, reason, reply, ip, helo, mail_from, recipient))

    async def flush(self) -> None:
        """Write what has gathered. Raises UnavailableError: it is kept for the next time."""
        rows, counts = tuple(self._rows), dict(self._counts)
        if not rows and not counts:
            return
        written = await self._db.write(
            lambda connection: self._write(connection, rows, counts), addresses=_addresses_of(rows)
        )
        for _ in rows:
            self._rows.popleft()
        for kind, count in counts.items():
            if self._counts[kind] == count:
                del self._counts[kind]
            else:
                self._counts[kind] -= count
        window = self._clock() // WINDOW
        self._written = {kind: row for kind, row in (self._written | written).items() if kind.window >= window}

    def _has_room(self, tenant: int, reason: Reason, at: int) -> bool:
        if len(self._rows) >= self._buffer:
            return False
        bucket = self._buckets.get((tenant, reason))
        if bucket is None or bucket.minute != at // MINUTE:
            bucket = self._buckets[tenant, reason] = _Bucket(at // MINUTE, self._per_minute)
        bucket.left -= 1
        return bucket.left >= 0

    def _write(self, connection: Connection, rows: Sequence[_Refusal], counts: Mapping[_Kind, int]) -> dict[_Kind, int]:
        """Write rows and counts; returns the ids of the counting rows that are new."""
        if rows:
            ids = address_ids(connection, _addresses_of(rows))
            connection.execute(insert(refusals), [_row(refusal, ids) for refusal in rows])
        made: dict[_Kind, int] = {}
        for kind, count in counts.items():
            if kind in self._written:
                row = {"row": self._written[kind], "more": count}
                if connection.execute(_ADD, row).rowcount == 1:
                    continue
            inserted = connection.execute(insert(refusals).returning(refusals.c.id), _counting_row(kind, count))
            made[kind] = inserted.scalar_one()
        return made


_ADD = update(refusals).where(refusals.c.id == bindparam("row")).values(count=refusals.c.count + bindparam("more"))


def _addresses_of(rows: Sequence[_Refusal]) -> set[str]:
    return {address for row in rows for address in (row.mail_from, row.recipient) if address is not None}


def _row(refusal: _Refusal, ids: Mapping[str, int]) -> dict[str, object]:
    return {
        "at": refusal.at,
        "tenant": refusal.tenant,
        "reason": refusal.reason.value,
        "code": refusal.reply.code,
        "reply": str(refusal.reply),
        "client_ip": refusal.client_ip,
        "helo": clean(refusal.helo, 255),
        "mail_from": None if refusal.mail_from is None else ids[refusal.mail_from],
        "recipient": None if refusal.recipient is None else ids[refusal.recipient],
        "count": 1,
    }


def _counting_row(kind: _Kind, count: int) -> dict[str, object]:
    return {
        "at": kind.window * WINDOW,
        "tenant": kind.tenant,
        "reason": kind.reason.value,
        "code": kind.code,
        "reply": str(Reply(kind.code, kind.enhanced)),  # its text may hold an address
        "count": count,
    }
