"""`mailguard report`: what clients are told of their month."""

from __future__ import annotations

import typer

from mailguard.cli.report_mail import false_positive, spam, virus
from mailguard.cli.report_monthly import monthly

app = typer.Typer(no_args_is_help=True, help="Reports to clients, and what clients report.")
app.command("monthly")(monthly)
app.command("spam")(spam)
app.command("virus")(virus)
app.command("false-positive")(false_positive)
