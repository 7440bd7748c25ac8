"""Tenants' lists of recipients: the form of an entry, its changes, and the look-up at RCPT.

The queries work on an open transaction. Each change bumps `directory_version`, by which the relay's processes notice within
seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.engine import Connection

from mailguard.core.address import domain_of, is_mailbox
from mailguard.core.errors import ConfigError, ConflictError, Problem
from mailguard.core.mailbox import mailboxes
from mailguard.core.tenant import Domain, Verification
from mailguard.store.forms import lookup_form
from mailguard.store.schema import recipients
from mailguard.store.tenants import TenantRecord, bump, tenant_by_name
from mailguard.store.texts import clean

_CHUNK = 500
"""Rows of one statement: SQLite takes 32,766 parameters at most."""


@dataclass(frozen=True, slots=True)
class ListChange:
    """What a change did to a tenant's list: how many entries came, went, and there are now."""

    added: int
    removed: int
    total: int


def recipient_form(text: str, domains: Sequence[Domain]) -> str:
    """The stored form of a list entry: an address of one of `domains`, or `@domain` for all addresses of one.

    An address of an alias is that of the domain behind it. Raises ConfigError with what is wrong.
    """
    entry = text.strip()
    domain = _domain_of(entry, domains)
    if domain is None:
        names = ", ".join(one.name for one in domains) or "none"
        raise ConfigError(
            [Problem("recipient", f"{text!r} is not an address of the tenant's domains, which are: {names}")]
        )
    name = domain.alias_of or domain.name
    if entry.startswith("@"):
        return f"@{name}"
    if not is_mailbox(f"{entry.rpartition('@')[0]}@{name}"):
        raise ConfigError([Problem("recipient", f"{text!r} is not a mail address")])
    return mailboxes(entry, domain=name, separators="")[0].key


def _domain_of(entry: str, domains: Sequence[Domain]) -> Domain | None:
    name = lookup_form(domain_of(entry))
    return next((domain for domain in domains if domain.name == name), None)


def add_recipients(conn: Connection, *, tenant: str, entries: Collection[str], now: int) -> ListChange:
    """Put entries on a tenant's list; those that are there stay. Raises NotFoundError."""
    record = tenant_by_name(conn, tenant)
    missing = sorted(set(entries) - set(_entries(conn, record.tenant.id)))
    _insert(conn, record.tenant.id, missing, now)
    return _changed(conn, record, added=len(missing))


def replace_recipients(conn: Connection, *, tenant: str, entries: Collection[str], now: int) -> ListChange:
    """Make `entries` a tenant's whole list. Raises NotFoundError, and ConflictError when there are none."""
    if not entries:
        raise ConflictError("the new list is empty: with it every recipient would be refused")
    record = tenant_by_name(conn, tenant)
    old, new = set(_entries(conn, record.tenant.id)), set(entries)
    _delete(conn, record.tenant.id, sorted(old - new))
    _insert(conn, record.tenant.id, sorted(new - old), now)
    return _changed(conn, record, added=len(new - old), removed=len(old - new))


def remove_recipients(conn: Connection, *, tenant: str, entries: Collection[str]) -> ListChange:
    """Take entries off a tenant's list; those that are not there are no error. Raises NotFoundError."""
    record = tenant_by_name(conn, tenant)
    there = sorted(set(entries) & set(_entries(conn, record.tenant.id)))
    _delete(conn, record.tenant.id, there)
    return _changed(conn, record, removed=len(there))


def list_recipients(conn: Connection, *, tenant: str, domain: str | None = None) -> list[str]:
    """A tenant's list, by domain and address; only of one domain if asked. Raises NotFoundError."""
    found = _entries(conn, tenant_by_name(conn, tenant).tenant.id)
    wanted = [entry for entry in found if domain is None or entry.endswith(f"@{domain}")]
    return sorted(wanted, key=lambda entry: (domain_of(entry), entry))


def is_listed(conn: Connection, tenant: int, keys: Collection[str]) -> bool:
    """Whether one of the mailboxes `keys`, or all of their domain, is on a tenant's list."""
    wanted = {clean(key, 320) for key in keys} | {f"@{domain_of(key)}" for key in keys}
    query = select(recipients.c.address).where(_of(tenant), recipients.c.address.in_(wanted)).limit(1)
    return conn.execute(query).first() is not None


def unlisted_domains(conn: Connection, record: TenantRecord) -> list[str]:
    """The domains of a tenant that are verified by the list but have nothing on it: all their mail is refused."""
    listed = {domain_of(entry) for entry in _entries(conn, record.tenant.id)}
    return [
        domain.name
        for domain in record.domains
        if not domain.alias_of
        and domain.name not in listed
        and (domain.verification or record.tenant.verification) is Verification.LIST
    ]


def _of(tenant: int) -> ColumnElement[bool]:
    return recipients.c.tenant == tenant


def _entries(conn: Connection, tenant: int) -> Iterator[str]:
    return iter(conn.execute(select(recipients.c.address).where(_of(tenant))).scalars())


def _insert(conn: Connection, tenant: int, entries: Sequence[str], now: int) -> None:
    if entries:
        conn.execute(insert(recipients), [{"tenant": tenant, "address": entry, "added_at": now} for entry in entries])


def _delete(conn: Connection, tenant: int, entries: Sequence[str]) -> None:
    for start in range(0, len(entries), _CHUNK):
        conn.execute(delete(recipients).where(_of(tenant), recipients.c.address.in_(entries[start : start + _CHUNK])))


def _changed(conn: Connection, record: TenantRecord, *, added: int = 0, removed: int = 0) -> ListChange:
    if added or removed:
        bump(conn)
    count = select(func.count()).select_from(recipients).where(_of(record.tenant.id))
    return ListChange(added, removed, int(conn.execute(count).scalar_one()))
