"""`mailguard tenant domain`: the recipient domains of a tenant, their next hops and aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Problems, actor_name, cli_of
from mailguard.cli.domain_security import domain_set
from mailguard.cli.recorded import Actor, Why, tenant_entry
from mailguard.cli.tenant_arguments import Force, Hops, Json, Name, next_hops
from mailguard.cli.tenant_shown import print_changed
from mailguard.cli.terminal import say
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.tenants import TenantRecord

domain_app = typer.Typer(no_args_is_help=True, help="Recipient domains of a tenant.")

DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help="The recipient domain.", show_default=False)]


@domain_app.command("add")
def domain_add(
    context: typer.Context,
    *,
    name: Name,
    domain: DomainName,
    next_hop: Hops = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Add a domain to a tenant; without --next-hop it gets those of the tenant's first domain, and is met as they are."""
    from mailguard.store import forms, tenants
    from mailguard.store.audit import AuditAction, append_in
    from mailguard.store.domain_security import write_security

    cli, who = cli_of(context), actor_name(actor)
    wrong = Problems()
    names = wrong.parse(forms.tenant_name, [name])
    domains = wrong.parse(forms.domain_name, [domain])
    hops = next_hops(cli, wrong, next_hop) if next_hop else []
    wrong.raise_any()

    def work(conn: Connection) -> TenantRecord:
        record = tenants.tenant_by_name(conn, names[0])
        chosen = hops or (record.domains[0].next_hops if record.domains else ())
        if not chosen:
            raise ConfigError(
                [Problem("--next-hop", "give at least one: the tenant has no other domain to take it from")]
            )
        tenants.add_domain(conn, tenant=names[0], domain=domains[0], next_hops=chosen)
        if not hops:
            write_security(conn, domains[0], record.domains[0].security)
        after = tenants.tenant_by_name(conn, names[0])
        append_in(conn, tenant_entry(AuditAction.DOMAIN_ADD, record, after, actor=who, why=why, subject=domains[0]))
        return after

    print_changed(cli.write(work), f"domain {domains[0]} added to {names[0]}", json=json)


@domain_app.command("alias")
def domain_alias(
    context: typer.Context,
    *,
    name: Name,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="The other domain.", show_default=False)],
    of: Annotated[str, typer.Option("--of", metavar="DOMAIN", help="The tenant's domain that has the mailboxes.")],
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Give the next hop USER@DOMAIN instead of USER@ALIAS.")
    ] = False,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Take mail for another domain too, with the mailboxes and next hops of one there is; or change how that is done."""
    from mailguard.store import aliases, forms, tenants
    from mailguard.store.audit import AuditAction, append_in

    cli, who = cli_of(context), actor_name(actor)
    wrong = Problems()
    names = wrong.parse(forms.tenant_name, [name])
    domains = wrong.parse(forms.domain_name, [alias, of])
    wrong.raise_any()
    new, home = domains

    def work(conn: Connection) -> TenantRecord:
        before = tenants.tenant_by_name(conn, names[0])
        after = aliases.set_alias(conn, tenant=names[0], alias=new, of=home, rewrite=rewrite)
        append_in(conn, tenant_entry(AuditAction.DOMAIN_ALIAS, before, after, actor=who, why=why, subject=new))
        return after

    print_changed(cli.write(work), f"{new} is now an alias of {home}", json=json)


domain_app.command("set")(domain_set)


@domain_app.command("remove")
def domain_remove(
    context: typer.Context, *, name: Name, domain: DomainName, force: Force = False, why: Why = "", actor: Actor = ""
) -> None:
    """Take a domain from a tenant: the relay then refuses its mail."""
    from mailguard.store import forms, tenants
    from mailguard.store.audit import AuditAction, append_in

    cli, who = cli_of(context), actor_name(actor)
    form = forms.domain_name(domain)
    key = forms.tenant_name(name)

    def work(conn: Connection) -> None:
        before = tenants.tenant_by_name(conn, key)
        tenants.remove_domain(conn, tenant=key, domain=form, force=force)
        after = tenants.tenant_by_name(conn, key)
        append_in(conn, tenant_entry(AuditAction.DOMAIN_REMOVE, before, after, actor=who, why=why, subject=form))

    cli.write(work)
    say(f"domain {form} removed from {key}")
