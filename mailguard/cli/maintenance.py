"""`mailguard maintenance`: announced times in which the door may be closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Problems, actor_name, cli_of, tenant_id
from mailguard.cli.terminal import print_json, print_table, say
from mailguard.cli.when import point, shown, span
from mailguard.core.clock import HOUR, to_iso
from mailguard.core.errors import Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.maintenance import Window

app = typer.Typer(no_args_is_help=True, help="Announced maintenance, in which the door may be closed.")

Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Of this tenant alone. Default: of all.")]
Why = Annotated[str, typer.Option("--why", help="Why, for the record.")]
Actor = Annotated[str, typer.Option("--actor", help="Who does it, for the record. Default: the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("add")
def add(
    context: typer.Context,
    *,
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="When it begins: 2026-12-05T22:00 (UTC), or 3d from now.")
    ],
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="When it ends.")] = None,
    length: Annotated[str | None, typer.Option("--for", metavar="SPAN", help="Or how long it takes: 2h.")] = None,
    tenant: Tenant = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Announce maintenance. It counts for the SLA when it is announced as long before as [sla] in the settings says."""
    from mailguard.store.maintenance import add_window

    cli = cli_of(context)
    if (until is None) == (length is None):
        wrong = Problems()
        wrong.add(Problem("--to", "give either the end, or with --for the length"))
        wrong.raise_any()

    def work(conn: Connection) -> tuple[Window, dict[int, str]]:
        from mailguard.store.tenants import tenant_names

        now = cli.now(conn)
        start = point(begin, option="--from", now=now, ahead=True)
        end = start + span(length, option="--for") if length else point(until or "", option="--to", now=now, ahead=True)
        number = tenant_id(conn, tenant)
        who = actor_name(actor)
        return add_window(conn, tenant=number, start=start, end=end, now=now, author=who, why=why), tenant_names(conn)

    window, names = cli.write(work)
    if json:
        print_json(_as_json(window, names))
        return
    say(f"maintenance {window.id}: {shown(window.start)} to {shown(window.end)}, {_whose(window, names)}")
    notice = cli.settings.sla.maintenance_notice_hours
    if window.announced_at > window.start - notice * HOUR:
        say(f"warning: it begins within {notice} h, so it does not count for the SLA", style="yellow")


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="What holds for this tenant.")] = None,
    past: Annotated[bool, typer.Option("--past", help="Also what is over.")] = False,
    json: Json = False,
) -> None:
    """List announced maintenance."""
    from mailguard.store.maintenance import windows
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)

    def work(conn: Connection) -> tuple[list[Window], dict[int, str]]:
        start = 0 if past else cli.now(conn)
        return windows(conn, tenant=tenant_id(conn, tenant), start=start), tenant_names(conn)

    found, names = cli.read(work)
    if json:
        print_json([_as_json(window, names) for window in found])
        return
    print_table(
        ("ID", "FROM", "TO", "TENANT", "ANNOUNCED", "BY", "WHY"),
        (
            (
                str(window.id),
                shown(window.start),
                shown(window.end),
                _whose(window, names),
                shown(window.announced_at),
                window.author,
                window.why,
            )
            for window in found
        ),
        empty="no maintenance is announced",
    )


@app.command("remove")
def remove(
    context: typer.Context,
    *,
    number: Annotated[int, typer.Argument(metavar="ID", help="Of the window.", show_default=False)],
    why: Why = "",
    actor: Actor = "",
) -> None:
    """Take announced maintenance back, before it is over."""
    from mailguard.store.maintenance import remove_window

    cli = cli_of(context)
    who = actor_name(actor)
    window = cli.write(lambda conn: remove_window(conn, number, now=cli.now(conn), actor=who, why=why))
    say(f"maintenance {window.id} is taken back")


def _whose(window: Window, names: dict[int, str]) -> str:
    return "all" if window.tenant is None else names.get(window.tenant, str(window.tenant))


def _as_json(window: Window, names: dict[int, str]) -> dict[str, object]:
    return {
        "id": window.id,
        "from": to_iso(window.start),
        "to": to_iso(window.end),
        "tenant": None if window.tenant is None else _whose(window, names),
        "announced_at": to_iso(window.announced_at),
        "by": window.author,
        "why": window.why,
    }
