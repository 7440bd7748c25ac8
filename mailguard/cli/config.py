"""`mailguard config`: check and show the settings, and print their reference."""

from __future__ import annotations

from typing import Annotated

import typer

from mailguard.cli.context import cli_of
from mailguard.cli.terminal import print_json, print_plain, print_table, say

app = typer.Typer(no_args_is_help=True, help="The settings of mailguard.toml and the environment.")


@app.command("check")
def check(context: typer.Context) -> None:
    """Check all settings; exit 2 with each wrong key, its value and what is allowed."""
    cli = cli_of(context)
    _ = cli.settings
    say("the settings are in order")


@app.command("show")
def show(context: typer.Context, *, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the settings as they take effect, defaults included, passwords masked."""
    from mailguard.config.load import shown

    settings = shown(cli_of(context).settings)
    if json:
        print_json(settings)
        return
    print_table(
        ("KEY", "VALUE"),
        ((f"{section}.{key}", _text(value)) for section, table in settings.items() for key, value in table.items()),
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return str(value).lower() if isinstance(value, bool) else str(value) or "(none)"


@app.command("reference", hidden=True)
def reference(
    *, toml: Annotated[bool, typer.Option("--toml", help="The example file instead of the page.")] = False
) -> None:
    """Print docs/configuration.md, or docs/mailguard.example.toml with --toml."""
    from mailguard.config.reference import example, markdown

    for line in (example() if toml else markdown()).splitlines():
        print_plain(line)
