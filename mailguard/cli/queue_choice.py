"""Which waiting mail a command of `mailguard queue` means, and how what became of it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, tenant_id
from mailguard.cli.terminal import Cell, print_json, print_table
from mailguard.cli.when import span
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.next_hops import HopFilter
    from mailguard.store.trace import TracedUnit
    from mailguard.store.waiting import Change, WaitingQuery

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
Hop = Annotated[
    str,
    typer.Option(
        "--next-hop",
        metavar="HOST[:PORT]",
        help="Only what goes to this next hop, as `tenant show` names it; without a port, whatever the port.",
    ),
]
Older = Annotated[
    str, typer.Option("--older", metavar="SPAN", help="Only what came longer ago than this: 30m, 2h, 3d.")
]
Actor = Annotated[str, typer.Option("--actor", help="Who does it, for the record. Default: the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

BATCH = 100
"""How many mails one transaction takes, so that the relay's writes never wait for long."""

Action = Callable[["Connection", Sequence["TracedUnit"], int], "list[Change]"]


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters as they were typed; empty ones do not matter."""

    tenant: str | None = None
    to: str = ""
    sender: str = ""
    next_hop: str = ""
    older: str = ""

    def query(self, cli: Cli, conn: Connection, *, limit: int) -> WaitingQuery:
        """What they mean. Raises ConfigError and NotFoundError."""
        from mailguard.store.waiting import WaitingQuery

        return WaitingQuery(
            tenant_id(conn, self.tenant),
            self.to,
            self.sender,
            limit,
            next_hop=_hop(cli, self.next_hop) if self.next_hop else None,
            received_before=max(1, cli.now(conn) - span(self.older, option="--older")) if self.older else 0,
        )


def _hop(cli: Cli, text: str) -> HopFilter:
    from mailguard.config.values import split_host_port
    from mailguard.store import forms
    from mailguard.store.next_hops import HopFilter

    hop = forms.next_hop(text)
    bare = text.strip().removeprefix("lmtp://").partition("@")[0]
    port = hop.port if hop.is_socket or (bare.rpartition(":")[2].isdigit() and not bare.endswith("]")) else None
    smarthost = cli.settings.outbound.smarthost
    own_mail = False
    if smarthost:
        host, smarthost_port = split_host_port(smarthost)
        own_mail = host == hop.host and port in (None, smarthost_port)
    return HopFilter(hop.host, port, own_mail)


def chosen(cli: Cli, ids: Sequence[str] | None, filters: Filters, *, all_: bool) -> list[TracedUnit]:
    """The units that the arguments mean: either ids, or `--all` with at least one filter."""
    from mailguard.store import trace, waiting

    if bool(ids) == all_:
        raise ConfigError([Problem("ID", "give ids, or --all with filters; see `mailguard queue list`")])

    def work(conn: Connection) -> list[TracedUnit]:
        query = filters.query(cli, conn, limit=0)
        if query.names_something != all_:
            what = "--tenant, --to, --from, --next-hop or --older"
            raise ConfigError([Problem("--all", f"give {what}" if all_ else "filters go with --all, not with ids")])
        return trace.choose(conn, ids, states=waiting.WAITING) if ids else waiting.search(conn, query)

    return cli.read(work)


def change(cli: Cli, action: Action, units: Sequence[TracedUnit], *, json: bool) -> None:
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
