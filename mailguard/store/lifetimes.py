"""How long a tenant's mail may wait in the queue: set, read, and made good for what waits already."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from mailguard.core.clock import DAY
from mailguard.store import schema
from mailguard.store.tenants import TenantRecord, bump, tenant_by_name

LEAST_DAYS = 0.01
MOST_DAYS = 30.0


def queue_lifetimes(connection: Connection, *, default: int) -> dict[int, int]:
    """Each tenant's time in the queue by its id, in milliseconds; `default` is what is set for all."""
    tenants = schema.tenants.c
    rows = connection.execute(select(tenants.id, tenants.queue_days))
    return {row.id: default if row.queue_days is None else round(row.queue_days * DAY) for row in rows}


def set_queue_days(
    connection: Connection, *, tenant: str, days: float | None, default: int
) -> tuple[TenantRecord, int]:
    """Set a tenant's days in the queue (None: as for all, `default` milliseconds); how many of its waiting mails get longer.

    What waits is never given up earlier than it was to be: of its old and its new time it has the longer. Raises
    NotFoundError.
    """
    record = tenant_by_name(connection, tenant)
    where = schema.tenants.c.id == record.tenant.id
    connection.execute(update(schema.tenants).where(where).values(queue_days=days))
    bump(connection)
    queue = schema.queue
    until = queue.c.queued_at + (default if days is None else round(days * DAY))
    waiting = update(queue).where(queue.c.tenant == record.tenant.id, queue.c.expires_at < until)
    return tenant_by_name(connection, tenant), connection.execute(waiting.values(expires_at=until)).rowcount
