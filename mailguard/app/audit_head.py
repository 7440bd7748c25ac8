"""Tells the log where the audit log stands: whoever keeps the relay's log elsewhere has the heads to hold it against."""

from __future__ import annotations

from mailguard.ops.log import get_logger
from mailguard.store.audit import GENESIS, head_in
from mailguard.store.db import Database


class AuditHeads:
    """One worker's. A head is told once; `tell` costs one row while nothing was added."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._log = get_logger("audit")
        self._told = GENESIS

    async def tell(self) -> None:
        """Log the head, if it moved on since it was told. Raises UnavailableError."""
        head = await self._db.read(head_in)
        if head.hash != self._told:
            self._log.info("audit_head", entry=head.sequence, head=head.hash)
            self._told = head.hash
