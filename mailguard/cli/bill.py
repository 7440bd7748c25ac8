"""`mailguard bill`: the monthly run, the invoices it froze, why their lines are what they are, and credit notes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.bill_shown import (
    explanation_json,
    invoice_json,
    print_explanation,
    print_invoice,
    print_invoices,
    print_outcomes,
    run_json,
)
from mailguard.cli.billing_values import amount, seller_of, sources_of, zone_of
from mailguard.cli.context import Cli, actor_name, cli_of, tenant_id
from mailguard.cli.recorded import Actor
from mailguard.cli.sla import rules_of
from mailguard.cli.terminal import complain, print_json, print_plain, print_raw, say
from mailguard.cli.unprobed import bill_notes
from mailguard.core.errors import ConfigError, MailGuardError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailguard.billing.run import Outcome
    from mailguard.store.invoices import InvoiceRow

app = typer.Typer(no_args_is_help=True, help="The bill: monthly runs, invoices, credit notes, and what is behind them.")

Number = Annotated[str, typer.Argument(metavar="INVOICE", help="Its number.", show_default=False)]
Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Path | None


@app.command("run")
def run(
    context: typer.Context,
    *,
    month: Annotated[
        str, typer.Option("--month", metavar="YYYY-MM", help="The month that is over.", show_default=False)
    ],
    tenant: Tenant = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would come to by now; change nothing.")
    ] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf/--no-pdf", help="Set the PDFs and UBL now, or when they are first asked for.")
    ] = True,
    why: Annotated[str, typer.Option("--why", help="Why, for the record.")] = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Close a month and bill it: usage of the month, the fixed fee of the next one. What was billed stays as it is.

    Exit 1 when a contract cannot be billed before something else is done; all others are billed all the same.
    """
    from mailguard.billing import run as billing
    from mailguard.billing.months import month as month_of
    from mailguard.billing.prepare import State

    cli = cli_of(context)
    period = month_of(month, zone=zone_of(cli))
    only = cli.read(lambda conn: tenant_id(conn, tenant))
    if dry_run:
        outcomes = billing.draft(cli, period, sources_of(cli), tenant=only)
    else:
        outcomes = billing.run(cli, period, sources_of(cli), by=actor_name(actor), tenant=only, why=why)
        if pdf:
            _set(cli, outcomes)
    rules = rules_of(cli)
    notes = cli.read(lambda conn: bill_notes(conn, outcomes, period, rules))
    if json:
        print_json(run_json(period.name, outcomes, cli.settings.billing.time_zone, notes))
    else:
        print_outcomes(period.name, outcomes, notes)
    if any(outcome.state is State.REFUSED for outcome in outcomes):
        raise typer.Exit(1)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Tenant = None,
    month: Annotated[str | None, typer.Option("--month", metavar="YYYY-MM", help="Only this month.")] = None,
    json: Json = False,
) -> None:
    """List invoices and credit notes."""
    from mailguard.billing.months import month as month_of
    from mailguard.store import invoices
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    name = month_of(month, zone=zone_of(cli)).name if month is not None else None
    rows, names = cli.read(
        lambda conn: (
            invoices.list_invoices(conn, tenant=tenant_id(conn, tenant), month=name),
            tenant_names(conn),
        )
    )
    if json:
        print_json([invoice_json(row, names[row.tenant]) for row in rows])
    else:
        print_invoices(rows, names)


@app.command("show")
def show(
    context: typer.Context,
    *,
    invoice: Number,
    pdf: Annotated[
        Output, typer.Option("--pdf", metavar="FILE", help="Write the PDF to FILE; - is standard output.")
    ] = None,
    ubl: Annotated[
        Output, typer.Option("--ubl", metavar="FILE", help="Write it as UBL 2.1 (EN 16931) to FILE, or -.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print its lines as CSV (RFC 4180).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the document as it is frozen, JSON.")] = False,
) -> None:
    """Show an invoice or credit note, or write it as PDF, UBL, CSV or JSON: the same bytes each time."""
    from mailguard.billing import frozen
    from mailguard.billing.credit_note import invoice_by_number

    cli = cli_of(context)
    if sum((pdf is not None, ubl is not None, as_csv, json)) > 1:
        raise ConfigError([Problem("bill show", "give one of --pdf, --ubl, --csv and --json")])
    row = cli.read(lambda conn: invoice_by_number(conn, invoice))
    document = frozen.document_of(row)
    if pdf is not None:
        _write(pdf, frozen.pdf_of(cli, row))
    elif ubl is not None:
        _write(ubl, frozen.ubl_of(cli, row).encode())
    elif as_csv:
        from mailguard.billing.render.csv import invoice_csv

        print_raw(invoice_csv(document).encode())
    elif json:
        print_plain(row.document)
    else:
        print_invoice(document)


@app.command("explain")
def explain(
    context: typer.Context,
    *,
    invoice: Number,
    line: Annotated[int, typer.Argument(metavar="LINE", help="The line's number.", show_default=False)],
    mails: Annotated[bool, typer.Option("--mails", help="Of a line of usage: each mail that was counted.")] = False,
    json: Json = False,
) -> None:
    """Show what is behind a line: terms, mailboxes or mails, and what is another than the month before."""
    from mailguard.billing.explain import explain as explained

    cli = cli_of(context)
    found = cli.read(lambda conn: explained(conn, invoice, line, zone=zone_of(cli), mails=mails))
    if json:
        print_json(explanation_json(found))
    else:
        print_explanation(found)


@app.command("credit")
def credit(
    context: typer.Context,
    *,
    invoice: Number,
    line: Annotated[int, typer.Option("--line", help="The line that is corrected.", show_default=False)],
    value: Annotated[
        str, typer.Option("--amount", metavar="AMOUNT", help="How much of it, without tax.", show_default=False)
    ],
    why: Annotated[str, typer.Option("--why", help="Why; the client reads it.", show_default=False)],
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Give back some of a line by a credit note. The invoice itself stays as it is."""
    from mailguard.billing.credit_note import credit as credited
    from mailguard.billing.frozen import document_of

    cli = cli_of(context)
    work = credited(
        invoice,
        line,
        amount(value, option="--amount"),
        why=why,
        by=actor_name(actor),
        seller=seller_of(cli),
        zone=zone_of(cli),
    )
    row = cli.write(work)
    document = document_of(row)
    if json:
        print_json(invoice_json(row, document.tenant))
        return
    say(f"credit note {row.number} on {row.corrects}")
    print_invoice(document)


def _set(cli: Cli, outcomes: Sequence[Outcome]) -> None:
    """Make PDF and UBL of what has none yet. What cannot be set is told; the invoices stand."""
    for outcome in outcomes:
        if outcome.invoice is not None:
            _set_one(cli, outcome.invoice)


def _set_one(cli: Cli, row: InvoiceRow) -> None:
    from mailguard.billing import frozen

    for what, make in (("PDF", frozen.pdf_of), ("UBL", frozen.ubl_of)):
        try:
            make(cli, row)
        except MailGuardError as error:
            complain(f"{row.number} is frozen, but its {what} could not be made yet: {error}")


def _write(path: Path, content: bytes) -> None:
    """Write to a file, or to standard output for `-`. Raises ConfigError when it cannot be written."""
    if str(path) == "-":
        print_raw(content)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be written: {error.strerror}")]) from None
    say(f"{path}: {len(content):,} octets")
