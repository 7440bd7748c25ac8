"""The worked examples of docs/billing.md, computed anew: a client must be able to follow the bill, a provider the price."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

from mailguard.billing.charges import settle
from mailguard.billing.document import Seller, compose
from mailguard.billing.draft import Used
from mailguard.billing.invoice import Invoice, Party, ServiceLevel
from mailguard.billing.plan_files import PlanFiles, read_plans
from mailguard.billing.plans import Plan
from mailguard.billing.sla import TITLES
from tests.unit.billing.bill_world import a_contract

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "billing.md").read_text()
SELLER = Seller(Party("Provider GmbH", (), "DE", "DE1"))


def plan(name: str) -> Plan:
    files = PlanFiles(ROOT / "policies" / "plans")
    files.load()
    return files.find(name)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first line begins with `heading`."""
    table = PAGE[PAGE.index(f"| {heading} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def bill(
    agreed: Plan, start: date, month: date, used: Used, levels: tuple[ServiceLevel, ...] = (), **values: object
) -> Invoice:
    """The first bill of a contract."""
    contract = a_contract(start, (start, agreed), **values)
    lines = settle(contract, month, charged=[], used=used, service_levels=levels)
    return compose(
        contract, month, lines, tenant="acme", seller=SELLER, used=used, service_levels=levels, previous=None
    )


def test_the_clients_example_is_what_comes_out() -> None:
    facts = dict(rows("of November"))
    start = date(2026, 11, 16)
    assert facts["the contract runs from"] == "16 November"
    agreed = plan(facts["plan"].strip("`"))
    used = Used(
        mailboxes=int(facts["mailboxes with mail"]), messages=int(facts["mails delivered"].replace(",", "")), octets=0
    )
    percent = Decimal(facts["availability"].removesuffix(" %"))
    (promised,) = [one for one in agreed.sla.commitments if one.name == "availability"]
    level = ServiceLevel(
        TITLES[promised.name], f"≥ {promised.target} %", f"{percent} %", False, promised.credit_percent(percent)
    )
    found = bill(agreed, start, start.replace(day=1), used, (level,))
    assert found.usage is not None
    assert facts["included, for 15 of 30 days"] == (
        f"{found.usage.included_mailboxes} mailboxes, {found.usage.included_messages:,} mails"
    )
    shown = [[line.description, f"{line.amount:.2f}".replace("-", "−")] for line in found.lines]
    sums = [
        ["Net", f"{found.net}"],
        [f"Tax, {agreed.tax_rate} % of it", f"{found.tax}"],
        ["**Total**", f"**{found.total}**"],
    ]
    assert [[what, amount] for what, _, amount in rows("line of the bill")] == shown + sums
    assert f"The bill is dated {found.issued.day} December and payable by {found.due.day} December." in PAGE


def test_the_providers_example_is_what_comes_out(tmp_path: Path) -> None:
    text = PAGE.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "gold.yaml").write_text(text)
    plans, problems = read_plans(tmp_path)
    assert len(problems) == 0, problems
    gold = plans["gold"]
    month = date(2026, 12, 1)
    table = rows("mailboxes a month")
    assert len(table) > 2
    for mailboxes, mails, fee, more, total in table:
        used = Used(mailboxes=int(mailboxes), messages=int(mails.replace(",", "")), octets=0)
        found = bill(gold, month, month, used)
        beyond = sum((line.amount for line in found.lines if line.kind in ("mailboxes", "messages")), Decimal(0))
        assert (fee, more, total) == (f"{gold.monthly_fee:.2f}", f"{beyond:.2f}", f"{gold.monthly_fee + beyond:.2f}")
