"""`mailguard quarantine`: what is kept from its recipients."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, actor_name, cli_of, tenant_id
from mailguard.cli.quarantine_learn import learn as learn_command
from mailguard.cli.report_mail import request
from mailguard.cli.teaching import Learn, lesson_json, sentence, teach_units
from mailguard.cli.terminal import Cell, print_json, print_raw, print_table, say
from mailguard.cli.when import point
from mailguard.core.clock import DAY
from mailguard.core.decision import Reason
from mailguard.core.errors import ConfigError, NotFoundError, Problem
from mailguard.core.events import State

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.learning.lessons import Result
    from mailguard.quarantine.hold import HoldQuery
    from mailguard.quarantine.release import Release
    from mailguard.store.trace import TracedUnit

app = typer.Typer(no_args_is_help=True, help="Kept mail: look at it, release it, delete it.")

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Of a mail, or of a message: all of its mails.", show_default=False),
]
Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.")]
To = Annotated[str, typer.Option("--to", "--recipient", metavar="ADDRESS", help="Recipient: an address or a domain.")]
From = Annotated[
    str, typer.Option("--from", "--sender", metavar="ADDRESS", help="Sender: an address or a domain; '<>' for bounces.")
]
Why = Annotated[Reason | None, typer.Option("--reason", metavar="REASON", help="Only what is kept for this reason.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Received from then on: 7d, 2026-11-01 (UTC).")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Received before then.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Actor = Annotated[str, typer.Option("--actor", help="Who does it, for the record. Default: the user.")]
Explain = Annotated[str, typer.Option("--why", help="Why, for the record.")]

BATCH = 100
"""How many mails one transaction of `--all` takes, so that the relay's writes never wait for long."""

SENTENCES = {
    "releasing": "will be delivered",
    "under_way": "is being delivered already",
    "released": "was released already; --again delivers it once more",
    "malware": "holds malware; --force releases it all the same",
    "not_scanned": "is still to be scanned; --force releases it unscanned",
    "no_route": "cannot be delivered: its domain is no longer the tenant's",
    "no_body": "cannot be released: its message is no longer kept",
    "not_kept": "is not in quarantine",
}


app.command("request")(request)
app.command("learn")(learn_command)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the newest.")] = 100,
    probes: Annotated[bool, typer.Option("--probes", help="Also mail of `mailguard probe`.")] = False,
    json: Json = False,
) -> None:
    """List the quarantine, the newest last."""
    from mailguard.cli.mail import print_units, unit_json
    from mailguard.quarantine import hold
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)

    def work(conn: Connection) -> tuple[list[TracedUnit], dict[int, str]]:
        query = _query(
            cli, conn, tenant=tenant, to=to, sender=sender, reason=reason, since=since, until=until, limit=limit
        )
        return hold.search(conn, replace(query, probes=probes)), tenant_names(conn)

    units, names = cli.read(work)
    if json:
        print_json([unit_json(unit, names, events=False) for unit in units])
        return
    print_units(units, names, empty="nothing in quarantine")
    if len(units) == limit:
        say(f"these are the newest {limit}; narrow the search or raise --limit for more")


@app.command("show")
def show(
    context: typer.Context,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Of a mail or of a message.", show_default=False)],
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the message itself, hostile as it may be. Who looked is recorded.")
    ] = False,
    actor: Actor = "",
    why: Explain = "",
    json: Json = False,
) -> None:
    """Show kept mail: what was found in it, why it is kept, and what happened to it."""
    from mailguard.cli.explanation import Profiles
    from mailguard.cli.mail import print_unit, unit_json
    from mailguard.store import trace
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    if raw:
        _show_raw(cli, ids, actor=actor_name(actor), why=why)
        return

    def work(conn: Connection) -> tuple[list[TracedUnit], dict[int, str]]:
        return trace.with_events(conn, trace.look_up(conn, ids)), tenant_names(conn)

    units, names = cli.read(work)
    if json:
        print_json([unit_json(unit, names) for unit in units])
        return
    profiles = Profiles(cli)
    for unit in units:
        print_unit(unit, names, margins=profiles.margins)


