"""`mailguard recipient`: a tenant's list of recipients, and what its server said about recipients."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Problems, actor_name, cli_of
from mailguard.cli.recorded import Actor, Why
from mailguard.cli.terminal import print_json, print_plain, print_table, say
from mailguard.cli.when import shown
from mailguard.core.clock import to_iso
from mailguard.core.csv_fields import csv_cell, csv_line
from mailguard.core.errors import ConfigError, NotFoundError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.core.tenant import Domain
    from mailguard.store.recipients import ListChange
    from mailguard.store.verifications import ServerAnswer

app = typer.Typer(no_args_is_help=True, help="Recipients: a tenant's list, and what its server said about others.")

TenantName = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]
Addresses = Annotated[
    list[str],
    typer.Argument(
        metavar="ADDRESS...", help="Addresses, or @DOMAIN for all addresses of a domain.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PROBLEMS_SHOWN = 20
HEADINGS = frozenset(
    {"address", "addresses", "e-mail", "email", "mail", "recipient", "e-mail address", "email address"}
)
"""Names of the column that holds the addresses, in lower case."""
FILE_LIMIT = 100_000_000
"""Octets of a file to import."""


@app.command("import")
def import_(
    context: typer.Context,
    *,
    tenant: TenantName,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE.csv",
            help="One recipient a line, in the first column or in that headed `address` or `email`. -: standard input.",
            show_default=False,
        ),
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Take off the list what the file does not have.")] = False,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Put the recipients of a CSV file on a tenant's list. All of them or, when one is wrong, none."""
    from mailguard.store import recipients

    lines = list(rows(_read(file), where=file))

    def work(conn: Connection, forms: Sequence[str], now: int) -> ListChange:
        change = recipients.replace_recipients if replace else recipients.add_recipients
        return change(conn, tenant=_name(tenant), entries=forms, now=now)

    _change(context, tenant, lines, work, action="recipient.import", actor=actor, why=why, json=json)


@app.command("add")
def add(
    context: typer.Context,
    *,
    tenant: TenantName,
    addresses: Addresses,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Put recipients on a tenant's list."""
    from mailguard.store import recipients

    def work(conn: Connection, forms: Sequence[str], now: int) -> ListChange:
        return recipients.add_recipients(conn, tenant=_name(tenant), entries=forms, now=now)

    lines = [(text, text) for text in addresses]
    _change(context, tenant, lines, work, action="recipient.add", actor=actor, why=why, json=json)


@app.command("remove")
def remove(
    context: typer.Context,
    *,
    tenant: TenantName,
    addresses: Addresses,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Take recipients off a tenant's list."""
    from mailguard.store import recipients

    def work(conn: Connection, forms: Sequence[str], now: int) -> ListChange:
        there = set(recipients.list_recipients(conn, tenant=_name(tenant)))
        missing = [form for form in forms if form not in there]
        if missing:
            raise NotFoundError(f"not on {tenant}'s list: {', '.join(missing)}; nothing was removed")
        return recipients.remove_recipients(conn, tenant=_name(tenant), entries=forms)

    lines = [(text, text) for text in addresses]
    _change(context, tenant, lines, work, action="recipient.remove", actor=actor, why=why, json=json)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: TenantName,
    domain: Annotated[str | None, typer.Option("--domain", help="Only those of this domain.")] = None,
    json: Json = False,
) -> None:
    """Show a tenant's list of recipients."""
    entries = _entries(context, tenant, domain)
    if json:
        print_json(entries)
        return
    print_table(("RECIPIENT",), ((entry,) for entry in entries), empty=f"{tenant}'s list is empty")


@app.command("export")
def export(
    context: typer.Context,
    *,
    tenant: TenantName,
    domain: Annotated[str | None, typer.Option("--domain", help="Only those of this domain.")] = None,
) -> None:
    """Print a tenant's list as CSV, as `mailguard recipient import` takes it."""
    for entry in ("address", *_entries(context, tenant, domain)):
        print_plain(csv_line([csv_cell(entry)]))


@app.command("answers")
def answers(context: typer.Context, *, tenant: TenantName, json: Json = False) -> None:
    """Show what a tenant's server said about recipients (call-ahead), and until when that counts."""
    from mailguard.store import verifications

    cli = cli_of(context)
    found = cli.read(lambda conn: verifications.list_verifications(conn, tenant=_name(tenant), now=cli.now(conn)))
    if json:
        print_json([_answer_json(address, answer) for address, answer in found])
        return
    print_table(
        ("RECIPIENT", "ANSWER", "ASKED", "COUNTS UNTIL", "REPLY"),
        (
            (
                address,
                answer.said.value.replace("_", " "),
                shown(answer.checked_at),
                shown(answer.expires_at),
                answer.reply,
            )
            for address, answer in found
        ),
        empty=f"nothing was asked of {tenant}'s server yet",
    )


@app.command("forget")
def forget(
    context: typer.Context,
    *,
    tenant: TenantName,
    addresses: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ADDRESS...]", help="Which; @DOMAIN for what is known of its server.", show_default=False
        ),
    ] = None,
    why: Why = "",
    actor: Actor = "",
) -> None:
    """Forget what a tenant's server said, about some recipients or about all: it is asked anew."""
    from mailguard.store import tenants, verifications
    from mailguard.store.audit import AuditAction, AuditEntry, append_in
    from mailguard.store.recipients import recipient_form

    who = actor_name(actor)

    def work(conn: Connection) -> int:
        record = tenants.tenant_by_name(conn, _name(tenant))
        wrong = Problems()
        keys = wrong.parse(lambda text: recipient_form(text, record.domains), addresses or [])
        wrong.raise_any()
        gone = verifications.forget(conn, tenant=record.tenant.name, keys=keys)
        action, of = AuditAction.RECIPIENT_FORGET, record.tenant.id
        append_in(
            conn, AuditEntry(action, who, why, tenant=of, detail={"forgotten": gone}, personal={"forgotten": keys})
        )
        return gone

    gone = cli_of(context).write(work)
    say(f"{gone} answer{'' if gone == 1 else 's'} forgotten")


