"""All commands put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailguard.cli import (
    audit,
    bill,
    contract,
    db,
    ledger,
    lessons,
    maintenance,
    plan,
    policy,
    privacy,
    probe,
    quarantine,
    queue,
    recipient,
    report,
    scanner,
    tenant,
)
from mailguard.cli import config as config_commands
from mailguard.cli.context import Cli
from mailguard.cli.demo import demo
from mailguard.cli.evaluate import evaluate
from mailguard.cli.playground import playground
from mailguard.cli.scan import scan
from mailguard.cli.serve import serve
from mailguard.cli.several import SeveralValues
from mailguard.cli.sink import sink
from mailguard.cli.sla import sla
from mailguard.cli.trace import trace
from mailguard.cli.train import train
from mailguard.cli.usage import usage

app = typer.Typer(
    name="mailguard",
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


app.command("serve")(serve)
app.add_typer(tenant.app, name="tenant")
app.add_typer(recipient.app, name="recipient")
app.add_typer(policy.app, name="policy")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(lessons.app, name="lessons")
app.command("trace")(trace)
app.command("scan")(scan)
app.command("evaluate", cls=SeveralValues)(evaluate)
app.command("train")(train)
app.add_typer(scanner.app, name="scanner")
app.command("usage")(usage)
app.add_typer(plan.app, name="plan")
app.add_typer(contract.app, name="contract")
app.add_typer(bill.app, name="bill")
app.add_typer(report.app, name="report")
app.command("sla")(sla)
app.add_typer(probe.app, name="probe")
app.add_typer(maintenance.app, name="maintenance")
app.add_typer(queue.app, name="queue")
app.add_typer(ledger.app, name="ledger")
app.add_typer(audit.app, name="audit")
app.add_typer(privacy.app, name="privacy")
app.add_typer(config_commands.app, name="config")
app.add_typer(db.app, name="db")
app.command("playground")(playground)
app.command("demo")(demo)
app.command("sink")(sink)
