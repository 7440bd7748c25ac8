"""`mailguard sla`: what was promised for a month, what was measured, and what it gives back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, cli_of, tenant_id
from mailguard.cli.terminal import Cell, print_facts, print_json, print_table, say
from mailguard.cli.unprobed import level_notes
from mailguard.core.clock import to_iso
from mailguard.core.errors import UnavailableError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.billing.invoice import ServiceLevel
    from mailguard.billing.months import Month
    from mailguard.billing.sla import SlaMeasurement, SlaRules

PATIENCE = 1_000
"""Milliseconds for which those who write events are waited for, before what they have written is counted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A tenant's month, and what it was promised: nothing without a contract."""

    tenant: str
    plan: str
    measurement: SlaMeasurement
    levels: tuple[ServiceLevel, ...]
    notes: tuple[str, ...] = ()


def sla(
    context: typer.Context,
    *,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month, in the billing time zone.")],
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the service level of a month with what the contract promises; the invoice posts the credits by itself."""
    from mailguard.billing import closing, months

    cli = cli_of(context)
    rules = rules_of(cli)
    period = months.month(month, zone=rules.zone)
    with suppress(UnavailableError):  # what was not counted by now is counted as it is read
        closing.catch_up(cli.write, zone=rules.zone, patience=PATIENCE)
    found = cli.read(lambda conn: _measured(conn, period, tenant_id(conn, tenant), rules))
    if json:
        print_json([_as_json(one) for one in found])
        return
    for position, one in enumerate(found):
        if position:
            say()
        _print(one)
    if not found:
        say("no tenant has been added yet")


def rules_of(cli: Cli) -> SlaRules:
    """How the service level is measured, by the settings."""
    from mailguard.billing.months import time_zone
    from mailguard.billing.sla import SlaRules

    settings = cli.settings.sla
    zone = time_zone(cli.settings.billing.time_zone)
    return SlaRules(zone, settings.probe_minutes, settings.maintenance_notice_hours, settings.maintenance_hours)


def _measured(conn: Connection, period: Month, tenant: int | None, rules: SlaRules) -> list[Measured]:
    from mailguard.billing import sla
    from mailguard.billing.agreements import contracts_of
    from mailguard.billing.contract import first_of, month_after
    from mailguard.store.tenants import list_tenants

    first = first_of(period.name)
    found = []
    for record in list_tenants(conn, removed=True):
        there = record.created_at < period.end and not 0 < record.removed_at <= period.start
        if tenant != record.tenant.id if tenant is not None else not there:
            continue
        held = [one.last_terms_within(first, month_after(first)) for one in contracts_of(conn, record.tenant.id)]
        terms = next((one for one in reversed(held) if one is not None), None)
        measurement = sla.measure(conn, record.tenant.id, period, rules=rules)
        levels = sla.credits(measurement, terms.plan.sla) if terms else ()
        notes = tuple(level_notes(measurement.door, terms.plan.sla, rules)) if terms else ()
        found.append(Measured(record.tenant.name, terms.plan.name if terms else "", measurement, levels, notes))
    return found


def _print(one: Measured) -> None:
    measured = one.measurement
    promised = f"plan {one.plan}" if one.plan else "no contract, so nothing is promised"
    print_facts({"tenant": f"{one.tenant} ({promised})", **_facts(measured)})
    if one.levels:
        print_table(
            ("PROMISED", "", "MEASURED", "CREDIT"),
            (
                (
                    level.commitment,
                    level.target,
                    Cell(level.measured, "green" if level.met else "red"),
                    f"{level.credit_percent.normalize():f} %" if level.credit_percent else "",
                )
                for level in one.levels
            ),
        )
    for note in one.notes:
        say(f"note: {note}", style="yellow")


def _facts(one: SlaMeasurement) -> dict[str, str]:
    """The counts behind the figures."""
    door, delay = one.door, one.delay
    return {
        "measured": f"{to_iso(one.start)} to {to_iso(one.end)}",
        "door": f"{door.up:,} of {door.up + door.down:,} times up"
        + (f", {door.missing:,} without a probe" if door.missing else "")
        + (f"; {door.excluded:,} in maintenance" if door.excluded else ""),
        "added delay": f"half of {delay.count:,} mails within {delay.p50:,} ms, 95 % {delay.p95:,} ms, 99 % {delay.p99:,} ms"
        if delay
        else "no mail was delivered",
        "viruses": f"{one.virus.stopped:,} stopped, {one.virus.missed:,} reported as missed",
        "spam": f"{one.spam.stopped:,} stopped or tagged, {one.spam.missed:,} reported as missed",
        "stopped wrongly": f"{one.false_positives:,}, beside {one.good:,} mails delivered",
        "release requests": f"{len(one.waits):,}, {one.unanswered:,} not answered yet" if one.waits else "none",
    }


def _as_json(one: Measured) -> dict[str, object]:
    from mailguard.billing.plans import CommitmentName

    measured = one.measurement
    figures = {name: measured.figure(name) for name in CommitmentName}
    return {
        "tenant": one.tenant,
        "month": measured.month,
        "plan": one.plan or None,
        "from": to_iso(measured.start),
        "until": to_iso(measured.end),
        "figures": {name.value: None if value is None else float(value) for name, value in figures.items()},
        "door": {
            "up": measured.door.up,
            "down": measured.door.down,
            "missing": measured.door.missing,
            "maintenance": measured.door.excluded,
        },
        "delay_ms": None
        if measured.delay is None
        else {
            "mails": measured.delay.count,
            "p50": measured.delay.p50,
            "p95": measured.delay.p95,
            "p99": measured.delay.p99,
        },
        "virus": {"stopped": measured.virus.stopped, "missed": measured.virus.missed},
        "spam": {"stopped": measured.spam.stopped, "missed": measured.spam.missed},
        "good": measured.good,
        "false_positives": measured.false_positives,
        "release_requests": {"made": len(measured.waits), "unanswered": measured.unanswered},
        "commitments": [
            {
                "commitment": level.commitment,
                "target": level.target,
                "measured": level.measured,
                "met": level.met,
                "credit_percent": float(level.credit_percent),
            }
            for level in one.levels
        ],
        "notes": list(one.notes),
    }
