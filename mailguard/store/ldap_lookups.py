"""Tenants' directory servers: the writing half. They are read along with the tenant, in store.tenants."""

from __future__ import annotations

from sqlalchemy import delete, insert
from sqlalchemy.engine import Connection

from mailguard.core.errors import ConflictError
from mailguard.core.tenant import LdapLookup, Verification
from mailguard.store.schema import ldap_lookups
from mailguard.store.tenants import TenantRecord, bump, tenant_by_name
from mailguard.store.verifications import forget


def set_ldap(conn: Connection, *, tenant: str, lookup: LdapLookup | None) -> TenantRecord:
    """Replace how a tenant's directory is asked, or take it away; what was heard so far is forgotten.

    Raises NotFoundError, and ConflictError when it is still needed.
    """
    record = tenant_by_name(conn, tenant)
    modes = {record.tenant.verification, *(domain.verification for domain in record.domains)}
    if lookup is None and Verification.LDAP in modes:
        raise ConflictError(
            f"{tenant}'s recipients are verified by LDAP; first `mailguard tenant set {tenant} --verify none`"
        )
    conn.execute(delete(ldap_lookups).where(ldap_lookups.c.tenant == record.tenant.id))
    if lookup is not None:
        conn.execute(
            insert(ldap_lookups).values(
                tenant=record.tenant.id,
                url=lookup.url,
                base=lookup.base,
                filter=lookup.filter,
                bind_dn=lookup.bind_dn,
                password=lookup.password,
                starttls=lookup.starttls,
                mailbox_attribute=lookup.mailbox_attribute,
            )
        )
    forget(conn, tenant=tenant)
    bump(conn)
    return tenant_by_name(conn, tenant)
