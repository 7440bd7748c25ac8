"""`mailguard ledger check`: proves that every accepted recipient is in exactly one state, and that the counts add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import cli_of
from mailguard.cli.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.consistency import Discrepancy

app = typer.Typer(no_args_is_help=True, help="The ledger of accepted mail.")


@app.command("check")
def check(
    context: typer.Context,
    *,
    bodies: Annotated[bool, typer.Option("--bodies/--no-bodies", help="Also look for the stored messages.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the ledger against itself, the queue and the stored messages; name what does not hold, exit 1."""
    from mailguard.store.consistency import check_in

    cli = cli_of(context)
    blobs = cli.blobs if bodies else None

    def work(conn: Connection) -> tuple[list[Discrepancy], int]:
        return check_in(conn, blobs), _count(conn)

    found, units = cli.read(work)
    if json:
        print_json(
            {
                "holds": not found,
                "units": units,
                "discrepancies": [
                    {"kind": discrepancy.kind, "subject": discrepancy.subject, "text": discrepancy.text}
                    for discrepancy in found
                ],
            }
        )
    elif found:
        print_table(
            ("SUBJECT", "KIND", "WHAT DOES NOT HOLD"),
            ((discrepancy.subject, discrepancy.kind, discrepancy.text) for discrepancy in found),
        )
    else:
        say(f"the ledger holds: {units:,} accepted recipients, each in exactly one state")
    if found:
        raise typer.Exit(1)


def _count(conn: Connection) -> int:
    from sqlalchemy import func, select

    from mailguard.store import schema

    return int(conn.execute(select(func.count()).select_from(schema.units)).scalar_one())
