"""Erases by itself what is personal in mail that is older than its tenant keeps it. One worker's work, once an hour."""

from __future__ import annotations

from datetime import tzinfo

from mailguard.billing.pseudonyms import replace_recipients_in
from mailguard.core.clock import Clock
from mailguard.store import retention
from mailguard.store.db import Database
from mailguard.store.retention import BATCH, Keeping


class Forgetting:
    """Each step is a small transaction of its own, so mail never waits for it; what was done stays done."""

    def __init__(self, db: Database, *, zone: tzinfo, clock: Clock) -> None:
        """`zone`: the billing time zone, which says when a month is over."""
        self._db = db
        self._zone = zone
        self._clock = clock

    async def run(self) -> int:
        """Erase all that is due now; how many mails. Raises UnavailableError."""
        now = self._clock()
        total = 0
        for one in await self._db.read(lambda conn: retention.keeping(conn, now=now)):
            total += await self._run(one, now)
        return total

    async def _run(self, one: Keeping, now: int) -> int:
        erased = refusals = recipients = authors = 0
        while count := await self._db.write(lambda conn: retention.erase_old_mail_in(conn, one, now=now)):
            erased += count
            if count < BATCH:
                break
        while count := await self._db.write(lambda conn: retention.erase_old_refusals_in(conn, one)):
            refusals += count
        while count := await self._db.write(lambda conn: retention.forget_authors_in(conn, one)):
            authors += count
        while await self._db.write(lambda conn: retention.erase_old_audit_texts_in(conn, one, now=now)):
            pass
        while count := await self._db.write(lambda conn: replace_recipients_in(conn, one, zone=self._zone)):
            recipients += count
        await self._db.write(
            lambda conn: retention.finish_in(
                conn, one, erased=erased, refusals=refusals, recipients=recipients, authors=authors
            )
        )
        return erased
