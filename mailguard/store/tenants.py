"""Tenants, their domains, next hops and list entries: the queries and the changes.

Every function works on an open transaction and takes its time from the caller. Each change bumps `directory_version`, by
which the relay's processes notice within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, cast, delete, func, insert, select, update
from sqlalchemy.engine import Connection, Row

from mailguard.core.clock import to_datetime
from mailguard.core.envelope import NextHop
from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.events import State
from mailguard.core.tenant import (
    SYSTEM_TENANT,
    Domain,
    LdapLookup,
    ListEntry,
    ListKind,
    Tenant,
    Verification,
)
from mailguard.core.transport import HopSecurity, TlsMode
from mailguard.store import schema
from mailguard.store.own_names import brands_of, vips_of
from mailguard.store.schema_history import brands, correspondents, vips
from mailguard.store.texts import clean

_VERSION_KEY = "directory_version"

IN_FLIGHT = frozenset({State.FORWARDING, State.SPOOLED, State.HELD, State.PARKED})
"""States in which a unit still waits for its delivery: a tenant or domain with such units is not removed just so."""


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """A tenant with its domains as an admin sees it. `removed_at` is 0 while the tenant is there (times: ms UTC)."""

    tenant: Tenant
    domains: tuple[Domain, ...]
    created_at: int
    removed_at: int = 0


# --- the version ------------------------------------------------------------------------------------------------------


def directory_version(conn: Connection) -> int:
    """The number of changes so far of tenants, domains and lists."""
    value = conn.execute(select(schema.meta.c.value).where(schema.meta.c.key == _VERSION_KEY)).scalar_one_or_none()
    return int(value or 0)


# --- tenants ---------------------------------------------------------------------------------------------------------


def add_tenant(
    conn: Connection,
    *,
    name: str,
    now: int,
    domains: Sequence[str] = (),
    next_hops: Sequence[NextHop] = (),
    profile: str = "default",
    plan: str = "",
    soft_bounce: bool = False,
    greylist: bool = False,
) -> int:
    """Add a tenant whose domains all have the same next hops; its id. Names are in the forms of store.forms.

    Raises ConflictError when the name was ever used (the ledger still refers to it) or a domain is another tenant's.
    """
    row = conn.execute(select(schema.tenants.c.removed_at).where(schema.tenants.c.name == name)).one_or_none()
    if row is not None:
        if row.removed_at is None:
            raise ConflictError(f"tenant {name!r} exists already; see `mailguard tenant show {name}`")
        raise ConflictError(
            f"the name {name!r} belonged to a tenant removed on {to_datetime(row.removed_at):%Y-%m-%d}, to whom the ledger "
            "and past bills still refer; choose another name"
        )
    tenant = conn.execute(
        insert(schema.tenants)
        .values(
            name=name,
            profile=profile,
            plan=clean(plan, 64),
            soft_bounce=soft_bounce,
            greylist=greylist,
            created_at=now,
        )
        .returning(schema.tenants.c.id)
    ).scalar_one()
    for domain in domains:
        _insert_domain(conn, tenant, domain, next_hops)
    bump(conn)
    return int(tenant)


def tenant_by_name(conn: Connection, name: str) -> TenantRecord:
    """A tenant that is not removed. Raises NotFoundError, naming the tenants there are."""
    found = records_of(conn, schema.tenants.c.name == name, schema.tenants.c.removed_at.is_(None))
    if not found:
        names = conn.execute(
            select(schema.tenants.c.name)
            .where(schema.tenants.c.removed_at.is_(None), schema.tenants.c.id != SYSTEM_TENANT)
            .order_by(schema.tenants.c.name)
            .limit(10)
        ).scalars()
        known = ", ".join(names)
        raise NotFoundError(f"no tenant {name!r}" + (f"; there are: {known}" if known else "; none has been added yet"))
    return found[0]


def list_tenants(conn: Connection, *, removed: bool = False) -> list[TenantRecord]:
    """Every tenant by name, without the provider's own `system`; with the removed ones if asked."""
    conditions = [schema.tenants.c.id != SYSTEM_TENANT]
    if not removed:
        conditions.append(schema.tenants.c.removed_at.is_(None))
    return records_of(conn, *conditions)


def tenant_names(conn: Connection) -> dict[int, str]:
    """The names of all tenants by id, removed ones and `system` included."""
    rows = conn.execute(select(schema.tenants.c.id, schema.tenants.c.name))
    return {row.id: row.name for row in rows}


def set_tenant(
    conn: Connection,
    *,
    name: str,
    profile: str | None = None,
    plan: str | None = None,
    soft_bounce: bool | None = None,
    greylist: bool | None = None,
    verification: Verification | None = None,
    separators: str | None = None,
) -> TenantRecord:
    """Change what is given, keep the rest. Raises NotFoundError."""
    record = tenant_by_name(conn, name)
    values: dict[str, str | bool] = {}
    if verification is not None:
        values["verification"] = str(verification)
    if separators is not None:
        values["separators"] = separators
    if profile is not None:
        values["profile"] = profile
    if plan is not None:
        values["plan"] = clean(plan, 64)
    if soft_bounce is not None:
        values["soft_bounce"] = soft_bounce
    if greylist is not None:
        values["greylist"] = greylist
    if values:
        conn.execute(update(schema.tenants).where(schema.tenants.c.id == record.tenant.id).values(**values))
        bump(conn)
    return tenant_by_name(conn, name)