# --- files -----------------------------------------------------------------------------------------------------------


def rows(text: str, *, where: str) -> Iterator[tuple[str, str]]:
    """The addresses of a CSV file, each with where it stands. Separated by comma, semicolon or tab; a heading is optional."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    column = 0
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values) or values[0].startswith("#"):
                continue
            if reader.line_num == 1 and not any("@" in value for value in values):
                column = next((at for at, value in enumerate(values) if value.lower() in HEADINGS), 0)
                continue
            cell = values[column] if column < len(values) else ""
            # what `export` puts before what a spreadsheet would take for a formula
            yield f"{where}:{reader.line_num}", cell[1:] if cell[:1] == "'" and cell[1:2] in "=+-@" else cell
    except csv.Error as error:
        raise ConfigError([Problem(f"{where}:{reader.line_num}", f"is not CSV: {error}")]) from error


def _read(file: str) -> str:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
            raw = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError([Problem(file, error.strerror or str(error))]) from error
    if len(raw) > FILE_LIMIT:
        raise ConfigError([Problem(file, f"is longer than {FILE_LIMIT} octets")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(file, f"is not UTF-8: {error.reason} at octet {error.start}")]) from error


# --- changes and output ----------------------------------------------------------------------------------------------


def _name(tenant: str) -> str:
    from mailguard.store import forms

    return forms.tenant_name(tenant)


def _change(
    context: typer.Context,
    tenant: str,
    lines: Sequence[tuple[str, str]],
    work: Callable[[Connection, Sequence[str], int], ListChange],
    *,
    action: str,
    actor: str,
    why: str,
    json: bool,
) -> None:
    from mailguard.store import recipients, tenants
    from mailguard.store.audit import AuditAction, AuditEntry, append_in

    cli = cli_of(context)
    who = actor_name(actor)

    def change(conn: Connection) -> tuple[ListChange, list[str]]:
        record = tenants.tenant_by_name(conn, _name(tenant))
        before = set(recipients.list_recipients(conn, tenant=record.tenant.name))
        changed = work(conn, _forms(lines, record.domains), cli.now(conn))
        after = set(recipients.list_recipients(conn, tenant=record.tenant.name))
        append_in(
            conn,
            AuditEntry(
                AuditAction(action),
                who,
                why,
                tenant=record.tenant.id,
                detail={"added": changed.added, "removed": changed.removed, "total": changed.total},
                personal={"added": sorted(after - before), "removed": sorted(before - after)},
            ),
        )
        return changed, recipients.unlisted_domains(conn, record)

    changed, unlisted = cli.write(change)
    if json:
        print_json({"added": changed.added, "removed": changed.removed, "total": changed.total})
        return
    say(f"{changed.added} added, {changed.removed} removed; {changed.total} on {tenant}'s list")
    for domain in unlisted:
        say(f"warning: no recipient of {domain} is on the list: all its mail is refused", style="yellow")


def _forms(lines: Sequence[tuple[str, str]], domains: Sequence[Domain]) -> list[str]:
    from mailguard.store.recipients import recipient_form

    problems: list[Problem] = []
    forms: list[str] = []
    for where, text in lines:
        try:
            forms.append(recipient_form(text, domains))
        except ConfigError as error:
            problems += [Problem(where, problem.message) for problem in error.problems]
    if len(problems) > PROBLEMS_SHOWN:
        more = len(problems) - PROBLEMS_SHOWN
        problems = [*problems[:PROBLEMS_SHOWN], Problem("…", f"and {more} more; nothing was changed")]
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(forms))


def _entries(context: typer.Context, tenant: str, domain: str | None) -> list[str]:
    from mailguard.store import forms, recipients

    of = forms.domain_name(domain) if domain else None
    return cli_of(context).read(lambda conn: recipients.list_recipients(conn, tenant=_name(tenant), domain=of))


def _answer_json(address: str, answer: ServerAnswer) -> dict[str, object]:
    return {
        "recipient": address,
        "answer": answer.said.value,
        "asked_at": to_iso(answer.checked_at),
        "counts_until": to_iso(answer.expires_at),
        "forgotten_at": to_iso(answer.forget_at),
        "reply": answer.reply,
    }
