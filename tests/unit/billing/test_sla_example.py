"""The worked example of docs/sla.md, computed anew: a client must be able to follow it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from mailguard.billing import sla
from mailguard.billing.availability import Availability
from mailguard.billing.latency import Latency
from mailguard.billing.money import rounded
from mailguard.billing.plan_files import PlanFiles
from mailguard.billing.sla import Caught, SlaMeasurement, SlaRules

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "sla.md").read_text()
EXAMPLE = PAGE.partition("## A worked example")[2].partition("## For the provider")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first line begins with `heading`."""
    table = EXAMPLE[EXAMPLE.index(f"| {heading} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_worked_example_is_what_comes_out() -> None:
    facts = {name: int(value) for name, value in rows("recorded in the month")}
    slots, excluded, down, missing, p95, viruses, missed, spam, spam_missed, good, wrong = facts.values()
    measured = SlaMeasurement(
        2,
        "2026-11",
        0,
        1,
        Availability(slots - excluded - down, down, missing, excluded),
        Latency(good, p95 // 2, p95, 2 * p95),
        Caught(viruses, missed),
        Caught(spam, spam_missed),
        good,
        wrong,
    )
    files = PlanFiles(ROOT / "policies" / "plans")
    files.load()
    plan = files.find("business")
    found = sla.credits(measured, plan.sla)
    shown = [
        [one.commitment, one.target, one.measured, f"{one.credit_percent:f} %" if one.credit_percent else ""]
        for one in found
    ]
    assert shown == rows("promise")
    percent = sum((one.credit_percent for one in found), Decimal(0))
    credit = rounded(plan.monthly_fee * percent / 100, plan.currency)
    assert f"Together {percent} % of {plan.monthly_fee:.2f} {plan.currency}: the invoice is {credit}" in EXAMPLE


def test_the_page_says_what_the_settings_are_unless_they_are_changed() -> None:
    from mailguard.config.provider_sections import SlaSection

    section = SlaSection.model_validate({})
    rules = SlaRules.__dataclass_fields__
    assert section.probe_minutes == rules["probe_minutes"].default == 5
    assert "slots of 5 minutes" in PAGE
    assert f"announced {section.maintenance_notice_hours} hours before" in PAGE
    assert re.search(rf"most {section.maintenance_hours} hours of it in a month", PAGE.replace("\n", " "))