def remove_tenant(conn: Connection, *, name: str, now: int, force: bool = False) -> int:
    """Take a tenant and its domains out of service; how many of its mails are still in flight.

    Its row stays, since the ledger and the bills refer to it; the domains are free for others. Without `force` a tenant
    with mail in flight raises ConflictError: without a route that mail could only expire.
    """
    record = tenant_by_name(conn, name)
    if record.tenant.id == SYSTEM_TENANT:
        raise ConflictError("the system tenant is the provider itself and stays")
    waiting = in_flight(conn, record.tenant.id)
    if waiting and not force:
        raise ConflictError(
            f"tenant {name!r} still has {waiting} mail{'s' if waiting > 1 else ''} in flight (see `mailguard queue list "
            f"--tenant {name}`); wait until they are delivered, or use --force and they expire undelivered"
        )
    conn.execute(update(schema.tenants).where(schema.tenants.c.id == record.tenant.id).values(removed_at=now))
    for domain in sorted(record.domains, key=lambda one: not one.alias_of):  # aliases first: they refer to the others
        _delete_domain(conn, domain.name)
    for table in (schema.recipients, schema.verifications, schema.ldap_lookups, correspondents, vips, brands):
        conn.execute(delete(table).where(table.c.tenant == record.tenant.id))
    bump(conn)
    return waiting


def in_flight(conn: Connection, tenant: int, *, domain: str | None = None) -> int:
    """How many units of a tenant (of one of its domains) still wait for their delivery."""
    query = (
        select(func.count())
        .select_from(schema.units)
        .where(schema.units.c.tenant == tenant, schema.units.c.state.in_([str(state) for state in sorted(IN_FLIGHT)]))
    )
    if domain is not None:
        query = query.where(schema.units.c.domain == domain)
    return int(conn.execute(query).scalar_one())


# --- domains and next hops -------------------------------------------------------------------------------------------


def add_domain(conn: Connection, *, tenant: str, domain: str, next_hops: Sequence[NextHop]) -> None:
    """Give a tenant one more domain. Raises NotFoundError, or ConflictError naming the domain's owner."""
    record = tenant_by_name(conn, tenant)
    _insert_domain(conn, record.tenant.id, domain, next_hops)
    bump(conn)


def remove_domain(conn: Connection, *, tenant: str, domain: str, force: bool = False) -> None:
    """Take a domain from a tenant. Raises NotFoundError, or ConflictError while mail for it is in flight."""
    record = tenant_by_name(conn, tenant)
    own_domain(record, domain)
    aliases = [one.name for one in record.domains if one.alias_of == domain]
    if aliases:
        raise ConflictError(f"{', '.join(aliases)} has its mailboxes from {domain}; remove the alias first")
    waiting = in_flight(conn, record.tenant.id, domain=domain)
    if waiting and not force:
        raise ConflictError(
            f"{waiting} mail{'s' if waiting > 1 else ''} for {domain} still in flight; wait until they are delivered, or use "
            "--force and they expire undelivered"
        )
    _delete_domain(conn, domain)
    bump(conn)


def set_next_hops(
    conn: Connection, *, tenant: str, next_hops: Sequence[NextHop], domains: Sequence[str] | None = None
) -> None:
    """Replace the next hops of some of a tenant's domains, of all by default. Raises NotFoundError.

    Raises ConflictError for an alias, whose next hops are those of its domain.
    """
    record = tenant_by_name(conn, tenant)
    names = [domain.name for domain in record.domains if not domain.alias_of] if domains is None else list(domains)
    for name in names:
        if own_domain(record, name).alias_of:
            raise ConflictError(f"{name} is an alias, whose mail goes where that of its domain goes; set it there")
        conn.execute(delete(schema.next_hops).where(schema.next_hops.c.domain == name))
        _insert_next_hops(conn, name, next_hops)
    bump(conn)


# --- below: rows to values -------------------------------------------------------------------------------------------


def bump(conn: Connection) -> None:
    """Note that the directory changed, in the transaction that changes it."""
    value = cast(cast(schema.meta.c.value, BigInteger) + 1, Text)
    changed = conn.execute(update(schema.meta).where(schema.meta.c.key == _VERSION_KEY).values(value=value)).rowcount
    if not changed:
        conn.execute(insert(schema.meta).values(key=_VERSION_KEY, value="1"))


def own_domain(record: TenantRecord, domain: str) -> Domain:
    """A domain of a tenant. Raises NotFoundError, naming those it has."""
    domains = {own.name: own for own in record.domains}
    if domain not in domains:
        raise NotFoundError(
            f"{domain} is not a domain of tenant {record.tenant.name!r}, which has: {', '.join(domains) or 'none'}"
        )
    return domains[domain]


