"""`mailguard queue`: mail that waits for its next hop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, actor_name, cli_of, tenant_id
from mailguard.cli.terminal import Cell, print_json, print_table, say
from mailguard.cli.when import shown_span
from mailguard.core.clock import DAY
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.trace import TracedUnit
    from mailguard.store.waiting import Change

app = typer.Typer(no_args_is_help=True, help="Mail that waits for its next hop.")

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Of a mail, or of a message: all of its mails.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All that the filters match, instead of IDs.")]
Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.")]
To = Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Recipient: an address or a domain.")]
From = Annotated[
    str, typer.Option("--from", metavar="ADDRESS", help="Sender: an address or a domain; '<>' for bounces.")
]
Actor = Annotated[str, typer.Option("--actor", help="Who does it, for the record. Default: the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

BATCH = 100
"""How many mails one transaction takes, so that the relay's writes never wait for long."""

Action = Callable[["Connection", Sequence["TracedUnit"], int], "list[Change]"]


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the oldest.")] = 100,
    json: Json = False,
) -> None:
    """List what waits, the oldest first, and what was taken out of the queue after repeated crashes (parked)."""
    from mailguard.cli.mail import address_text, standing_text, state_cell, unit_json
    from mailguard.store import waiting
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)

    def work(conn: Connection) -> tuple[list[TracedUnit], dict[int, str], int]:
        query = waiting.WaitingQuery(tenant_id(conn, tenant), to, sender, limit)
        return waiting.search(conn, query), tenant_names(conn), cli.now(conn)

    units, names, now = cli.read(work)
    if json:
        print_json([unit_json(unit, names, events=False) for unit in units])
        return
    print_table(
        ("ID", "AGE", "TENANT", "STATE", "NEXT ATTEMPT", "TRIES", "FROM", "TO", "LAST REPLY"),
        (
            (
                unit.id,
                shown_span(now - unit.received_at),
                names.get(unit.tenant, str(unit.tenant)),
                state_cell(unit.state),
                "" if unit.queue is None else standing_text(unit.queue).removeprefix("next attempt "),
                "" if unit.queue is None else str(unit.queue.attempts),
                address_text(unit.mail_from),
                unit.recipient,
                "" if unit.queue is None else unit.queue.last_reply,
            )
            for unit in units
        ),
        right=("TRIES",),
        empty="the queue is empty",
    )
    if len(units) == limit:
        say(f"these are the oldest {limit}; narrow the search or raise --limit for more")


@app.command("show")
def show(
    context: typer.Context,
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Of a mail or of a message.", show_default=False)],
    json: Json = False,
) -> None:
    """Show waiting mail: where it stands, and every attempt so far."""
    from mailguard.cli.mail import print_unit, unit_json
    from mailguard.store import trace
    from mailguard.store.tenants import tenant_names

    units, names = cli_of(context).read(
        lambda conn: (trace.with_events(conn, trace.look_up(conn, ids)), tenant_names(conn))
    )
    if json:
        print_json([unit_json(unit, names) for unit in units])
        return
    for unit in units:
        print_unit(unit, names)


@app.command("retry")
def retry(
    context: typer.Context,
    *,
    ids: Ids = None,
    all_: All = False,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Try again now; what was parked goes back into the queue."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    lifetime = round(cli.settings.queue.retention_days * DAY)
    _change(
        cli,
        lambda conn, units, now: waiting.retry(conn, units, actor=who, now=now, lifetime=lifetime),
        _chosen(cli, ids, all_=all_, tenant=tenant, to=to, sender=sender),
        json=json,
    )


@app.command("hold")
def hold(
    context: typer.Context,
    *,
    ids: Ids = None,
    all_: All = False,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Keep mail in the queue without any attempt, until `queue unhold`."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    _change(
        cli,
        lambda conn, units, now: waiting.hold(conn, units, actor=who, now=now),
        _chosen(cli, ids, all_=all_, tenant=tenant, to=to, sender=sender),
        json=json,
    )


@app.command("unhold")
def unhold(
    context: typer.Context,
    *,
    ids: Ids = None,
    all_: All = False,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Let mail on hold go: it is tried now."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    _change(
        cli,
        lambda conn, units, now: waiting.unhold(conn, units, actor=who, now=now),
        _chosen(cli, ids, all_=all_, tenant=tenant, to=to, sender=sender),
        json=json,
    )


@app.command("cancel")
def cancel(
    context: typer.Context,
    *,
    ids: Ids = None,
    all_: All = False,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    why: Annotated[str, typer.Option("--why", help="Why, for the record.")] = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Take mail out of the queue for good. It is not delivered, and neither sender nor recipient is told."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    _change(
        cli,
        lambda conn, units, now: waiting.cancel(conn, units, actor=who, now=now, why=why),
        _chosen(cli, ids, all_=all_, tenant=tenant, to=to, sender=sender),
        json=json,
    )


def _chosen(
    cli: Cli, ids: Sequence[str] | None, *, all_: bool, tenant: str | None, to: str, sender: str
) -> list[TracedUnit]:
    """The units that the arguments mean: either ids, or `--all` with at least one filter."""
    from mailguard.store import trace, waiting

    if bool(ids) == all_:
        raise ConfigError([Problem("ID", "give ids, or --all with filters; see `mailguard queue list`")])

    def work(conn: Connection) -> list[TracedUnit]:
        query = waiting.WaitingQuery(tenant_id(conn, tenant), to, sender, limit=0)
        if query.names_something != all_:
            what = "give --tenant, --to or --from" if all_ else "filters go with --all, not with ids"
            raise ConfigError([Problem("--all", what)])
        return trace.choose(conn, ids, states=waiting.WAITING) if ids else waiting.search(conn, query)

    return cli.read(work)


def _change(cli: Cli, action: Action, units: Sequence[TracedUnit], *, json: bool) -> None:
    """Change the units in batches and report; exit 1 when any was left alone."""
    changes: list[Change] = []
    for start in range(0, len(units), BATCH):

        def work(conn: Connection, batch: Sequence[TracedUnit] = units[start : start + BATCH]) -> list[Change]:
            return action(conn, batch, cli.now(conn))

        changes += cli.write_persistently(work)
    if json:
        print_json(
            [
                {"id": change.unit.id, "recipient": change.unit.recipient, "done": change.done, "outcome": change.text}
                for change in changes
            ]
        )
    else:
        print_table(
            ("ID", "TO", ""),
            (
                (change.unit.id, change.unit.recipient, Cell(change.text, "green" if change.done else "red"))
                for change in changes
            ),
            empty="nothing in the queue matches",
        )
    if not all(change.done for change in changes):
        raise typer.Exit(1)
