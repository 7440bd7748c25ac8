"""`mailguard report monthly`: a tenant's month in plain words, as a page, a PDF, a mail or JSON."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Problems, cli_of, tenant_id
from mailguard.cli.terminal import print_json, say
from mailguard.core.errors import ConfigError, NotFoundError, Problem, UnavailableError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.billing.report.facts import Facts
    from mailguard.billing.report.mail import Sender
    from mailguard.cli.context import Cli

PATIENCE = 1_000
"""Milliseconds for which those who write events are waited for, before what they have written is counted."""


def monthly(
    context: typer.Context,
    *,
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose month.")],
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month, in the billing time zone.")],
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as one HTML page.")] = None,
    pdf: Annotated[Path | None, typer.Option("--pdf", metavar="FILE", help="Write it as PDF.")] = None,
    send: Annotated[
        list[str] | None, typer.Option("--send", metavar="ADDRESS", help="Mail the PDF there; may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print its figures as JSON.")] = False,
) -> None:
    """Tell a client what became of the mail of a month: in numbers, charts and plain words.

    Without any option it is printed. What is sent goes through the queue as mail of our own.
    """
    from mailguard.billing.report.html import report_html
    from mailguard.billing.report.pdf import report_pdf
    from mailguard.billing.report.words import page

    cli = cli_of(context)
    to = _addresses(send or [])
    facts, now = _collect(cli, tenant, month)
    by = cli.settings.billing.seller_name or cli.settings.server.hostname
    document = b""
    if pdf or to:
        document = report_pdf(facts, by=by, at=_day_of(cli, now))
    if html:
        _write("--html", html, report_html(facts, by=by).encode())
    if pdf:
        _write("--pdf", pdf, document)
    if to:
        _send(cli, facts, document, by=by, to=to, now=now)
    if json:
        print_json(_as_json(facts))
    elif not (html or pdf or to):
        from mailguard.billing.report.mail import report_text

        for line in report_text(page(facts, by=by)).splitlines():
            say(line)


def _collect(cli: Cli, tenant: str, name: str) -> tuple[Facts, int]:
    """The facts, and the time by the database's clock."""
    from mailguard.billing import closing, months
    from mailguard.billing.report.facts import collect
    from mailguard.billing.report.service import service_of
    from mailguard.billing.sla import SlaRules

    zone = months.time_zone(cli.settings.billing.time_zone)
    period = months.month(name, zone=zone)
    measuring = cli.settings.sla
    rules = SlaRules(zone, measuring.probe_minutes, measuring.maintenance_notice_hours, measuring.maintenance_hours)

    def work(conn: Connection) -> tuple[Facts, int]:
        number = tenant_id(conn, tenant)
        if number is None:
            raise NotFoundError("a report is of one tenant: --tenant NAME")
        wanted = tenant.strip().lower()
        service = service_of(conn, number, period, rules=rules)
        return collect(conn, number, wanted, period, zone=zone, service=service), cli.now(conn)

    with suppress(UnavailableError):  # what was not counted by now is counted as it is read
        closing.catch_up(cli.write, zone=zone, patience=PATIENCE)
    return cli.read(work)


def _day_of(cli: Cli, now: int) -> date:
    from mailguard.billing.months import time_zone

    return datetime.fromtimestamp(now // 1000, time_zone(cli.settings.billing.time_zone)).date()


def _addresses(texts: list[str]) -> list[str]:
    from mailguard.core.address import is_mailbox

    def address(text: str) -> str:
        if not is_mailbox(text.strip()):
            raise ConfigError([Problem("--send", f"{text!r} is not an address such as owner@client.example")])
        return text.strip()

    problems = Problems()
    found = problems.parse(address, texts)
    problems.raise_any()
    return list(dict.fromkeys(found))


def _write(option: str, path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError([Problem(option, f"{path} cannot be written: {error}")]) from error
    say(f"Wrote {path}.")


def _sender(cli: Cli, by: str) -> Sender:
    from mailguard.billing.report.mail import Sender

    outbound = cli.settings.outbound
    return Sender(
        name=by,
        address=outbound.postmaster or f"postmaster@{outbound.from_domain}",
        hostname=cli.settings.server.hostname,
        reply_to=cli.settings.billing.seller_email,
    )


def _send(cli: Cli, facts: Facts, document: bytes, *, by: str, to: list[str], now: int) -> None:
    from mailguard.billing.report.mail import compose, enqueue
    from mailguard.core.clock import DAY

    sender = _sender(cli, by)
    retention = int(cli.settings.queue.retention_days * DAY)
    mails = [compose(facts, document, to=one, sender=sender, now=now, retention=retention) for one in to]
    enqueue(cli.write, cli.blobs, mails)
    for one, mail in zip(to, mails, strict=True):
        say(f"Queued for {one} as {mail.message.id}.")


def _as_json(facts: Facts) -> dict[str, object]:
    delays = facts.service.delays
    return {
        "tenant": facts.tenant,
        "month": facts.month,
        "time_zone": facts.time_zone,
        "is_over": facts.is_over,
        "received": facts.usage.received.units,
        "delivered": facts.usage.delivered.units,
        "released": facts.usage.released.units,
        "quarantined": facts.usage.quarantined.units,
        "rejected": facts.usage.rejected.units,
        "deferred": facts.usage.deferred.units,
        "billed_mailboxes": facts.usage.billed_mailboxes,
        "stopped": facts.stopped,
        "threats": {str(threat): mails for threat, mails in facts.threats.items()},
        "tagged": facts.tagged,
        "refused": dict(facts.refused),
        "attacked": [{"mailbox": one.name, "mails": one.mails} for one in facts.attacked],
        "spoofed": [{"domain": one.name, "mails": one.mails} for one in facts.spoofed],
        "delay_seconds": None if delays is None else {"p50": delays.p50, "p95": delays.p95, "p99": delays.p99},
        "days": [
            {"date": day.date.isoformat(), "received": day.received, "delivered": day.delivered, "stopped": day.stopped}
            for day in facts.days
        ],
        "service_levels": [
            {
                "commitment": level.commitment,
                "target": level.target,
                "measured": level.measured,
                "met": level.met,
                "credit_percent": f"{level.credit_percent:f}",
            }
            for level in facts.service.levels
        ],
    }
