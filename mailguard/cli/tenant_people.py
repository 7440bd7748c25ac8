"""`mailguard tenant vip` and `mailguard tenant brand`: in whose name a tenant is deceived, and what it owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Problems, actor_name, cli_of
from mailguard.cli.recorded import Actor, Why
from mailguard.cli.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from mailguard.core.tenant import Tenant, Vip

TenantName = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]
Person = Annotated[str, typer.Argument(metavar="NAME", help="The full name, as display names have it.")]
Brand = Annotated[
    str,
    typer.Argument(metavar="BRAND", help="A name (Acme Group) or a domain (acme-group.example).", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

vip_app = typer.Typer(
    no_args_is_help=True,
    help="People in whose name a tenant's people are asked for money: mail that only bears the name is told.",
)
brand_app = typer.Typer(
    no_args_is_help=True,
    help="Names and domains that a tenant owns beside its recipient domains, to tell lookalikes of them.",
)


@vip_app.command("add")
def vip_add(
    context: typer.Context,
    *,
    tenant: TenantName,
    name: Person,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            help="An address that is theirs; may be given several times. Without any, those at the tenant's own domains are, "
            "when authenticated.",
        ),
    ] = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Add a VIP, or addresses to one there is. The running relay knows within seconds."""
    from mailguard.store import forms, vips

    cli, who = cli_of(context), actor_name(actor)
    wrong = Problems()
    names = wrong.parse(forms.tenant_name, [tenant])
    people = wrong.parse(forms.vip_name, [name])
    addresses = wrong.parse(forms.mailbox, address or [])
    wrong.raise_any()
    added = cli.write(
        lambda conn: vips.add_vip(
            conn, tenant=names[0], name=people[0], addresses=addresses, now=cli.now(conn), actor=who, why=why
        )
    )
    if json:
        print_json(_vip_json(added))
    else:
        say(f"{added.name} is now a VIP of {names[0]}, with {_addresses_text(added)}")


@vip_app.command("remove")
def vip_remove(
    context: typer.Context, *, tenant: TenantName, name: Person, why: Why = "", actor: Actor = "", json: Json = False
) -> None:
    """Remove a VIP, however the name is written."""
    from mailguard.store import forms, vips

    key, who = forms.tenant_name(tenant), actor_name(actor)
    gone = cli_of(context).write(
        lambda conn: vips.remove_vip(conn, tenant=key, name=" ".join(name.split()), actor=who, why=why)
    )
    if json:
        print_json(_vip_json(gone))
    else:
        say(f"{gone.name} is no longer a VIP of {key}")


@vip_app.command("list")
def vip_list(context: typer.Context, *, tenant: TenantName, json: Json = False) -> None:
    """List a tenant's VIPs with their addresses."""
    found = _tenant(context, tenant)
    if json:
        print_json([_vip_json(one) for one in found.vips])
        return
    print_table(
        ("VIP", "ADDRESSES"),
        ((one.name, _addresses_text(one)) for one in found.vips),
        empty=f"{found.name} has no VIPs; add one with `mailguard tenant vip add {found.name} 'FULL NAME'`",
    )


@brand_app.command("add")
def brand_add(
    context: typer.Context, *, tenant: TenantName, brand: Brand, why: Why = "", actor: Actor = "", json: Json = False
) -> None:
    """Add a name or a domain that the tenant owns. The running relay knows within seconds."""
    from mailguard.store import forms, vips

    cli, who = cli_of(context), actor_name(actor)
    wrong = Problems()
    names = wrong.parse(forms.tenant_name, [tenant])
    brands = wrong.parse(forms.brand, [brand])
    wrong.raise_any()
    cli.write(lambda conn: vips.add_brand(conn, tenant=names[0], text=brands[0], now=cli.now(conn), actor=who, why=why))
    if json:
        print_json({"brand": brands[0]})
    else:
        say(f"{forms.display_form(brands[0])} is now known as {names[0]}'s own")


@brand_app.command("remove")
def brand_remove(
    context: typer.Context, *, tenant: TenantName, brand: Brand, why: Why = "", actor: Actor = "", json: Json = False
) -> None:
    """Remove a name or a domain."""
    from mailguard.store import forms, vips

    key, who, text = forms.tenant_name(tenant), actor_name(actor), forms.brand(brand)
    cli_of(context).write(lambda conn: vips.remove_brand(conn, tenant=key, text=text, actor=who, why=why))
    if json:
        print_json({"brand": text})
    else:
        say(f"{forms.display_form(text)} is no longer known as {key}'s own")


@brand_app.command("list")
def brand_list(context: typer.Context, *, tenant: TenantName, json: Json = False) -> None:
    """List what a tenant owns: its recipient domains, and what was added."""
    from mailguard.store import forms

    found = _tenant(context, tenant)
    if json:
        print_json({"domains": list(found.domains), "brands": list(found.brands)})
        return
    print_table(
        ("OWN", "BY"),
        (
            *((forms.display_form(name), "recipient domain") for name in found.domains),
            *((forms.display_form(text), "brand") for text in found.brands),
        ),
        empty=f"{found.name} has neither domains nor brands",
    )


def _tenant(context: typer.Context, name: str) -> Tenant:
    from mailguard.store import forms, tenants

    key = forms.tenant_name(name)
    return cli_of(context).read(lambda conn: tenants.tenant_by_name(conn, key)).tenant


def _addresses_text(vip: Vip) -> str:
    return ", ".join(vip.addresses) or "any address at its own domains"


def _vip_json(vip: Vip) -> dict[str, object]:
    return {"name": vip.name, "addresses": list(vip.addresses)}
