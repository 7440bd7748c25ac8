"""`mailguard usage`: what each tenant used in a month, from the recorded events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import cli_of, tenant_id
from mailguard.cli.terminal import print_json, print_plain, print_table, say
from mailguard.core.clock import to_iso
from mailguard.core.csv_fields import csv_cell, csv_line

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.billing.meter import Month, Usage


def usage(
    context: typer.Context,
    *,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month, in the billing time zone.")],
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV (RFC 4180) with a line of names.")] = False,
) -> None:
    """Print each tenant's usage of a month: one mail is a message for one recipient."""
    from mailguard.billing import meter
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    period = meter.month(month, zone=meter.time_zone(cli.settings.billing.time_zone))

    def work(conn: Connection) -> tuple[list[Usage], dict[int, str]]:
        return meter.usage(conn, period, tenant=tenant_id(conn, tenant)), tenant_names(conn)

    found, names = cli.read(work)
    if json:
        print_json(_as_json(found, names, period, zone=cli.settings.billing.time_zone))
    elif as_csv:
        _print_csv(found, names, period)
    else:
        _print_table(found, names, period, zone=cli.settings.billing.time_zone)


def _print_table(found: list[Usage], names: dict[int, str], period: Month, *, zone: str) -> None:
    from mailguard.billing.meter import COUNTED

    headings = ("TENANT", *(name.upper() for name in COUNTED), "ACTIVE RECIPIENTS")
    rows = []
    for usage_ in found:
        counts = [getattr(usage_, name) for name in COUNTED]
        cells = [f"{count.units:,} ({_octets(count.size)})" if count.units else "0" for count in counts]
        rows.append((names.get(usage_.tenant, str(usage_.tenant)), *cells, f"{usage_.active_recipients:,}"))
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


def _as_json(found: list[Usage], names: dict[int, str], period: Month, *, zone: str) -> dict[str, object]:
    from mailguard.billing.meter import COUNTED

    return {
        "month": period.name,
        "time_zone": zone,
        "from": to_iso(period.start),
        "until": to_iso(period.end),
        "tenants": [
            {
                "tenant": names.get(usage_.tenant, str(usage_.tenant)),
                "id": usage_.tenant,
                **{
                    name: {"units": count.units, "messages": count.messages, "bytes": count.size}
                    for name, count in ((name, getattr(usage_, name)) for name in COUNTED)
                },
                "active_recipients": usage_.active_recipients,
            }
            for usage_ in found
        ],
    }


def _print_csv(found: list[Usage], names: dict[int, str], period: Month) -> None:
    from mailguard.billing.meter import COUNTED

    columns = [f"{name}_{what}" for name in COUNTED for what in ("units", "messages", "bytes")]
    print_plain(csv_line(["month", "tenant", *columns, "active_recipients"]))
    for usage_ in found:
        numbers = [
            str(number)
            for count in (getattr(usage_, name) for name in COUNTED)
            for number in (count.units, count.messages, count.size)
        ]
        name = csv_cell(names.get(usage_.tenant, str(usage_.tenant)))
        print_plain(csv_line([period.name, name, *numbers, str(usage_.active_recipients)]))
