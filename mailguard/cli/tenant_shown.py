"""A tenant as the command line shows it: facts and tables for people, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailguard.cli.domain_security import security_json, security_text
from mailguard.cli.lists import entry_json
from mailguard.cli.tenant_days import keep_text, queue_text
from mailguard.cli.tenant_feedback import feedback_text
from mailguard.cli.terminal import print_facts, print_json, print_table, say
from mailguard.cli.verification import domain_json, domain_text
from mailguard.cli.when import shown
from mailguard.core.clock import to_iso

if TYPE_CHECKING:
    from mailguard.core.envelope import NextHop
    from mailguard.store.tenants import TenantRecord


def print_changed(record: TenantRecord, done: str, *, json: bool) -> None:
    """Say what was done, and show what came of it."""
    if json:
        print_json(record_json(record))
        return
    say(done)
    print_record(record)


def print_record(record: TenantRecord, any_seen: dict[str, int] | None = None) -> None:
    """Print a tenant for people. `any_seen`: domains whose next hop accepts any address, with since when."""
    from mailguard.store import forms

    tenant = record.tenant
    print_facts(
        {
            "tenant": tenant.name,
            "policy": tenant.profile,
            "plan": tenant.plan,
            "soft bounce": "yes, the next hop's 5xx counts as 4xx" if tenant.soft_bounce else "",
            "greylisting": "yes, new senders must come again" if tenant.greylist else "",
            "verification": tenant.verification.value,
            "separators": tenant.separators or "none",
            "queue": queue_text(tenant.queue_days),
            "events kept": keep_text(tenant.keep_days),
            "users report": feedback_text(tenant),
            "VIPs": ", ".join(one.name for one in tenant.vips),
            "brands": ", ".join(map(forms.display_form, tenant.brands)),
            "added": shown(record.created_at),
            "removed": shown(record.removed_at),
        }
    )
    print_table(
        ("DOMAIN", "NEXT HOPS", "SECURITY", "RECIPIENTS VERIFIED"),
        (
            (
                forms.display_form(domain.name),
                ", ".join(map(hop_text, domain.next_hops)),
                security_text(domain.security) or "as for all",
                domain_text(domain, record, any_seen or {}),
            )
            for domain in record.domains
        ),
        empty="no domains",
    )
    if tenant.lists:
        print_table(
            ("LIST", "PATTERN", "BY", "EXPIRES", "REASON"),
            (
                (entry.kind, entry.pattern, entry.author, shown(entry.expires_at), entry.reason)
                for entry in tenant.lists
            ),
        )


def hop_text(hop: NextHop) -> str:
    """A next hop as it is given on the command line."""
    return f"{hop}@{hop.priority}"


def notes(record: TenantRecord) -> str:
    """What is out of the ordinary, for the list of tenants."""
    found = ["soft bounce"] if record.tenant.soft_bounce else []
    if record.tenant.greylist:
        found.append("greylisting")
    if record.removed_at:
        found.append(f"removed {shown(record.removed_at)}")
    return ", ".join(found)


def record_json(record: TenantRecord, any_seen: dict[str, int] | None = None) -> dict[str, object]:
    """A tenant as `--json` prints it."""
    tenant = record.tenant
    return {
        "name": tenant.name,
        "id": tenant.id,
        "policy": tenant.profile,
        "plan": tenant.plan,
        "soft_bounce": tenant.soft_bounce,
        "greylist": tenant.greylist,
        "verification": tenant.verification.value,
        "separators": tenant.separators,
        "queue_days": tenant.queue_days,
        "keep_days": tenant.keep_days,
        "spam_address": tenant.spam_address,
        "ham_address": tenant.ham_address,
        "created_at": to_iso(record.created_at),
        "removed_at": to_iso(record.removed_at) if record.removed_at else None,
        "domains": [
            {
                "name": domain.name,
                "next_hops": [
                    {"host": hop.host, "port": hop.port, "priority": hop.priority, "lmtp": hop.lmtp}
                    for hop in domain.next_hops
                ],
                **security_json(domain.security),
                **domain_json(domain, record, any_seen or {}),
            }
            for domain in record.domains
        ],
        "lists": [entry_json(entry) for entry in tenant.lists],
        "vips": [{"name": one.name, "addresses": list(one.addresses)} for one in tenant.vips],
        "brands": list(tenant.brands),
    }
