"""`mailguard trace`: where is the mail from X to Y?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, cli_of, tenant_id
from mailguard.cli.terminal import print_json, say
from mailguard.cli.when import point, shown
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.trace import TraceRow


def trace(
    context: typer.Context,
    *,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Recipient: an address or a domain.")] = "",
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help="Sender: an address or a domain; '<>' for bounces.")
    ] = "",
    message_id: Annotated[str, typer.Option("--message-id", help="The Message-ID field.")] = "",
    id_: Annotated[str, typer.Option("--id", help="Our id of the message or of the mail (X-MailGuard-Id).")] = "",
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From then on: 7d, 2026-11-01 (UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")] = None,
    sha256: Annotated[str, typer.Option("--sha256", metavar="HASH", help="Mail with a file of this SHA-256.")] = "",
    attachment: Annotated[
        str, typer.Option("--attachment", metavar="NAME", help="Mail with a file whose name contains this.")
    ] = "",
    known_bad: Annotated[
        bool, typer.Option("--known-bad", help="Delivered mail whose files are on a list of known bad ones now.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many, the newest.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what became of mail: what was found, who decided what and why, every event and delivery attempt.

    Mail that was refused is shown too. Without any option: the newest mail. The options about files combine with
    --tenant, --since, --until and --limit.
    """
    from mailguard.cli.mail import refusal_json, unit_json
    from mailguard.store import trace as store
    from mailguard.store.matching import id_condition
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    if id_ and id_condition(id_) is None:
        raise ConfigError([Problem("--id", f"{id_!r} is no id of ours, such as 01J8ZQ4W2M7T5RKX3F9C1B6NDE or …-2")])

    if sha256 or attachment or known_bad:
        if to or sender or message_id or id_:
            other = "--to, --from, --message-id and --id"
            raise ConfigError([Problem("trace", f"--sha256, --attachment and --known-bad do not go with {other}")])
        wanted = _Wanted(sha256.strip().lower(), attachment, known_bad, tenant, since, until, limit)
        _trace_files(cli, wanted, json=json)
        return

    def work(conn: Connection) -> tuple[list[TraceRow], int, dict[int, str]]:
        now = cli.now(conn)
        query = store.TraceQuery(
            recipient=to,
            sender=sender,
            header_message_id=message_id,
            id=id_,
            tenant=tenant_id(conn, tenant),
            since=point(since, option="--since", now=now) if since else 0,
            until=point(until, option="--until", now=now) if until else 0,
            limit=limit,
        )
        unnamed = store.unnamed_refusals(conn, query) if to or sender else 0
        return store.search(conn, query)[-limit:], unnamed, tenant_names(conn)

    rows, unnamed, names = cli.read(work)
    if json:
        print_json(
            [unit_json(row, names) if isinstance(row, store.TracedUnit) else refusal_json(row, names) for row in rows]
        )
        return
    _print(cli, rows, names)
    if len(rows) == limit:
        say(f"these are the newest {limit}; narrow the search or raise --limit for more")
    if unnamed:
        say(f"{unnamed} more refused at that time without their addresses kept; it may be among them")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked about files."""

    sha256: str
    name: str
    known_bad: bool
    tenant: str | None
    since: str | None
    until: str | None
    limit: int


def _trace_files(cli: Cli, wanted: _Wanted, *, json: bool) -> None:
    """The mail with a file, or all delivered mail with known bad ones."""
    from mailguard.checks.hashes_file import load_hashes
    from mailguard.cli.mail import unit_json
    from mailguard.store.file_trace import files_known_since, find_delivered_with_files, find_mail_with_file
    from mailguard.store.tenants import tenant_names

    if wanted.known_bad and (wanted.sha256 or wanted.name):
        raise ConfigError([Problem("--known-bad", "does not go with --sha256 and --attachment")])
    if wanted.sha256 and not re.fullmatch(r"[0-9a-f]{64}", wanted.sha256):
        raise ConfigError([Problem("--sha256", f"{wanted.sha256!r} is no SHA-256: give 64 hexadecimal digits")])
    known = frozenset(load_hashes(cli.settings.policies.path / "hashes").hashes()) if wanted.known_bad else frozenset()

    def work(conn: Connection) -> tuple[list[TraceRow], dict[int, str], int]:
        now, of = cli.now(conn), tenant_id(conn, wanted.tenant)
        since = point(wanted.since, option="--since", now=now) if wanted.since else files_known_since(conn)
        until = point(wanted.until, option="--until", now=now) if wanted.until else 0
        if wanted.known_bad:
            found = find_delivered_with_files(conn, known, tenant=of, since=since, until=until, limit=wanted.limit)
        else:
            found = find_mail_with_file(
                conn,
                sha256=wanted.sha256,
                name=wanted.name,
                tenant=of,
                since=since,
                until=until,
                limit=wanted.limit,
            )
        return [*found], tenant_names(conn), 0 if wanted.since else since

    rows, names, since = cli.read(work)
    if json:
        from mailguard.store.trace import TracedUnit

        print_json([unit_json(row, names) for row in rows if isinstance(row, TracedUnit)])
        return
    _print(cli, rows, names)
    if since:
        say(f"looked at mail since {shown(since)}; older mail is looked through, slowly, when --since asks for it")
    if len(rows) == wanted.limit:
        say(f"these are the newest {wanted.limit}; narrow the search or raise --limit for more")


def _print(cli: Cli, rows: list[TraceRow], names: dict[int, str]) -> None:
    from mailguard.cli.explanation import Profiles
    from mailguard.cli.mail import print_refusal, print_unit
    from mailguard.store.trace import TracedUnit

    profiles = Profiles(cli)
    for row in rows:
        if isinstance(row, TracedUnit):
            print_unit(row, names, margins=profiles.margins)
        else:
            print_refusal(row, names)
    if not rows:
        say("nothing found")
