"""`mailguard report spam|virus|false-positive` and `mailguard quarantine request`: what clients say about single mails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import actor_name, cli_of
from mailguard.cli.terminal import print_json, say

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.complaints import Kind
    from mailguard.store.trace import TracedUnit

Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Of a mail, or of a message: all of its mails.", show_default=False),
]
Undo = Annotated[bool, typer.Option("--undo", help="Take back what was reported.")]
Why = Annotated[str, typer.Option("--why", help="Why, for the record.")]
Actor = Annotated[str, typer.Option("--actor", help="Who says so, for the record. Default: the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def spam(
    context: typer.Context, *, ids: Ids, undo: Undo = False, why: Why = "", actor: Actor = "", json: Json = False
) -> None:
    """Record that delivered mail was spam: the SLA counts it as missed."""
    from mailguard.store.complaints import Kind

    _report(context, ids, Kind.SPAM, undo=undo, why=why, actor=actor, json=json)


def virus(
    context: typer.Context, *, ids: Ids, undo: Undo = False, why: Why = "", actor: Actor = "", json: Json = False
) -> None:
    """Record that delivered mail held a virus: the SLA counts it as missed."""
    from mailguard.store.complaints import Kind

    _report(context, ids, Kind.VIRUS, undo=undo, why=why, actor=actor, json=json)


def false_positive(
    context: typer.Context, *, ids: Ids, undo: Undo = False, why: Why = "", actor: Actor = "", json: Json = False
) -> None:
    """Record that mail was kept or refused, but wanted; `quarantine release --false-positive` also releases it."""
    from mailguard.store.complaints import Kind

    _report(context, ids, Kind.FALSE_POSITIVE, undo=undo, why=why, actor=actor, json=json)


def request(context: typer.Context, *, ids: Ids, why: Why = "", actor: Actor = "", json: Json = False) -> None:
    """Record that somebody asks for the release of kept mail: the SLA measures how soon it is released or deleted."""
    from mailguard.store import complaints, trace
    from mailguard.store.complaints import KEPT

    cli = cli_of(context)
    who = actor_name(actor)

    def work(conn: Connection) -> tuple[list[TracedUnit], list[str]]:
        units = trace.choose(conn, ids, states=KEPT)
        return units, complaints.request_release(conn, units, actor=who, now=cli.now(conn), why=why)

    units, new = cli.write(work)
    _print(units, new, done="requested", before="was requested already", json=json)


def _report(
    context: typer.Context, ids: list[str], kind: Kind, *, undo: bool, why: str, actor: str, json: bool
) -> None:
    from mailguard.store import complaints, trace

    cli = cli_of(context)
    who = actor_name(actor)

    def work(conn: Connection) -> tuple[list[TracedUnit], list[str]]:
        units = [unit for unit in trace.look_up(conn, ids) if unit.id in ids or undo or kind.fits(unit)]
        units = units or trace.look_up(conn, ids)
        if undo:
            return units, complaints.withdraw(conn, units, kind, actor=who, why=why)
        return units, complaints.complain(conn, units, kind, actor=who, now=cli.now(conn), why=why)

    units, changed = cli.write(work)
    if undo:
        _print(units, changed, done="taken back", before="was not reported so", json=json)
    else:
        _print(units, changed, done=f"reported as {kind.value}", before="was reported so already", json=json)


def _print(units: list[TracedUnit], changed: list[str], *, done: str, before: str, json: bool) -> None:
    if json:
        print_json([{"id": unit.id, "recipient": unit.recipient, "changed": unit.id in changed} for unit in units])
        return
    for unit in units:
        say(f"{unit.id} to {unit.recipient}: {done if unit.id in changed else before}")
