"""`mailguard scanner`: clamd as it answers now, and the reload of its signatures. By pyclamd: one question, one connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mailguard.cli.context import cli_of
from mailguard.cli.terminal import print_facts, print_json, say
from mailguard.core.errors import UnavailableError

if TYPE_CHECKING:
    from mailguard.config import Settings

T = TypeVar("T")
TIMEOUT = 10.0
"""Seconds for an answer of clamd."""

app = typer.Typer(no_args_is_help=True, help="The virus scanner.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("status")
def status(context: typer.Context, *, json: Json = False) -> None:
    """Show clamd's version, its signatures and how busy it is. Exits 1 when it does not answer."""
    settings = cli_of(context).settings
    version = _ask(settings, lambda clamd: str(clamd.version()))
    stats = _ask(settings, lambda clamd: str(clamd.stats()))
    # `ClamAV 1.4.3/27805/Mon Nov 23 …`, the number and date only when there are official signatures
    engine, _, signatures = version.partition("/")
    number, _, made = signatures.partition("/")
    facts = {"address": settings.clamav.address, "engine": engine, "signatures": number, "signatures_made": made}
    if json:
        print_json({**facts, "stats": stats.splitlines()})
        return
    print_facts({name.replace("_", " "): value or "none official" for name, value in facts.items()})
    for line in stats.splitlines():
        say(line.replace("\t", "  "))


@app.command("reload")
def reload(context: typer.Context) -> None:
    """Let clamd read its signatures anew. Mail is scanned by the old ones meanwhile."""
    settings = cli_of(context).settings
    answer = _ask(settings, lambda clamd: str(clamd.reload()))
    say(f"clamd at {settings.clamav.address} answers: {answer.strip()}")


def _ask(settings: Settings, question: Callable[[Any], T]) -> T:
    """One question to clamd. Raises UnavailableError."""
    import pyclamd

    from mailguard.config.values import split_host_port

    address = settings.clamav.address
    try:
        if "/" in address:
            clamd = pyclamd.ClamdUnixSocket(filename=address, timeout=TIMEOUT)
        else:
            host, port = split_host_port(address)
            clamd = pyclamd.ClamdNetworkSocket(host=host, port=port, timeout=TIMEOUT)
        return question(clamd)
    except (pyclamd.ConnectionError, OSError) as error:
        raise UnavailableError(f"clamd at {address} does not answer: {error}; see [clamav] address") from error
