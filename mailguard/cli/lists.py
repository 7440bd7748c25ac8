"""`mailguard tenant allow` and `mailguard tenant deny`: a tenant's list entries, with who made them, why and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import actor_name, cli_of
from mailguard.cli.recorded import Actor, Why
from mailguard.cli.terminal import print_json, print_table, say
from mailguard.cli.when import point, shown
from mailguard.core.clock import to_iso
from mailguard.core.tenant import ListEntry, ListKind

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

TenantName = Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name.", show_default=False)]
Pattern = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN", help="An address, a domain (subdomains too) or an address range.", show_default=False
    ),
]
_ALLOW_HELP = (
    "Senders a tenant trusts, when they are authenticated (aligned DKIM or SPF, or a range). Never beats malware."
)
_DENY_HELP = "Senders a tenant does not want."


def _list_app(kind: ListKind, description: str) -> typer.Typer:
    """The three commands of one list; both lists have the same."""
    app = typer.Typer(no_args_is_help=True, help=description)

    @app.command("add", help=f"Add an entry to a tenant's {kind} list.")
    def add(
        context: typer.Context,
        *,
        tenant: TenantName,
        sender: Pattern,
        reason: Annotated[str, typer.Option("--reason", help="Why, for whoever looks at it later.")] = "",
        expires: Annotated[
            str | None, typer.Option("--expires", metavar="TIME", help="When it ends: 30d, 2026-12-31. Default: never.")
        ] = None,
        actor: Annotated[str, typer.Option("--actor", help="Who adds it. Default: the user.")] = "",
    ) -> None:
        _add(context, kind, tenant, sender, reason=reason, expires=expires, author=actor_name(actor))

    @app.command("remove", help=f"Remove an entry from a tenant's {kind} list.")
    def remove(
        context: typer.Context, *, tenant: TenantName, sender: Pattern, why: Why = "", actor: Actor = ""
    ) -> None:
        from mailguard.store import forms, list_entries

        form, who = forms.list_pattern(sender), actor_name(actor)
        cli_of(context).write(
            lambda conn: list_entries.remove_list_entry(
                conn, tenant=forms.tenant_name(tenant), kind=kind, pattern=form, actor=who, why=why
            )
        )
        say(f"{form} is no longer on {tenant}'s {kind} list")

    @app.command("list", help=f"List a tenant's {kind} entries, expired ones too.")
    def list_(
        context: typer.Context,
        *,
        tenant: TenantName,
        json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        from mailguard.store import forms, tenants

        record = cli_of(context).read(lambda conn: tenants.tenant_by_name(conn, forms.tenant_name(tenant)))
        entries = [entry for entry in record.tenant.lists if entry.kind is kind]
        if json:
            print_json([entry_json(entry) for entry in entries])
            return
        print_table(
            ("PATTERN", "BY", "EXPIRES", "REASON"),
            ((entry.pattern, entry.author, shown(entry.expires_at), entry.reason) for entry in entries),
            empty=f"{tenant}'s {kind} list is empty",
        )

    return app


def _add(
    context: typer.Context, kind: ListKind, tenant: str, sender: str, *, reason: str, expires: str | None, author: str
) -> None:
    from mailguard.store import forms, list_entries

    cli = cli_of(context)
    name, form = forms.tenant_name(tenant), forms.list_pattern(sender)

    def work(conn: Connection) -> int:
        now = cli.now(conn)
        until = point(expires, option="--expires", now=now, ahead=True) if expires else 0
        list_entries.add_list_entry(
            conn, tenant=name, kind=kind, pattern=form, now=now, author=author, reason=reason, expires_at=until
        )
        return until

    until = cli.write(work)
    say(f"{form} is now on {name}'s {kind} list" + (f" until {shown(until)}" if until else ""))


def entry_json(entry: ListEntry) -> dict[str, object]:
    """A list entry for `--json`."""
    return {
        "list": entry.kind,
        "pattern": entry.pattern,
        "author": entry.author,
        "reason": entry.reason,
        "expires_at": to_iso(entry.expires_at) if entry.expires_at else None,
    }


allow_app = _list_app(ListKind.ALLOW, _ALLOW_HELP)
deny_app = _list_app(ListKind.DENY, _DENY_HELP)
