"""`mailguard tenant`: clients of the provider. Their domains are in tenant_domain, single settings in files of their own."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli import tenant_days
from mailguard.cli.context import Problems, actor_name, cli_of
from mailguard.cli.lists import allow_app, deny_app
from mailguard.cli.recorded import Actor, Why, tenant_entry
from mailguard.cli.tenant_arguments import Force, Hops, Json, Name, next_hops, profile_name
from mailguard.cli.tenant_domain import domain_app
from mailguard.cli.tenant_feedback import HamAddress, SpamAddress
from mailguard.cli.tenant_feedback import set_in as set_feedback
from mailguard.cli.tenant_ldap import ldap
from mailguard.cli.tenant_people import brand_app, vip_app
from mailguard.cli.tenant_shown import hop_text, notes, print_changed, print_record, record_json
from mailguard.cli.terminal import print_json, print_table, say
from mailguard.cli.verification import (
    SeparatorsOption,
    VerifyOption,
    accepting_any,
    check,
    set_in,
)
from mailguard.cli.verification import (
    separators as separators_of,
)
from mailguard.core.errors import Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.tenants import TenantRecord

app = typer.Typer(no_args_is_help=True, help="Tenants: the provider's clients, their domains and next hops.")
app.add_typer(domain_app, name="domain")
app.add_typer(allow_app, name="allow")
app.add_typer(deny_app, name="deny")
app.add_typer(vip_app, name="vip")
app.add_typer(brand_app, name="brand")


class Switch(StrEnum):
    """The values of an option that is switched."""

    ON = "on"
    OFF = "off"


Profile = Annotated[
    str | None, typer.Option("--policy", metavar="PROFILE", help="Filtering profile, a file in policies/.")
]
Plan = Annotated[str | None, typer.Option("--plan", help="Billing plan.")]
SoftBounce = Annotated[
    bool | None,
    typer.Option("--soft-bounce/--no-soft-bounce", help="Treat the next hop's 5xx as 4xx, while onboarding."),
]
Greylist = Annotated[
    Switch | None,
    typer.Option("--greylist", help="Tell senders that are new to the tenant to come again (451).", show_default=False),
]


@app.command("add")
def add(
    context: typer.Context,
    *,
    name: Name,
    domain: Annotated[list[str], typer.Option("--domain", help="A recipient domain; may be given several times.")],
    next_hop: Hops = None,
    policy: Profile = None,
    plan: Plan = None,
    soft_bounce: SoftBounce = None,
    greylist: Greylist = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Add a tenant with its domains and next hops. The running relay takes its mail within seconds."""
    from mailguard.store import forms, tenants
    from mailguard.store.audit import AuditAction, append_in

    cli, who = cli_of(context), actor_name(actor)
    wrong = Problems()
    names = wrong.parse(forms.tenant_name, [name])
    domains = wrong.parse(forms.domain_name, domain)
    hops = next_hops(cli, wrong, next_hop)
    profiles = wrong.parse(lambda text: profile_name(cli, text), [policy or "default"])
    wrong.raise_any()

    def work(conn: Connection) -> TenantRecord:
        tenants.add_tenant(
            conn,
            name=names[0],
            domains=list(dict.fromkeys(domains)),
            next_hops=hops,
            profile=profiles[0],
            plan=plan or "",
            soft_bounce=bool(soft_bounce),
            greylist=greylist is Switch.ON,
            now=cli.now(conn),
        )
        record = tenants.tenant_by_name(conn, names[0])
        append_in(conn, tenant_entry(AuditAction.TENANT_ADD, None, record, actor=who, why=why))
        return record

    print_changed(cli.write(work), f"tenant {names[0]} added", json=json)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    removed: Annotated[bool, typer.Option("--removed", help="Removed tenants too.")] = False,
    json: Json = False,
) -> None:
    """List the tenants."""
    from mailguard.store import forms, tenants

    records = cli_of(context).read(lambda conn: tenants.list_tenants(conn, removed=removed))
    if json:
        print_json([record_json(record) for record in records])
        return
    print_table(
        ("TENANT", "DOMAINS", "NEXT HOPS", "POLICY", "PLAN", "NOTES"),
        (
            (
                record.tenant.name,
                ", ".join(forms.display_form(domain.name) for domain in record.domains),
                ", ".join(dict.fromkeys(hop_text(hop) for domain in record.domains for hop in domain.next_hops)),
                record.tenant.profile,
                record.tenant.plan,
                notes(record),
            )
            for record in records
        ),
        empty="no tenants yet; add one with `mailguard tenant add NAME --domain DOMAIN --next-hop HOST`",
    )


@app.command("show")
def show(context: typer.Context, *, name: Name, json: Json = False) -> None:
    """Show one tenant: its domains with their next hops, and its allow and deny entries."""
    from mailguard.store import forms, tenants

    cli = cli_of(context)
    key = forms.tenant_name(name)
    record = cli.read(lambda conn: tenants.tenant_by_name(conn, key))
    any_seen = cli.read(lambda conn: accepting_any(conn, record, now=cli.now(conn)))
    if json:
        print_json(record_json(record, any_seen))
    else:
        print_record(record, any_seen)


