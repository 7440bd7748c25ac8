"""`mailguard recipient`: a tenant's list of recipients, and what its server said about recipients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli import recipient_file
from mailguard.cli.context import Problems, actor_name, cli_of
from mailguard.cli.recipient_file import Line
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


@app.command("import")
def import_(
    context: typer.Context,
    *,
    tenant: TenantName,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE.csv",
            help="One recipient a line, in the first column or in that headed `address` or `email`; in the second, or that "
            "headed `mailbox`, the one it is billed as, if it is another's. -: standard input.",
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

    lines = list(recipient_file.lines(recipient_file.read(file), where=file))

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
    mailbox: Annotated[
        str | None,
        typer.Option("--mailbox", metavar="ADDRESS", help="The mailbox they are billed as. Empty: their own."),
    ] = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Put recipients on a tenant's list."""
    from mailguard.store import recipients

    def work(conn: Connection, forms: Sequence[str], now: int) -> ListChange:
        return recipients.add_recipients(conn, tenant=_name(tenant), entries=forms, now=now)

    lines = [Line(text, text, mailbox) for text in addresses]
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

    lines = [Line(text, text) for text in addresses]
    _change(context, tenant, lines, work, action="recipient.remove", actor=actor, why=why, json=json)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: TenantName,
    domain: Annotated[str | None, typer.Option("--domain", help="Only those of this domain.")] = None,
    mailboxes: Annotated[bool, typer.Option("--mailboxes", help="With the mailbox that each is billed as.")] = False,
    json: Json = False,
) -> None:
    """Show a tenant's list of recipients."""
    entries, named = _entries(context, tenant, domain)
    if json:
        print_json(
            [{"recipient": entry, "mailbox": named.get(entry)} for entry in entries] if mailboxes else list(entries)
        )
        return
    headings = ("RECIPIENT", "BILLED AS") if mailboxes else ("RECIPIENT",)
    cells = ((entry, named.get(entry, "")) if mailboxes else (entry,) for entry in entries)
    print_table(headings, cells, empty=f"{tenant}'s list is empty")


@app.command("export")
def export(
    context: typer.Context,
    *,
    tenant: TenantName,
    domain: Annotated[str | None, typer.Option("--domain", help="Only those of this domain.")] = None,
) -> None:
    """Print a tenant's list as CSV, as `mailguard recipient import` takes it."""
    entries, named = _entries(context, tenant, domain)
    rows = [("address", "mailbox"), *((entry, named.get(entry, "")) for entry in entries)]
    for row in rows:
        print_plain(csv_line([csv_cell(cell) for cell in (row if named else row[:1])]))


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


# --- changes and output ----------------------------------------------------------------------------------------------


def _name(tenant: str) -> str:
    from mailguard.store import forms

    return forms.tenant_name(tenant)


def _change(
    context: typer.Context,
    tenant: str,
    lines: Sequence[Line],
    work: Callable[[Connection, Sequence[str], int], ListChange],
    *,
    action: str,
    actor: str,
    why: str,
    json: bool,
) -> None:
    from mailguard.store import listed_mailboxes, recipients, tenants
    from mailguard.store.audit import AuditAction, AuditEntry, append_in

    cli = cli_of(context)
    who = actor_name(actor)

    def change(conn: Connection) -> tuple[ListChange, int, list[str]]:
        record = tenants.tenant_by_name(conn, _name(tenant))
        before = set(recipients.list_recipients(conn, tenant=record.tenant.name))
        named = _forms(lines, record.domains)
        changed = work(conn, list(named), cli.now(conn))
        said = {entry: box for entry, box in named.items() if box is not None}
        billed = listed_mailboxes.set_mailboxes(conn, tenant=record.tenant.name, named=said)
        after = set(recipients.list_recipients(conn, tenant=record.tenant.name))
        append_in(
            conn,
            AuditEntry(
                AuditAction(action),
                who,
                why,
                tenant=record.tenant.id,
                detail={
                    "added": changed.added,
                    "removed": changed.removed,
                    "total": changed.total,
                    "billed_otherwise": billed,
                },
                personal={"added": sorted(after - before), "removed": sorted(before - after)},
            ),
        )
        return changed, billed, recipients.unlisted_domains(conn, record)

    changed, billed, unlisted = cli.write(change)
    if json:
        numbers = {"added": changed.added, "removed": changed.removed, "total": changed.total}
        print_json({**numbers, "billed_otherwise": billed})
        return
    say(f"{changed.added} added, {changed.removed} removed; {changed.total} on {tenant}'s list")
    if billed:
        say(f"{billed} billed as another mailbox than before")
    for domain in unlisted:
        say(f"warning: no recipient of {domain} is on the list: all its mail is refused", style="yellow")


def _forms(lines: Sequence[Line], domains: Sequence[Domain]) -> dict[str, str | None]:
    """The stored forms of the entries, with the mailboxes that are named for them; None where none is."""
    from mailguard.store.listed_mailboxes import mailbox_form
    from mailguard.store.recipients import recipient_form

    problems: list[Problem] = []
    forms: dict[str, str | None] = {}
    for line in lines:
        try:
            entry = recipient_form(line.address, domains)
            mailbox = None if line.mailbox is None else mailbox_form(line.mailbox, domains)
        except ConfigError as error:
            problems += [Problem(line.where, problem.message) for problem in error.problems]
            continue
        if forms.setdefault(entry, mailbox) != mailbox:
            problems.append(Problem(line.where, f"names another mailbox for {entry} than a line before"))
    if len(problems) > PROBLEMS_SHOWN:
        more = len(problems) - PROBLEMS_SHOWN
        problems = [*problems[:PROBLEMS_SHOWN], Problem("…", f"and {more} more; nothing was changed")]
    if problems:
        raise ConfigError(problems)
    return forms


def _entries(context: typer.Context, tenant: str, domain: str | None) -> tuple[list[str], dict[str, str]]:
    """A tenant's list, and the mailboxes that are named in it."""
    from mailguard.store import forms, listed_mailboxes, recipients

    of = forms.domain_name(domain) if domain else None

    def work(conn: Connection) -> tuple[list[str], dict[str, str]]:
        entries = recipients.list_recipients(conn, tenant=_name(tenant), domain=of)
        return entries, listed_mailboxes.listed_mailboxes(conn, tenant=_name(tenant))

    return cli_of(context).read(work)


def _answer_json(address: str, answer: ServerAnswer) -> dict[str, object]:
    return {
        "recipient": address,
        "answer": answer.said.value,
        "asked_at": to_iso(answer.checked_at),
        "counts_until": to_iso(answer.expires_at),
        "forgotten_at": to_iso(answer.forget_at),
        "reply": answer.reply,
        "mailbox": answer.mailbox or None,
    }