def _owner_of(conn: Connection, domain: str) -> tuple[int, str] | None:
    row = conn.execute(
        select(schema.tenants.c.id, schema.tenants.c.name)
        .join(schema.domains, schema.domains.c.tenant == schema.tenants.c.id)
        .where(schema.domains.c.name == domain)
    ).one_or_none()
    return None if row is None else (row.id, row.name)


def _insert_domain(conn: Connection, tenant: int, domain: str, next_hops: Sequence[NextHop]) -> None:
    owner = _owner_of(conn, domain)
    if owner is not None:
        raise ConflictError(
            f"{domain} is a domain of this tenant already"
            if owner[0] == tenant
            else f"{domain} belongs to tenant {owner[1]!r}; a domain has one tenant"
        )
    conn.execute(insert(schema.domains).values(name=domain, tenant=tenant))
    _insert_next_hops(conn, domain, next_hops)


def _insert_next_hops(conn: Connection, domain: str, next_hops: Sequence[NextHop]) -> None:
    rows = [
        {"domain": domain, "host": hop.host, "port": hop.port, "priority": hop.priority, "lmtp": hop.lmtp}
        for hop in dict.fromkeys(next_hops)
    ]
    if rows:
        conn.execute(insert(schema.next_hops), rows)


def _delete_domain(conn: Connection, domain: str) -> None:
    conn.execute(delete(schema.next_hops).where(schema.next_hops.c.domain == domain))
    conn.execute(delete(schema.domains).where(schema.domains.c.name == domain))


def _of(column: ColumnElement[int], tenant: int | None) -> tuple[ColumnElement[bool], ...]:
    return () if tenant is None else (column == tenant,)


def records_of(conn: Connection, *conditions: ColumnElement[bool]) -> list[TenantRecord]:
    """The tenants that meet these conditions on `tenants`, by name."""
    tenants, domains, hops, entries = schema.tenants, schema.domains, schema.next_hops, schema.list_entries
    rows = conn.execute(select(tenants).where(*conditions).order_by(tenants.c.name)).all()
    # One tenant is asked for by id; more come whole: the tables are small, and an IN of thousands is not.
    one = rows[0].id if len(rows) == 1 else None
    hops_of: dict[str, list[NextHop]] = {}
    domains_of: dict[int, list[Domain]] = {}
    lists_of: dict[int, list[ListEntry]] = {}
    hop_query = select(hops).order_by(hops.c.domain, hops.c.priority, hops.c.id)
    if one is not None:
        hop_query = hop_query.join(domains, domains.c.name == hops.c.domain).where(domains.c.tenant == one)
    for row in conn.execute(hop_query):
        hops_of.setdefault(row.domain, []).append(NextHop(row.host, row.port, row.priority, bool(row.lmtp)))
    lookups = schema.ldap_lookups
    ldap_of = {
        row.tenant: LdapLookup(
            row.url, row.base, row.filter, row.bind_dn, row.password, bool(row.starttls), row.mailbox_attribute
        )
        for row in conn.execute(select(lookups).where(*_of(lookups.c.tenant, one)))
    }
    found = {row.name: row for row in conn.execute(select(domains).where(*_of(domains.c.tenant, one)))}
    for name in sorted(found):
        domain = _domain(found[name], found.get(found[name].alias_of, found[name]), hops_of)
        domains_of.setdefault(domain.tenant, []).append(domain)
    for row in conn.execute(select(entries).where(*_of(entries.c.tenant, one)).order_by(entries.c.id)):
        entry = ListEntry(ListKind(row.kind), row.pattern, row.author, row.reason, row.expires_at)
        lists_of.setdefault(row.tenant, []).append(entry)
    people, names = vips_of(conn, one), brands_of(conn, one)
    return [
        TenantRecord(
            Tenant(
                row.id,
                row.name,
                row.profile,
                row.plan,
                bool(row.soft_bounce),
                tuple(lists_of.get(row.id, ())),
                Verification(row.verification),
                row.separators,
                ldap_of.get(row.id),
                bool(row.greylist),
                row.queue_days,
                row.keep_days,
                tuple(domain.name for domain in domains_of.get(row.id, ())),
                people.get(row.id, ()),
                names.get(row.id, ()),
                row.spam_address,
                row.ham_address,
            ),
            tuple(domains_of.get(row.id, ())),
            row.created_at,
            row.removed_at or 0,
        )
        for row in rows
    ]


def _domain(row: Row[Any], source: Row[Any], hops_of: Mapping[str, Sequence[NextHop]]) -> Domain:
    """A domain from its row and that of the domain whose next hops it has: its own, or what it is an alias of."""
    return Domain(
        row.name,
        row.tenant,
        tuple(hops_of.get(source.name, ())),
        verification=Verification(row.verification) if row.verification else None,
        alias_of=row.alias_of or "",
        rewrite=bool(row.rewrite),
        security=HopSecurity(
            TlsMode(source.tls) if source.tls else None,
            source.client_certificate,
            source.auth_username,
            source.auth_password,
        ),
    )
