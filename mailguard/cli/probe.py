"""`mailguard probe`: does mail go through, and is what is bad stopped? From this host or any other; results are recorded."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, Problems, cli_of
from mailguard.cli.terminal import Cell, complain, print_facts, print_plain, print_table, say
from mailguard.core.errors import ConfigError, Problem, UnavailableError

if TYPE_CHECKING:
    from mailguard.cli.probe_setup import Wanted
    from mailguard.watch.probe_result import RunResult
    from mailguard.watch.probe_results import Taken

app = typer.Typer(invoke_without_command=True)
HOST_PORT = "HOST:PORT"


@app.callback()
def probe(
    context: typer.Context,
    *,
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose mail is probed.")] = "",
    server: Annotated[
        str, typer.Option("--server", metavar=HOST_PORT, help="The door. Default: probe.server, else our own.")
    ] = "",
    to: Annotated[str, typer.Option("--to", metavar="CANARY", help="A mailbox of the tenant's for such mail.")] = "",
    starttls: Annotated[bool, typer.Option("--starttls", help="Insist on TLS.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="And on a certificate of the server's name.")] = False,
    listen: Annotated[
        str, typer.Option("--listen", metavar=HOST_PORT, help="Be the mail server of the canary's domain meanwhile.")
    ] = "",
    imap: Annotated[
        str, typer.Option("--imap", metavar="HOST[:PORT]", help="Look into the canary's mailbox, by IMAP over TLS.")
    ] = "",
    imap_user: Annotated[str, typer.Option("--imap-user", help="As whom. Default: the canary's address.")] = "",
    imap_folder: Annotated[str, typer.Option("--imap-folder", help="Where.")] = "INBOX",
    database: Annotated[
        bool | None,
        typer.Option("--database/--no-database", help="Look into the relay's record. Default: if there is one here."),
    ] = None,
    door_only: Annotated[
        bool, typer.Option("--door-only", help="Be content with what the door says; do not look for the mail.")
    ] = False,
    only: Annotated[str, typer.Option("--only", metavar="KINDS", help="Of the mails.")] = "clean,eicar,gtube",
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, max=600, help="Seconds that the door has, and then the mail to arrive.")
    ] = 60.0,
    place: Annotated[str, typer.Option("--place", help="What this place is called in the record.")] = "",
    record: Annotated[bool, typer.Option("--record", help="Record the result for the SLA.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one signed line of JSON, for `probe record`.")] = False,
) -> None:
    """Send a clean mail, EICAR and GTUBE through the door, and see what becomes of them. None of them is billed.

    They are marked with the key of the settings, probe.key, which must be the relay's too. Exits 1 unless all is as it must be.
    """
    if context.invoked_subcommand is not None:
        return
    from mailguard.cli.probe_setup import Wanted

    wanted = Wanted(
        tenant=tenant,
        server=server,
        to=to,
        starttls=starttls,
        verify=verify,
        listen=listen,
        imap=imap,
        imap_user=imap_user,
        imap_folder=imap_folder,
        database=True if record and database is None else database,
        door_only=door_only,
        only=only,
        timeout=timeout,
        place=place,
    )
    _probe(cli_of(context), wanted, record=record, json=json)


def _probe(cli: Cli, wanted: Wanted, *, record: bool, json: bool) -> None:
    from mailguard.cli.probe_setup import prepare
    from mailguard.watch.probe_result import line_of

    ready = prepare(cli, wanted)
    if record and not ready.has_clean:
        raise ConfigError([Problem("--only", "the SLA wants the clean mail too: leave --only out with --record")])
    result = asyncio.run(ready.run())
    if json:
        print_plain(line_of(result, key=cli.settings.probe.key))
    else:
        _print(result)
    if record:
        taken = _take(cli, [("this result", result)])
        if not json:
            say(_taken_text(taken))
    if not result.ok:
        raise typer.Exit(1)


@app.command("record")
def record_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Lines of `mailguard probe --json`; '-': standard input.")
    ],
) -> None:
    """Record results that were made elsewhere. Each counts once; all of them must be genuine, or none is recorded."""
    from mailguard.watch.probe_result import read

    cli = cli_of(context)
    key = _key(cli)
    results, problems = [], Problems()
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        where = f"{'standard input' if str(file) == '-' else file} line {number}"
        try:
            results.append((where, read(line.strip(), key=key)))
        except ValueError as error:
            problems.add(Problem(where, str(error)))
    problems.raise_any()
    say(_taken_text(_take(cli, results)))


def _lines(file: Path) -> list[str]:
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(file), f"cannot be read: {error.strerror or error}")]) from error
    return raw.decode("utf-8", "replace").split("\n")


def _take(cli: Cli, results: list[tuple[str, RunResult]]) -> Taken:
    from mailguard.watch.probe_results import take_in

    try:
        return cli.write(partial(take_in, results=results))
    except UnavailableError:
        complain("the result could not be recorded; with --json it can be kept, and fed to `mailguard probe record`")
        raise


def _key(cli: Cli) -> str:
    from mailguard.cli.probe_setup import key_of

    return key_of(cli)


def _taken_text(taken: Taken) -> str:
    parts = [f"{taken.new} recorded"]
    if taken.known:
        parts.append(f"{taken.known} recorded before")
    if taken.late:
        parts.append(f"{taken.late} too late: their month is closed")
    return ", ".join(parts)


def _print(result: RunResult) -> None:
    print_facts(
        {
            "tenant": result.tenant,
            "door": f"{result.server}, {'up' if result.up else 'down'}",
            "canary": result.recipient,
            "from": result.place,
        }
    )
    print_table(
        ("MAIL", "IS", "CONNECTED", "REPLY AFTER", "ARRIVED AFTER", "THE DOOR SAID"),
        (
            (
                mail.kind,
                Cell("not seen", "") if mail.ok is None else Cell(*_WORDS[mail.kind, mail.ok]),
                _ms(mail.connect_ms),
                _ms(mail.reply_ms),
                _ms(mail.arrival_ms),
                mail.reply,
            )
            for mail in result.mails
        ),
        right=("CONNECTED", "REPLY AFTER", "ARRIVED AFTER"),
    )
    for mail in result.mails:
        if mail.problem:
            say(f"{mail.kind}: {mail.problem}", style="red")
    if result.ok:
        say("all is as it must be", style="green")


_WORDS = {
    ("clean", True): ("delivered", "green"),
    ("clean", False): ("not delivered", "red"),
    **{(kind, True): ("stopped", "green") for kind in ("eicar", "gtube")},
    **{(kind, False): ("not stopped", "red") for kind in ("eicar", "gtube")},
}


def _ms(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:,} ms"
