"""`mailguard serve`: the relay itself."""

from __future__ import annotations

import gc
import os

import typer

from mailguard.cli.context import cli_of


def serve(context: typer.Context) -> None:
    """Run the relay until SIGTERM, which drains it; SIGHUP reloads certificates and policies."""
    settings = cli_of(context).settings
    # NumPy's algebra would start threads when it is imported, and a process with threads is not to be forked.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

    # What is read until the workers are forked stays: to look through it again and again for what could go took 0.15 s.
    gc.disable()
    try:
        from mailguard.app.parent import serve as run

        raise typer.Exit(run(settings))
    finally:
        gc.enable()
