"""`mailguard queue`: mail that waits for its next hop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, actor_name, cli_of
from mailguard.cli.queue_choice import Actor, All, Filters, From, Hop, Ids, Json, Older, Tenant, To, change, chosen
from mailguard.cli.recorded import Why
from mailguard.cli.terminal import print_json, print_table, say
from mailguard.cli.when import shown_span
from mailguard.core.clock import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from mailguard.core.envelope import NextHop
    from mailguard.store.trace import TracedUnit
    from mailguard.store.waiting import Tell

app = typer.Typer(no_args_is_help=True, help="Mail that waits for its next hop.")


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    next_hop: Hop = "",
    older: Older = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the oldest.")] = 100,
    json: Json = False,
) -> None:
    """List what waits, the oldest first, and what was taken out of the queue after repeated crashes (parked)."""
    from mailguard.cli.mail import address_text, standing_text, state_cell, unit_json
    from mailguard.store import waiting
    from mailguard.store.next_hops import hops_by_domain
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    filters = Filters(tenant, to, sender, next_hop, older)

    def work(
        conn: Connection,
    ) -> tuple[list[TracedUnit], dict[int, str], Mapping[str, tuple[NextHop, ...]], int]:
        found = waiting.search(conn, filters.query(cli, conn, limit=limit))
        return found, tenant_names(conn), hops_by_domain(conn), cli.now(conn)

    units, names, hops, now = cli.read(work)
    if json:
        print_json(
            [{**unit_json(unit, names, events=False), "next_hops": _next_hops(cli, unit, hops)} for unit in units]
        )
        return
    print_table(
        ("ID", "AGE", "TENANT", "STATE", "NEXT ATTEMPT", "TRIES", "FROM", "TO", "NEXT HOP", "LAST REPLY"),
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
                next(iter(_next_hops(cli, unit, hops)), ""),
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
    from mailguard.cli.explanation import Profiles
    from mailguard.cli.mail import print_unit, unit_json
    from mailguard.store import trace
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    units, names = cli.read(lambda conn: (trace.with_events(conn, trace.look_up(conn, ids)), tenant_names(conn)))
    if json:
        print_json([unit_json(unit, names) for unit in units])
        return
    profiles = Profiles(cli)
    for unit in units:
        print_unit(unit, names, margins=profiles.margins)


@app.command("retry")
def retry(
    context: typer.Context,
    *,
    ids: Ids = None,
    all_: All = False,
    tenant: Tenant = None,
    to: To = "",
    sender: From = "",
    next_hop: Hop = "",
    older: Older = "",
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Try again now; what was parked goes back into the queue."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    lifetime = round(cli.settings.queue.retention_days * DAY)
    change(
        cli,
        lambda conn, units, now: waiting.retry(conn, units, actor=who, now=now, why=why, lifetime=lifetime),
        chosen(cli, ids, Filters(tenant, to, sender, next_hop, older), all_=all_),
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
    next_hop: Hop = "",
    older: Older = "",
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Keep mail in the queue without any attempt, until `queue unhold`."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    change(
        cli,
        lambda conn, units, now: waiting.hold(conn, units, actor=who, now=now, why=why),
        chosen(cli, ids, Filters(tenant, to, sender, next_hop, older), all_=all_),
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
    next_hop: Hop = "",
    older: Older = "",
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Let mail on hold go: it is tried now."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    change(
        cli,
        lambda conn, units, now: waiting.unhold(conn, units, actor=who, now=now, why=why),
        chosen(cli, ids, Filters(tenant, to, sender, next_hop, older), all_=all_),
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
    next_hop: Hop = "",
    older: Older = "",
    dsn: Annotated[
        bool, typer.Option("--dsn", help="Tell senders that may be told (they are authenticated) by a failure report.")
    ] = False,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Take mail out of the queue for good. It is not delivered, and nobody is told, unless by --dsn."""
    from mailguard.store import waiting

    cli, who = cli_of(context), actor_name(actor)
    tell = _notices(cli) if dsn else None
    change(
        cli,
        lambda conn, units, now: waiting.cancel(conn, units, actor=who, now=now, why=why, tell=tell),
        chosen(cli, ids, Filters(tenant, to, sender, next_hop, older), all_=all_),
        json=json,
    )


def _next_hops(cli: Cli, unit: TracedUnit, hops: Mapping[str, tuple[NextHop, ...]]) -> list[str]:
    """Where a mail goes on, the first choice first. Of mail of our own to others: the smarthost, else unknown (by MX)."""
    from mailguard.core.tenant import SYSTEM_TENANT

    found = [str(hop) for hop in hops.get(unit.domain, ())]
    if not found and unit.tenant == SYSTEM_TENANT and cli.settings.outbound.smarthost:
        return [cli.settings.outbound.smarthost]
    return found


def _notices(cli: Cli) -> Tell:
    from mailguard.core.clock import system_clock
    from mailguard.queue.cancel import CancelNotices
    from mailguard.queue.reports import Reports

    settings = cli.settings
    reports = Reports(
        db=cli.db,
        blobs=cli.blobs,
        clock=system_clock,
        hostname=settings.server.hostname,
        from_domain=settings.outbound.from_domain,
    )
    return CancelNotices(reports, cli.blobs)
