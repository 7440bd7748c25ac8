"""`mailguard quarantine learn`: telling a tenant's filter what a mail is, kept or delivered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import actor_name, cli_of
from mailguard.cli.recorded import Actor, Why
from mailguard.cli.teaching import lesson_json, sentence, teach_units
from mailguard.cli.terminal import Cell, print_json, print_table
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from mailguard.learning.copies import Copy
    from mailguard.store.trace import TracedUnit

MOST_OCTETS = 50_000_000


def learn(
    context: typer.Context,
    *,
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Of a mail, or of a message: to all its tenants.", show_default=False),
    ],
    spam: Annotated[bool, typer.Option("--spam", help="It is spam.")] = False,
    ham: Annotated[bool, typer.Option("--ham", help="It is wanted.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="A copy of the mail as its recipient has it, for one that was delivered and is kept no longer.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    why: Why = "",
    actor: Actor = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Teach a tenant that a mail is spam, or wanted: mail like it is scored so from now on, for this tenant alone.

    The mail itself stays where it is; `mailguard quarantine release` teaches and delivers. `mailguard lessons` shows and
    undoes what was taught. Exits 1 when any of the mails taught nothing.
    """
    from mailguard.store import trace
    from mailguard.store.lessons import Source

    if spam == ham:
        raise ConfigError([Problem("quarantine learn", "give either --spam or --ham")])
    cli = cli_of(context)
    units = cli.read(lambda conn: trace.look_up(conn, ids))
    copies = {}
    if file is not None:
        copy = _copy(file, units)
        copies[copy.message] = copy.content
    results = teach_units(cli, units, spam=spam, source=Source.LEARN, actor=actor_name(actor), why=why, copies=copies)
    gone = "not taught: it is no longer kept; give a copy that its recipient has with --file"
    if json:
        rows = [{"id": unit.id, "recipient": unit.recipient, **_json(results.get(unit.id))} for unit in units]
        print_json(rows)
    else:
        print_table(
            ("ID", "TO", "SUBJECT", ""),
            (
                (
                    unit.id,
                    unit.recipient,
                    unit.subject,
                    Cell(sentence(results[unit.id]), "green") if unit.id in results else Cell(gone, "red"),
                )
                for unit in units
            ),
        )
    if not all(unit.id in results and results[unit.id].outcome in ("learned", "known") for unit in units):
        raise typer.Exit(1)


def _json(result: object) -> dict[str, object]:
    from mailguard.learning.lessons import Result

    shown = lesson_json(result) if isinstance(result, Result) else None
    return shown or {"outcome": "not_kept", "lesson": None, "score_before": None, "score_after": None}


def _copy(file: Path, units: list[TracedUnit]) -> Copy:
    """What a file is a copy of. Raises ConfigError unless it is of the one message that is taught."""
    from mailguard.learning.copies import read_copy

    if file.stat().st_size > MOST_OCTETS:
        raise ConfigError([Problem("--file", f"{file} is larger than any mail")])
    copy = read_copy(file.read_bytes())
    if copy is None:
        raise ConfigError(
            [Problem("--file", f"{file} bears no X-MailGuard-Id: save the mail with its headers, as it was delivered")]
        )
    messages = {(unit.message, unit.header_message_id) for unit in units}
    if messages != {(copy.message, copy.header_message_id)}:
        raise ConfigError([Problem("--file", f"{file} is a copy of {copy.message}; give that ID, and no other")])
    return copy
