"""All commands put together. Which there are is known at once; a command's module loads when it is run or its help is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mailguard.cli.context import Cli
from mailguard.cli.several import SeveralValues

if TYPE_CHECKING:
    from typer._click.core import Command, Context  # typer has its own Click

COMMANDS = {
    "serve": "serve:serve",
    "tenant": "tenant:app",
    "recipient": "recipient:app",
    "policy": "policy:app",
    "quarantine": "quarantine:app",
    "lessons": "lessons:app",
    "trace": "trace:trace",
    "scan": "scan:scan",
    "evaluate": "evaluate:evaluate",
    "train": "train:train",
    "scanner": "scanner:app",
    "usage": "usage:usage",
    "plan": "plan:app",
    "contract": "contract:app",
    "bill": "bill:app",
    "report": "report:app",
    "sla": "sla:sla",
    "probe": "probe:app",
    "maintenance": "maintenance:app",
    "queue": "queue:app",
    "ledger": "ledger:app",
    "audit": "audit:app",
    "privacy": "privacy:app",
    "config": "config:app",
    "db": "db:app",
    "playground": "playground:playground",
    "demo": "demo:demo",
    "sink": "sink:sink",
}
"""Each command, in the order of the help: the module in mailguard.cli, and what in it is the function or the group."""
_CLASSES = {"evaluate": SeveralValues}


class _Loaded(Mapping[str, "Command"]):
    """The commands by their names, each loaded when it is asked for, once."""

    def __init__(self) -> None:
        self._made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._made:
            self._made[name] = _load(name, COMMANDS[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _load(name: str, place: str) -> Command:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"mailguard.cli.{module}"), attribute)
    alone = typer.Typer(pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
    else:
        alone.command(name, cls=_CLASSES.get(name))(found)
    return typer.main.get_group(alone).commands[name]


class _Root(TyperGroup):
    """`mailguard` itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Loaded()  # type: ignore[assignment]  # nobody adds to it

    def list_commands(self, ctx: Context) -> list[str]:
        """See Click."""
        return list(COMMANDS)


app = typer.Typer(
    name="mailguard",
    cls=_Root,
    help="A managed e-mail-filtering SMTP relay: takes in, checks, forwards, quarantines, explains and meters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from mailguard import __version__

        typer.echo(f"mailguard {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="MAILGUARD_CONFIG",
            help="The configuration file. Default: mailguard.toml here, else /etc/mailguard/mailguard.toml.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""
    cli = Cli(config)
    context.obj = cli
    context.call_on_close(cli.close)
