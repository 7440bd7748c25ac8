"""Tenants' VIPs and brands as they are read along with the tenant; writing is in `vips`."""

from __future__ import annotations

from sqlalchemy import Connection, select

from mailguard.core.tenant import Vip
from mailguard.store.schema_history import brands, vips


def vips_of(conn: Connection, tenant: int | None = None) -> dict[int, tuple[Vip, ...]]:
    """The VIPs of each tenant, or of one, in the order in which they were added."""
    query = select(vips).order_by(vips.c.id)
    if tenant is not None:
        query = query.where(vips.c.tenant == tenant)
    addresses: dict[int, dict[str, list[str]]] = {}
    for row in conn.execute(query):
        own = addresses.setdefault(row.tenant, {}).setdefault(row.name, [])
        if row.address:
            own.append(row.address)
    return {one: tuple(Vip(name, tuple(own)) for name, own in by_name.items()) for one, by_name in addresses.items()}


def brands_of(conn: Connection, tenant: int | None = None) -> dict[int, tuple[str, ...]]:
    """The brands of each tenant, or of one, likewise."""
    query = select(brands).order_by(brands.c.id)
    if tenant is not None:
        query = query.where(brands.c.tenant == tenant)
    found: dict[int, tuple[str, ...]] = {}
    for row in conn.execute(query):
        found[row.tenant] = (*found.get(row.tenant, ()), row.text)
    return found
