"""What every part of the queue works with, handed on as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailguard.core.clock import Clock
from mailguard.core.tenant import Directory
from mailguard.delivery.forward import Forwarder
from mailguard.delivery.route import Routes
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.store.blobs import BlobStore
from mailguard.store.db import Database
from mailguard.store.journal import Journal
from mailguard.store.ledger import Ledger
from mailguard.store.queue import QueueStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The stores, the way out, and whom to tell. Without a `journal` outcomes wait for the database."""

    db: Database
    queue: QueueStore
    ledger: Ledger
    journal: Journal | None
    blobs: BlobStore
    forwarder: Forwarder
    routes: Routes
    directory: Callable[[], Directory]
    log: MailLog
    metrics: Metrics
    clock: Clock

    def tenant_name(self, tenant: int) -> str:
        """For logs and metrics; empty when there is no such tenant any more."""
        found = self.directory().tenants.get(tenant)
        return found.name if found else ""