@app.command("set")
def set_(
    context: typer.Context,
    *,
    name: Name,
    policy: Profile = None,
    plan: Plan = None,
    soft_bounce: SoftBounce = None,
    greylist: Greylist = None,
    verify: VerifyOption = None,
    separators: SeparatorsOption = None,
    queue_days: tenant_days.QueueDays = None,
    keep_events: tenant_days.KeepEvents = None,
    spam_address: SpamAddress = None,
    ham_address: HamAddress = None,
    next_hop: Hops = None,
    domain: Annotated[
        list[str] | None,
        typer.Option("--domain", help="With --next-hop or --verify: only for this domain, not for all."),
    ] = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Change a tenant's policy, plan, soft bounces, greylisting, verification, times or next hops; what is not given stays."""
    from mailguard.store import forms, tenants
    from mailguard.store.audit import AuditAction, append_in

    cli, who = cli_of(context), actor_name(actor)
    wrong = Problems()
    names = wrong.parse(forms.tenant_name, [name])
    domains = wrong.parse(forms.domain_name, domain or [])
    hops = next_hops(cli, wrong, next_hop) if next_hop else []
    profiles = wrong.parse(lambda text: profile_name(cli, text), [policy] if policy is not None else [])
    added = wrong.parse(separators_of, [separators] if separators is not None else [])
    days = wrong.parse(tenant_days.queue_days, [queue_days] if queue_days is not None else [])
    keep = wrong.parse(tenant_days.keep_days, [keep_events] if keep_events is not None else [])
    wrong.add(*check(verify, domains))
    if domain and not next_hop and not verify:
        wrong.add(
            Problem("--domain", "goes with --next-hop or --verify; domains are added by `mailguard tenant domain add`")
        )
    changes = (policy, plan, soft_bounce, greylist, verify, separators, queue_days, keep_events, next_hop, domain)
    if all(change is None for change in (*changes, spam_address, ham_address)):
        wrong.add(
            Problem(
                "tenant set",
                "give --policy, --plan, --soft-bounce, --no-soft-bounce, --greylist, --verify, --separators, --queue-days, "
                "--keep-events, --spam-address, --ham-address or --next-hop",
            )
        )
    wrong.raise_any()

    def work(conn: Connection) -> TenantRecord:
        before = tenants.tenant_by_name(conn, names[0])
        tenants.set_tenant(
            conn,
            name=names[0],
            profile=profiles[0] if profiles else None,
            plan=plan,
            soft_bounce=soft_bounce,
            greylist=greylist is Switch.ON if greylist else None,
            separators=added[0] if added else None,
        )
        if verify:
            set_in(conn, tenant=names[0], verify=verify, domains=domains)
        if days:
            tenant_days.set_queue_days(conn, cli, tenant=names[0], value=days[0])
        if keep:
            tenant_days.set_keep_days(conn, tenant=names[0], value=keep[0])
        set_feedback(conn, tenant=names[0], spam=spam_address, ham=ham_address)
        if hops:
            tenants.set_next_hops(conn, tenant=names[0], next_hops=hops, domains=domains or None)
        after = tenants.tenant_by_name(conn, names[0])
        append_in(conn, tenant_entry(AuditAction.TENANT_CHANGE, before, after, actor=who, why=why))
        return after

    print_changed(cli.write(work), f"tenant {names[0]} changed", json=json)


app.command("ldap")(ldap)


@app.command("remove")
def remove(context: typer.Context, *, name: Name, force: Force = False, why: Why = "", actor: Actor = "") -> None:
    """Take a tenant and its domains out of service. Its past stays: ledger, trace and usage still know it."""
    from mailguard.billing.closing import catch_up, keep_mailboxes_of
    from mailguard.cli.billing_values import zone_of
    from mailguard.store import forms, tenants
    from mailguard.store.audit import AuditAction, AuditEntry, append_in

    cli, who = cli_of(context), actor_name(actor)
    key = forms.tenant_name(name)
    catch_up(cli.write, zone=zone_of(cli))

    def work(conn: Connection) -> int:
        record = tenants.tenant_by_name(conn, key)
        keep_mailboxes_of(conn, record.tenant.id)  # its last bill counts by lists that go with it
        waiting = tenants.remove_tenant(conn, name=key, now=cli.now(conn), force=force)
        detail = {"domains": [domain.name for domain in record.domains], "in_flight": waiting, "force": force}
        entry = AuditEntry(AuditAction.TENANT_REMOVE, who, why, tenant=record.tenant.id, subject=key, detail=detail)
        append_in(conn, entry)
        return waiting

    waiting = cli.write(work)
    say(f"tenant {key} removed" + (f"; {waiting} of its mails were in flight and will expire" if waiting else ""))
