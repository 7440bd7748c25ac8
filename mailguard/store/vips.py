"""Tenants' VIPs and brands: the writing half, each change on the audit log's record."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, insert

from mailguard.core.errors import ConflictError, NotFoundError
from mailguard.core.names import name_key, same_person
from mailguard.core.tenant import Vip
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.schema_history import brands, vips
from mailguard.store.tenants import bump, tenant_by_name

MOST = 1_000
"""VIPs, and brands, of a tenant: each mail is compared with every one of them."""


def add_vip(
    conn: Connection, *, tenant: str, name: str, addresses: Sequence[str], now: int, actor: str = "", why: str = ""
) -> Vip:
    """Add a VIP, or addresses to one there is; the VIP as it is then. Forms are those of store.forms.

    Raises NotFoundError, and ConflictError when that changes nothing or they are too many.
    """
    record = tenant_by_name(conn, tenant)
    known = next((one for one in record.tenant.vips if one.name == name), None)
    if known is None and len(record.tenant.vips) >= MOST:
        raise ConflictError(f"tenant {tenant!r} has {MOST:,} VIPs already; remove one that is none any more")
    new = [one for one in dict.fromkeys(addresses) if known is None or one not in known.addresses]
    if known is not None and not new:
        raise ConflictError(f"{name} is a VIP of {tenant} already" + (", with these addresses" if addresses else ""))
    mine = {"tenant": record.tenant.id, "name": name, "added_at": now}
    conn.execute(delete(vips).where(_is(record.tenant.id, name), vips.c.address == ""))
    conn.execute(insert(vips), [{**mine, "address": address} for address in new or [""]])
    bump(conn)
    personal: dict[str, str | Sequence[str]] = {"name": name} | ({"address": new} if new else {})
    append_in(conn, AuditEntry(AuditAction.VIP_ADD, actor, why, tenant=record.tenant.id, personal=personal))
    return Vip(name, (*(known.addresses if known else ()), *new))


def remove_vip(conn: Connection, *, tenant: str, name: str, actor: str = "", why: str = "") -> Vip:
    """Remove the VIP of this name, however it is written. Raises NotFoundError, naming those there are."""
    record = tenant_by_name(conn, tenant)
    there = record.tenant.vips
    found = next((one for one in there if one.name == name), None) or next(
        (one for one in there if name_key(name) and same_person(name, one.name)), None
    )
    if found is None:
        names = ", ".join(one.name for one in there[:10]) or "none"
        raise NotFoundError(f"{name} is no VIP of tenant {tenant!r}, which has: {names}")
    conn.execute(delete(vips).where(_is(record.tenant.id, found.name)))
    bump(conn)
    personal: dict[str, str | Sequence[str]] = {"name": found.name}
    if found.addresses:
        personal["address"] = found.addresses
    append_in(conn, AuditEntry(AuditAction.VIP_REMOVE, actor, why, tenant=record.tenant.id, personal=personal))
    return found


def add_brand(conn: Connection, *, tenant: str, text: str, now: int, actor: str = "", why: str = "") -> None:
    """Add a name or a domain that the tenant owns. Raises NotFoundError, and ConflictError when it has it already."""
    record = tenant_by_name(conn, tenant)
    if text in record.tenant.domains:
        raise ConflictError(f"{text} is a recipient domain of {tenant}, and so its own anyway")
    if any(text.lower() == one.lower() for one in record.tenant.brands):
        raise ConflictError(f"{text} is a brand of {tenant} already")
    if len(record.tenant.brands) >= MOST:
        raise ConflictError(f"tenant {tenant!r} has {MOST:,} brands already; remove one that is none any more")
    conn.execute(insert(brands).values(tenant=record.tenant.id, text=text, added_at=now))
    bump(conn)
    detail = {"brand": text}
    append_in(conn, AuditEntry(AuditAction.BRAND_ADD, actor, why, tenant=record.tenant.id, detail=detail))


def remove_brand(conn: Connection, *, tenant: str, text: str, actor: str = "", why: str = "") -> None:
    """Remove a name or a domain. Raises NotFoundError, naming those there are."""
    record = tenant_by_name(conn, tenant)
    found = next((one for one in record.tenant.brands if one.lower() == text.lower()), None)
    if found is None:
        names = ", ".join(record.tenant.brands[:10]) or "none"
        raise NotFoundError(f"{text} is no brand of tenant {tenant!r}, which has: {names}")
    conn.execute(delete(brands).where(brands.c.tenant == record.tenant.id, brands.c.text == found))
    bump(conn)
    detail = {"brand": found}
    append_in(conn, AuditEntry(AuditAction.BRAND_REMOVE, actor, why, tenant=record.tenant.id, detail=detail))


def _is(tenant: int, name: str) -> ColumnElement[bool]:
    return (vips.c.tenant == tenant) & (vips.c.name == name)
