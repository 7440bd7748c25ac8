"""Which mail goes to a next hop, and to which next hops mail goes: by the routes of tenants' domains, aliases included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from mailguard.core.envelope import NextHop
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store.schema import domains, next_hops, units


@dataclass(frozen=True, slots=True)
class HopFilter:
    """A next hop as an admin names it; `port` None means any. `own_mail`: the provider's own mail goes there too."""

    host: str
    port: int | None = None
    own_mail: bool = False


def next_hop_condition(hop: HopFilter) -> ColumnElement[bool]:
    """The condition on `units` that their domain has this next hop, whatever its priority.

    The provider's own mail (reports) to a tenant's domain goes to that domain's next hops; to others only by `own_mail`,
    since who their exchangers are is known when they are asked.
    """
    wanted = next_hops.c.host == hop.host
    if hop.port is not None:
        wanted = and_(wanted, next_hops.c.port == hop.port)
    home = func.coalesce(domains.c.alias_of, domains.c.name)
    routed = select(domains.c.name).join(next_hops, next_hops.c.domain == home).where(wanted)
    by_route = and_(
        units.c.domain.in_(routed),
        or_(
            units.c.tenant == SYSTEM_TENANT,
            units.c.tenant == select(domains.c.tenant).where(domains.c.name == units.c.domain).scalar_subquery(),
        ),
    )
    if not hop.own_mail:
        return by_route
    return or_(by_route, and_(units.c.tenant == SYSTEM_TENANT, units.c.domain.not_in(select(domains.c.name))))


def hops_by_domain(connection: Connection) -> Mapping[str, tuple[NextHop, ...]]:
    """The next hops of every tenant's domain, the first one first."""
    home = func.coalesce(domains.c.alias_of, domains.c.name)
    rows = connection.execute(
        select(domains.c.name, next_hops.c.host, next_hops.c.port, next_hops.c.priority, next_hops.c.lmtp)
        .join(next_hops, next_hops.c.domain == home)
        .order_by(domains.c.name, next_hops.c.priority, next_hops.c.id)
    )
    found: dict[str, tuple[NextHop, ...]] = {}
    for row in rows:
        found[row.name] = (*found.get(row.name, ()), NextHop(row.host, row.port, row.priority, bool(row.lmtp)))
    return found
