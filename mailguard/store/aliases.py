"""Alias domains, and what a domain says about verification apart from its tenant: the writing half.

Both are read along with the domain, in store.tenants.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from mailguard.core.errors import ConflictError
from mailguard.core.tenant import Verification
from mailguard.store import schema
from mailguard.store.tenants import TenantRecord, bump, own_domain, tenant_by_name


def set_alias(conn: Connection, *, tenant: str, alias: str, of: str, rewrite: bool = False) -> TenantRecord:
    """Make `alias` a domain with the mailboxes and next hops of the tenant's domain `of`, or change what it is an alias of.

    Raises NotFoundError, and ConflictError when `alias` is a domain of its own, anybody's.
    """
    record = tenant_by_name(conn, tenant)
    target = own_domain(record, of)
    if target.alias_of:
        raise ConflictError(f"{of} is an alias itself; make {alias} one of {target.alias_of}")
    if alias == of:
        raise ConflictError(f"{of} cannot be an alias of itself")
    domains = schema.domains
    old = conn.execute(
        select(domains.c.tenant, domains.c.alias_of, schema.tenants.c.name)
        .join(schema.tenants, schema.tenants.c.id == domains.c.tenant)
        .where(domains.c.name == alias)
    ).one_or_none()
    if old is None:
        conn.execute(insert(domains).values(name=alias, tenant=record.tenant.id, alias_of=of, rewrite=rewrite))
    elif old.tenant != record.tenant.id:
        raise ConflictError(f"{alias} belongs to tenant {old.name!r}; a domain has one tenant")
    elif not old.alias_of:
        raise ConflictError(f"{alias} is a domain of its own; remove it first to make it an alias")
    else:
        conn.execute(update(domains).where(domains.c.name == alias).values(alias_of=of, rewrite=rewrite))
    bump(conn)
    return tenant_by_name(conn, tenant)


def set_verification(
    conn: Connection, *, tenant: str, domains: Sequence[str], verification: Verification | None
) -> TenantRecord:
    """How recipients of some domains are verified; None: as the tenant's are. Raises NotFoundError, and ConflictError for
    an alias, which follows its domain.
    """
    record = tenant_by_name(conn, tenant)
    for name in domains:
        if own_domain(record, name).alias_of:
            raise ConflictError(
                f"{name} is an alias, whose recipients are verified as those of its domain; set it there"
            )
        conn.execute(
            update(schema.domains)
            .where(schema.domains.c.name == name)
            .values(verification=verification.value if verification else None)
        )
    bump(conn)
    return tenant_by_name(conn, tenant)
