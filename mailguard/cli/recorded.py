"""Who does something and why, for the audit log: the options that changing commands share, and what changed of a tenant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mailguard.store.audit import AuditAction, AuditEntry
    from mailguard.store.tenants import TenantRecord

Actor = Annotated[str, typer.Option("--actor", help="Who does it, for the record. Default: the user.")]
Why = Annotated[str, typer.Option("--why", help="Why, for the record.")]

_PERSONAL = ("auth", "ldap.bind_dn")
"""Endings of facts in which a person may be named."""


def tenant_entry(
    action: AuditAction,
    before: TenantRecord | None,
    after: TenantRecord,
    *,
    actor: str,
    why: str,
    subject: str = "",
) -> AuditEntry:
    """The entry that tells of a tenant's change, with each fact that is another now: `[before, after]`."""
    from mailguard.store.audit import AuditEntry

    old = {} if before is None else dict(_facts(before))
    new = dict(_facts(after))
    changed: dict[str, object] = {}
    personal: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        was, is_ = old.get(name), new.get(name)
        if was == is_:
            continue
        if name.endswith(_PERSONAL):
            personal.append(f"{name}: {was} → {is_}")
        else:
            changed[name] = is_ if before is None else [was, is_]
    return AuditEntry(
        action,
        actor,
        why,
        tenant=after.tenant.id,
        subject=subject or after.tenant.name,
        detail=changed,
        personal={"change": personal} if personal else {},
    )


def _facts(record: TenantRecord) -> Iterator[tuple[str, object]]:
    """What is set for a tenant, by name: `policy`, `domain acme.test next_hops`. Lists, VIPs, brands have entries of their own."""
    from mailguard.cli.tenant_shown import record_json

    for name, value in record_json(record).items():
        if name == "domains" and isinstance(value, list):
            for domain in value:
                yield from _domain_facts(domain)
        elif name not in ("lists", "vips", "brands", "id", "created_at"):
            yield name, value
    lookup = record.tenant.ldap
    if lookup is not None:
        for name in ("url", "base", "filter", "bind_dn", "password", "starttls"):
            yield f"ldap.{name}", getattr(lookup, name)


def _domain_facts(domain: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    prefix = f"domain {domain['name']}"
    yield prefix, True
    for name, value in domain.items():
        if name not in ("name", "verification", "accepts_any_seen_at") and value not in (None, False, []):
            yield f"{prefix} {name}", value
