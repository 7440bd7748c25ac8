"""`mailguard usage`: what each tenant used in a month, from the recorded events."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import cli_of, tenant_id
from mailguard.cli.terminal import complain, print_json, print_plain, print_table, say
from mailguard.core.clock import to_iso
from mailguard.core.csv_fields import csv_cell, csv_line
from mailguard.core.errors import UnavailableError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.billing.meter import Month, Usage

PATIENCE = 1_000
"""Milliseconds for which those who write events are waited for, before what they have written is counted."""


def usage(
    context: typer.Context,
    *,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month, in the billing time zone.")],
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV (RFC 4180) with a line of names.")] = False,
    recount: Annotated[
        bool, typer.Option("--recount", help="Count everything anew from the events, slowly; exit 1 when it differs.")
    ] = False,
) -> None:
    """Print each tenant's usage of a month: one mail is a message for one recipient. The bill counts by the same."""
    from mailguard.billing import closing, meter
    from mailguard.store.billing_months import closings
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    zone = meter.time_zone(cli.settings.billing.time_zone)
    period = meter.month(month, zone=zone)
    with suppress(UnavailableError):  # what was not counted by now is counted as it is read
        closing.catch_up(cli.write, zone=zone, patience=PATIENCE)

    def work(conn: Connection) -> tuple[list[Usage], list[Usage] | None, dict[int, str], dict[str, int]]:
        number = tenant_id(conn, tenant)
        found = meter.usage(conn, period, tenant=number)
        anew = meter.recount(conn, period, tenant=number) if recount else None
        return found, anew, tenant_names(conn), {one.month: one.closed_at for one in closings(conn)}

    found, anew, names, closed = cli.read(work)
    if json:
        print_json(_as_json(found, names, period, zone=cli.settings.billing.time_zone, closed_at=closed.get(month)))
    elif as_csv:
        _print_csv(found, names, period)
    else:
        _print_table(found, names, period, zone=cli.settings.billing.time_zone)
    if anew is not None:
        differ = _differing(found, anew)
        for number in differ:
            complain(f"{names.get(number, str(number))}: the events come to other figures than those that were counted")
        if differ:
            raise typer.Exit(1)


def _differing(found: list[Usage], anew: list[Usage]) -> list[int]:
    """The tenants whose usage is not the same in both."""
    one, other = ({usage_.tenant: usage_ for usage_ in listed} for listed in (found, anew))
    return sorted(number for number in one.keys() | other.keys() if one.get(number) != other.get(number))


def _print_table(found: list[Usage], names: dict[int, str], period: Month, *, zone: str) -> None:
    from mailguard.billing.meter import COUNTED

    headings = ("TENANT", *(name.upper() for name in COUNTED), "ACTIVE RECIPIENTS", "BILLED MAILBOXES")
    rows = []
    for usage_ in found:
        counts = [getattr(usage_, name) for name in COUNTED]
        cells = [f"{count.units:,} ({_octets(count.size)})" if count.units else "0" for count in counts]
        people = (f"{usage_.active_recipients:,}", f"{usage_.billed_mailboxes:,}")
        rows.append((names.get(usage_.tenant, str(usage_.tenant)), *cells, *people))
    print_table(
        headings,
        rows,
        title=f"Usage of {period.name} ({zone}): mails, one for each recipient (octets, each message once)",
        right=headings[1:],
        empty=f"no mail in {period.name} ({zone})",
    )
    if any(usage_.deferred.units for usage_ in found):
        say("Deferred mail is counted again when its sender tries again.")


def _octets(size: int) -> str:
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _as_json(
    found: list[Usage], names: dict[int, str], period: Month, *, zone: str, closed_at: int | None
) -> dict[str, object]:
    from mailguard.billing.meter import COUNTED

    return {
        "month": period.name,
        "time_zone": zone,
        "from": to_iso(period.start),
        "until": to_iso(period.end),
        "closed_at": to_iso(closed_at) if closed_at else None,
        "tenants": [
            {
                "tenant": names.get(usage_.tenant, str(usage_.tenant)),
                "id": usage_.tenant,
                **{
                    name: {"units": count.units, "messages": count.messages, "bytes": count.size}
                    for name, count in ((name, getattr(usage_, name)) for name in COUNTED)
                },
                "active_recipients": usage_.active_recipients,
                "billed": {
                    "mailboxes": usage_.billed_mailboxes,
                    "messages": usage_.billed_messages,
                    "bytes": usage_.billed_octets,
                },
            }
            for usage_ in found
        ],
    }


def _print_csv(found: list[Usage], names: dict[int, str], period: Month) -> None:
    from mailguard.billing.meter import COUNTED

    columns = [f"{name}_{what}" for name in COUNTED for what in ("units", "messages", "bytes")]
    billed = ("billed_mailboxes", "billed_messages", "billed_bytes")
    print_plain(csv_line(["month", "tenant", *columns, "active_recipients", *billed]))
    for usage_ in found:
        numbers = [
            str(number)
            for count in (getattr(usage_, name) for name in COUNTED)
            for number in (count.units, count.messages, count.size)
        ]
        name = csv_cell(names.get(usage_.tenant, str(usage_.tenant)))
        people = (usage_.active_recipients, usage_.billed_mailboxes, usage_.billed_messages, usage_.billed_octets)
        print_plain(csv_line([period.name, name, *numbers, *map(str, people)]))
