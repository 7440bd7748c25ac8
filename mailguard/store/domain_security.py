"""What is asked of a domain's next hops: the writing half. It is read along with the domain, in store.tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import update
from sqlalchemy.engine import Connection

from mailguard.core.errors import ConfigError, ConflictError, Problem
from mailguard.core.transport import HopSecurity, TlsMode
from mailguard.store import schema
from mailguard.store.tenants import TenantRecord, bump, own_domain, tenant_by_name


def set_security(
    conn: Connection,
    *,
    tenant: str,
    domains: Sequence[str],
    tls: str | None = None,
    certificate: str | None = None,
    username: str | None = None,
    password: str | None = None,
) -> TenantRecord:
    """Change what is given for each of the domains, keep the rest; an empty text takes away what was set.

    Raises NotFoundError, ConflictError for an alias, and ConfigError when what comes of it makes no sense.
    """
    record = tenant_by_name(conn, tenant)
    for name in domains:
        domain = own_domain(record, name)
        if domain.alias_of:
            raise ConflictError(f"{name} is an alias, whose mail goes as that of {domain.alias_of}; set it there")
        old = domain.security
        new = replace(
            old,
            tls=old.tls if tls is None else TlsMode(tls) if tls else None,
            certificate=old.certificate if certificate is None else certificate,
            username=old.username if username is None else username,
            password=old.password if password is None else password,
        )
        _check(name, new)
        write_security(conn, name, new)
    bump(conn)
    return tenant_by_name(conn, tenant)


def write_security(conn: Connection, domain: str, security: HopSecurity) -> None:
    """Replace all of a domain's; the caller bumps the directory."""
    conn.execute(
        update(schema.domains)
        .where(schema.domains.c.name == domain)
        .values(
            tls=security.tls.value if security.tls else "",
            client_certificate=security.certificate,
            auth_username=security.username,
            auth_password=security.password,
        )
    )


def _check(domain: str, security: HopSecurity) -> None:
    problems = []
    if bool(security.username) != bool(security.password):
        problems.append(Problem(domain, "a user name and a password go together"))
    if security.username and security.tls is TlsMode.OFF:
        problems.append(Problem(domain, "credentials are never sent without TLS: choose another mode than off"))
    if problems:
        raise ConfigError(problems)
