"""`mailguard report spam|virus|false-positive` and `mailguard quarantine request`: what clients say about single mails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, actor_name, cli_of
from mailguard.cli.teaching import Learn, lesson_json, sentence, teach_units
from mailguard.cli.terminal import print_json, say

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.learning.lessons import Result
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
    context: typer.Context,
    *,
    ids: Ids,
    undo: Undo = False,
    learn: Learn = True,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Record that delivered mail was spam: the SLA counts it as missed.

    Its tenant learns from it, if the message is still kept for somebody; of a copy `mailguard quarantine learn` teaches.
    """
    from mailguard.store.complaints import Kind

    _report(context, ids, Kind.SPAM, undo=undo, learn=learn, why=why, actor=actor, json=json)


def virus(
    context: typer.Context, *, ids: Ids, undo: Undo = False, why: Why = "", actor: Actor = "", json: Json = False
) -> None:
    """Record that delivered mail held a virus: the SLA counts it as missed."""
    from mailguard.store.complaints import Kind

    _report(context, ids, Kind.VIRUS, undo=undo, learn=False, why=why, actor=actor, json=json)


def false_positive(
    context: typer.Context,
    *,
    ids: Ids,
    undo: Undo = False,
    learn: Learn = True,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Record that mail was kept or refused, but wanted; `quarantine release --false-positive` also releases it.

    Its tenant learns from it, if the message is still kept.
    """
    from mailguard.store.complaints import Kind

    _report(context, ids, Kind.FALSE_POSITIVE, undo=undo, learn=learn, why=why, actor=actor, json=json)


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
    context: typer.Context, ids: list[str], kind: Kind, *, undo: bool, learn: bool, why: str, actor: str, json: bool
) -> None:
    from mailguard.store import complaints, trace
    from mailguard.store.complaints import Kind
    from mailguard.store.lessons import Source

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
        withdrawn = [unit for unit in units if unit.id in changed]
        _unlearn(cli, withdrawn, actor=who, why=why)
        _print(units, changed, done="taken back", before="was not reported so", json=json)
        return
    taught = [unit for unit in units if learn and unit.id in changed and not unit.findings.malware]
    spam = kind is Kind.SPAM
    lessons = teach_units(cli, taught, spam=spam, source=Source.REPORT, actor=who, why=why)
    done = f"reported as {kind.value}"
    _print(units, changed, done=done, before="was reported so already", json=json, lessons=lessons)


def _unlearn(cli: Cli, units: Sequence[TracedUnit], *, actor: str, why: str) -> None:
    """Undo what was taught by reports that are taken back."""
    from mailguard.learning.lessons import undo
    from mailguard.store.lessons import LessonQuery, Source, find_lessons

    def work(conn: Connection) -> None:
        found = [
            lesson
            for message in dict.fromkeys(unit.message for unit in units)
            for lesson in find_lessons(conn, LessonQuery(message=message, in_force=True))
            if lesson.source is Source.REPORT and lesson.tenant in {unit.tenant for unit in units}
        ]
        undo(conn, found, actor=actor, now=cli.now(conn), why=why)

    if units:
        cli.write(work)


def _print(
    units: list[TracedUnit],
    changed: list[str],
    *,
    done: str,
    before: str,
    json: bool,
    lessons: Mapping[str, Result] | None = None,
) -> None:
    taught = lessons or {}
    if json:
        print_json(
            [
                {
                    "id": unit.id,
                    "recipient": unit.recipient,
                    "changed": unit.id in changed,
                    **({"lesson": lesson_json(taught[unit.id])} if unit.id in taught else {}),
                }
                for unit in units
            ]
        )
        return
    for unit in units:
        said = "; ".join(
            filter(None, (done if unit.id in changed else before, sentence(taught.get(unit.id), asked=False)))
        )
        say(f"{unit.id} to {unit.recipient}: {said}")
