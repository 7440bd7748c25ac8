"""`mailguard serve`: the relay itself."""

from __future__ import annotations

import typer

from mailguard.cli.context import cli_of


def serve(context: typer.Context) -> None:
    """Run the relay until SIGTERM, which drains it; SIGHUP reloads certificates and policies."""
    cli = cli_of(context)
    settings = cli.settings

    from mailguard.app.parent import serve as run

    raise typer.Exit(run(settings, config=cli.config))