@app.command("release")
def release(
    context: typer.Context,
    *,
    ids: Ids = None,
    all_: Annotated[bool, typer.Option("--all", help="All that the filters match, instead of IDs.")] = False,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    force: Annotated[bool, typer.Option("--force", help="Even malware and what is not scanned yet; recorded.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Even what was released already; recorded.")] = False,
    false_positive: Annotated[
        bool, typer.Option("--false-positive", help="Record that it should not have been kept: the SLA counts it.")
    ] = False,
    learn: Learn = True,
    why: Explain = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Deliver kept mail to its recipient: the original message, with its original sender, once.

    However often and from wherever it is called, each mail is delivered once, unless --again says otherwise. Its tenant
    learns from it that mail like it is wanted. Exits 1 when any of the mails was left alone.
    """
    from mailguard.quarantine import hold
    from mailguard.quarantine.release import RELEASABLE
    from mailguard.quarantine.release import release as release_units
    from mailguard.store.lessons import Source

    cli = cli_of(context)
    states = RELEASABLE | ({State.RELEASED} if again else frozenset())
    who = actor_name(actor)
    lifetime = round(cli.settings.queue.retention_days * DAY)

    def find(conn: Connection) -> list[TracedUnit]:
        query = _query(cli, conn, tenant=tenant, to=to, sender=sender, reason=reason, since=since, until=until)
        return _chosen(conn, ids, all_=all_, query=query, states=hold.IN_QUARANTINE if all_ else states)

    results: list[Release] = []
    for batch in _batches(cli.read(find)):

        def work(conn: Connection, batch: Sequence[TracedUnit] = batch) -> list[Release]:
            return release_units(
                conn,
                batch,
                actor=who,
                now=cli.now(conn),
                lifetime=lifetime,
                why=why,
                force=force,
                again=again,
                false_positive=false_positive,
            )

        results += cli.write_persistently(work)
    wanted = [result.unit for result in results if learn and result.outcome == "releasing" and not result.malware]
    lessons: dict[str, Result] = {}
    try:
        lessons = teach_units(cli, wanted, spam=False, source=Source.RELEASE, actor=who, why=why)
    finally:
        _report(results, lessons, json=json)  # what is released is so, whatever came of teaching
    if not all(result.outcome.is_done for result in results):
        raise typer.Exit(1)


@app.command("delete")
def delete(
    context: typer.Context,
    *,
    ids: Ids = None,
    all_: Annotated[bool, typer.Option("--all", help="All that the filters match, instead of IDs.")] = False,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    reason: Why = None,
    since: Since = None,
    until: Until = None,
    why: Explain = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Delete kept mail before its retention ends. What happened to it stays in the trace."""
    from mailguard.quarantine import hold

    cli = cli_of(context)
    who = actor_name(actor)

    def find(conn: Connection) -> list[TracedUnit]:
        query = _query(cli, conn, tenant=tenant, to=to, sender=sender, reason=reason, since=since, until=until)
        return _chosen(conn, ids, all_=all_, query=query, states=hold.DELETABLE)

    done: list[TracedUnit] = []
    for batch in _batches(cli.read(find)):
        cli.write(partial(hold.delete, units=batch, actor=who, why=why))
        done += batch
    if json:
        print_json([{"id": unit.id, "recipient": unit.recipient, "outcome": "deleted"} for unit in done])
    else:
        say(f"{len(done)} mail{'' if len(done) == 1 else 's'} deleted" if done else "nothing matches")


# --- arguments -------------------------------------------------------------------------------------------------------


def _query(
    cli: Cli,
    conn: Connection,
    *,
    tenant: str | None,
    to: str,
    sender: str,
    reason: Reason | None,
    since: str | None,
    until: str | None,
    limit: int = 0,
) -> HoldQuery:
    from mailguard.quarantine.hold import HoldQuery

    now = cli.now(conn)
    return HoldQuery(
        tenant=tenant_id(conn, tenant),
        recipient=to,
        sender=sender,
        reason=reason,
        since=point(since, option="--since", now=now) if since else 0,
        until=point(until, option="--until", now=now) if until else 0,
        limit=limit,
    )


def _chosen(
    conn: Connection, ids: Sequence[str] | None, *, all_: bool, query: HoldQuery, states: frozenset[State]
) -> list[TracedUnit]:
    """The units that the arguments mean: either ids, or `--all` with at least one filter."""
    from mailguard.quarantine import hold
    from mailguard.store import trace

    if bool(ids) == all_:
        raise ConfigError([Problem("ID", "give ids, or --all with filters; see `mailguard quarantine list`")])
    if ids:
        if query.names_something:
            raise ConfigError([Problem("ID", "filters go with --all, not with ids")])
        return trace.choose(conn, ids, states=states)
    if not query.names_something:
        raise ConfigError([Problem("--all", "give at least one filter, such as --tenant or --since")])
    return hold.search(conn, query)


def _batches(units: Sequence[TracedUnit]) -> Iterator[Sequence[TracedUnit]]:
    return (units[start : start + BATCH] for start in range(0, len(units), BATCH))


# --- work and output -------------------------------------------------------------------------------------------------


def _report(results: Sequence[Release], lessons: Mapping[str, Result], *, json: bool) -> None:
    if json:
        print_json(
            [
                {
                    "id": result.unit.id,
                    "recipient": result.unit.recipient,
                    "outcome": result.outcome,
                    "done": result.outcome.is_done,
                    "malware": list(result.malware),
                    "state_before": result.unit.state,
                    "lesson": lesson_json(lessons.get(result.unit.id)),
                }
                for result in results
            ]
        )
        return
    print_table(
        ("ID", "TO", "SUBJECT", ""),
        (
            (
                result.unit.id,
                result.unit.recipient,
                result.unit.subject,
                Cell(
                    "; ".join(filter(None, (_sentence(result), sentence(lessons.get(result.unit.id), asked=False)))),
                    "green" if result.outcome.is_done else "red",
                ),
            )
            for result in results
        ),
        empty="nothing in quarantine matches",
    )


def _sentence(result: Release) -> str:
    sentence = SENTENCES[result.outcome]
    if result.outcome == "malware" and result.malware:
        return f"{sentence} ({', '.join(result.malware)})"
    return f"{sentence} ({result.unit.state})" if result.outcome == "not_kept" else sentence


def _show_raw(cli: Cli, ids: Sequence[str], *, actor: str, why: str) -> None:
    """Record the access first: a message that was shown was recorded."""
    from mailguard.quarantine import hold
    from mailguard.store import trace

    def record(conn: Connection) -> list[TracedUnit]:
        units = trace.look_up(conn, ids)
        gone = [unit.id for unit in units if not unit.body]
        if gone:
            raise NotFoundError(f"the message of {', '.join(gone)} is no longer kept")
        hold.record_access(conn, units, actor=actor, now=cli.now(conn), why=why)
        return units

    units = cli.write(record)
    for message in dict.fromkeys(unit.message for unit in units):
        content = cli.blobs.get(message)
        if sys.stdout.isatty():
            for line in content.decode("utf-8", "replace").splitlines():
                say(line)
        else:
            print_raw(content)
