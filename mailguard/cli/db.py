"""`mailguard db`: bring the database's schema up to date, and say where it stands."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from mailguard.cli.context import cli_of
from mailguard.cli.terminal import print_json, say
from mailguard.core.errors import UnavailableError

app = typer.Typer(no_args_is_help=True, help="The database's schema.")


@app.command("upgrade")
def upgrade(context: typer.Context) -> None:
    """Create the schema or bring it up to date. Safe to repeat, and while the previous version still runs."""
    from mailguard.store import migrations

    url = cli_of(context).settings.database.url
    before = ""
    with suppress(UnavailableError):  # its directory may still have to be made; if it is really away, upgrade says so
        before = migrations.current_revision(url)
    migrations.upgrade(url)
    after = migrations.current_revision(url)
    say(f"database is up to date ({after})" if before == after else f"database upgraded: {before or 'empty'} → {after}")


@app.command("status")
def status(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say whether the schema is up to date; exit 1 when it is not. One that is further on than the program is fine."""
    from mailguard.store import migrations

    url = cli_of(context).settings.database.url
    current, head = migrations.current_revision(url), migrations.head_revision()
    if json:
        print_json({"current": current, "head": head, "up_to_date": current >= head})
    elif current >= head:
        say(f"database is up to date ({current})")
    else:
        say(f"database is at {current or 'no revision'}, the program at {head}: run `mailguard db upgrade`")
    if current < head:
        raise typer.Exit(1)
