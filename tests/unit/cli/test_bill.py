"""`mailguard plan`, `contract` and `bill`: what they print, in both forms, and what they say when something is not possible.

By the machine's clock, so the months are of a year that is over.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.ledger_of import World
from tests.unit.cli.conftest import Run

BILLING = """
[billing]
time_zone = "Europe/Berlin"
seller_name = "Provider GmbH"
seller_address = ["1 Mail Street", "10115 Berlin"]
seller_country = "DE"
seller_tax_id = "DE123456789"
"""
GOLD = """
description: Gold - all of it
currency: EUR
monthly_fee: 31.00
setup_fee: 10
included_mailboxes: 1
mailbox_tiers: {scheme: graduated, tiers: [{up_to: 10, price: 2}, {price: 1.5}]}
tax_rate: 19
billing_day: 3
term_months: 12
renewal_months: 12
notice_days: 30
sla:
  availability: {target: 99.9, credits: [{below: 99.9, percent: 10}]}
"""
BUYER = (
    "--buyer-name",
    "Acme Ltd",
    "--buyer-address",
    "2 Road",
    "--buyer-address",
    "20095 Hamburg",
    "--buyer-country",
    "de",
)


@pytest.fixture(autouse=True)
def plans(config: Path) -> Path:
    """Two plans, and a provider with a name."""
    config.write_text(config.read_text() + BILLING)
    folder = config.parent / "policies" / "plans"
    folder.mkdir()
    (folder / "gold.yaml").write_text(GOLD)
    (folder / "silver.yaml").write_text(GOLD.replace("31.00", "15.50").replace("gold", "silver"))
    return folder


@pytest.fixture
def signed(world: World, mailguard: Run) -> Run:
    """`acme` has a contract for gold from 10 January 2025 on."""
    assert mailguard("contract", "add", "acme", "--plan", "gold", "--start", "2025-01-10", *BUYER).code == 0
    return mailguard


def test_plans_are_listed_shown_and_checked(mailguard: Run, plans: Path) -> None:
    listed = mailguard("plan", "list")
    assert "31.00 EUR" in listed.out
    assert [plan["monthly_fee"] for plan in mailguard("plan", "list", "--json").json] == ["31.00", "15.50"]
    shown = mailguard("plan", "show", "gold").out
    assert "12 months, renewed by 12, 30 days' notice" in shown
    assert "below 99.9 %: 10 %" in shown
    assert "2.00 EUR" in shown
    assert mailguard("plan", "show", "gold", "--json").json["mailbox_rates"]["tiers"][0] == {"price": "2", "up_to": 10}
    assert mailguard("plan", "check").code == 0
    (plans / "gold.yaml").write_text(GOLD.replace("19", "x") + "more: 1\n")
    wrong = mailguard("plan", "check")
    assert wrong.code == 2
    assert "gold.yaml:8 tax_rate: 'x' must be a number" in wrong.err
    checked = mailguard("plan", "check", "--json")
    assert (checked.code, len(checked.json["problems"])) == (2, 2)
    assert mailguard("plan", "show", "silver").code == 2


def test_a_contract_is_added_shown_changed_and_cancelled(world: World, mailguard: Run, plans: Path) -> None:
    without = mailguard("contract", "show", "acme")
    assert (without.code, "mailguard contract add acme --plan PLAN" in without.err) == (1, True)
    unknown = mailguard("contract", "add", "acme", "--plan", "gild", "--start", "2025-01-10", *BUYER)
    assert (unknown.code, "did you mean gold?" in unknown.err) == (1, True)
    nobody = mailguard("contract", "add", "acme", "--plan", "gold", "--start", "2025-01-10")
    assert (nobody.code, "--buyer-name" in nobody.err) == (2, True)
    assert (
        "--plan: say which; there are: gold, silver"
        in mailguard("contract", "add", "acme", "--start", "2025-01-10", *BUYER).err
    )
    assert (
        "is not a day such as"
        in mailguard("contract", "add", "acme", "--plan", "gold", "--start", "10.1.2025", *BUYER).err
    )

    added = mailguard(
        "contract", "add", "acme", "--plan", "gold", "--start", "2025-01-10", "--notice", "14", *BUYER, "--json"
    ).json
    assert (added["plan"], added["notice_days"], added["buyer"]["country"], added["last_day"]) == (
        "gold",
        14,
        "DE",
        None,
    )
    assert mailguard("tenant", "show", "acme", "--json").json["plan"] == "gold"
    (plans / "gold.yaml").write_text(GOLD.replace("31.00", "99.00"))
    assert "gold, 31.00 EUR a month" in mailguard("contract", "show", "acme").out

    changed = mailguard("contract", "change", "acme", "--from", "2025-03-01", "--price", "40", "--json").json
    assert [terms["plan"]["monthly_fee"] for terms in changed["terms"]] == ["31", "40"]
    assert mailguard("contract", "change", "acme", "--from", "2025-05-01", "--plan", "silver").code == 0
    assert mailguard("contract", "change", "acme", "--from", "2025-05-01").code == 2
    assert mailguard("contract", "set", "acme", "--term", "0", "--renewal", "0", "--buyer-reference", "PO 7").code == 0
    assert mailguard("contract", "set", "acme").code == 2
    early = mailguard("contract", "cancel", "acme", "--on", "2025-05-31")
    assert (early.code, "--waive-notice" in early.err) == (1, True)
    cancelled = mailguard("contract", "cancel", "acme", "--on", "2025-05-31", "--waive-notice", "--json").json
    assert (cancelled["last_day"], cancelled["state"]) == ("2025-05-31", "ended")
    assert mailguard("contract", "cancel", "acme", "--revoke", "--json").json["state"] == "running"
    assert [one["id"] for one in mailguard("contract", "list", "--json").json] == [1]
    assert "Acme Ltd" in mailguard("contract", "list", "--tenant", "acme").out
    actions = [entry["action"] for entry in mailguard("audit", "list", "--action", "contract", "--json").json]
    assert actions == ["contract.add"] + ["contract.change"] * 3 + ["contract.cancel"] * 2


def test_changed_plans_and_closed_months_are_in_the_audit_log_once(signed: Run, plans: Path) -> None:
    (plans / "gold.yaml").write_text(GOLD.replace("31.00", "99.00"))
    signed("contract", "change", "acme", "--from", "2025-03-01", "--plan", "gold")
    for _ in range(2):
        signed("bill", "run", "--month", "2025-01", "--no-pdf")
    plan_changes = signed("audit", "list", "--action", "plan", "--json").json
    assert [entry["subject"] for entry in plan_changes] == ["gold", "silver", "gold"]
    assert plan_changes[2]["detail"]["hash"][0] == plan_changes[0]["detail"]["hash"][1]
    assert [entry["subject"] for entry in signed("audit", "list", "--action", "bill.close", "--json").json] == [
        "2025-01"
    ]
    assert signed("audit", "verify").code == 0


def test_a_month_is_billed_and_its_invoice_shown_in_every_form(signed: Run, tmp_path: Path) -> None:
    ran = signed("bill", "run", "--month", "2025-01", "--json").json
    (one,) = ran["invoices"]
    assert (one["state"], ran["without_contract"]) == ("made", [])
    number = one["invoice"]["number"]
    assert one["invoice"]["net"] == "63.00"  # 22 of 31 days, February, and the set-up
    again = signed("bill", "run", "--month", "2025-01", "--json").json["invoices"][0]
    assert (again["state"], again["invoice"]) == ("frozen", one["invoice"])

    text = signed("bill", "show", number).out
    assert "Monthly fee, plan gold, 22 of 31 days" in text
    document = signed("bill", "show", number, "--json")
    assert json.loads(document.out)["total"] == "74.97"
    assert signed("bill", "show", number, "--json").out == document.out
    rows = list(csv.DictReader(io.StringIO(signed("bill", "show", number, "--csv").out)))
    assert [row["amount"] for row in rows] == ["22.00", "31.00", "10.00"]
    for kind in ("pdf", "ubl"):
        paths = [tmp_path / f"{n}.{kind}" for n in (1, 2)]
        for path in paths:
            assert signed("bill", "show", number, f"--{kind}", str(path)).code == 0
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert (tmp_path / "1.pdf").read_bytes().startswith(b"%PDF")
    assert ElementTree.parse(tmp_path / "1.ubl").getroot().tag.endswith("}Invoice")
    assert signed("bill", "show", number, "--pdf", str(tmp_path / "no" / "such")).code == 2
    assert signed("bill", "show", number, "--csv", "--json").code == 2
    assert [
        row["number"] for row in signed("bill", "list", "--tenant", "acme", "--month", "2025-01", "--json").json
    ] == [number]
    assert number in signed("bill", "list").out


def test_a_line_is_explained_and_credited(signed: Run) -> None:
    number = signed("bill", "run", "--month", "2025-01", "--no-pdf", "--json").json["invoices"][0]["invoice"]["number"]
    explained = signed("bill", "explain", number, "2", "--json").json
    assert (explained["amount"], explained["month_before"], explained["terms"]["plan"]["name"]) == (
        "31.00",
        None,
        "gold",
    )
    assert "plan gold, 31.00 EUR a month, agreed from 2025-01-10 on" in signed("bill", "explain", number, "1").out
    assert signed("bill", "explain", number, "9").code == 1
    note = signed("bill", "credit", number, "--line", "2", "--amount", "5.50", "--why", "An apology", "--json").json
    assert (note["kind"], note["total"], note["corrects"]) == ("credit_note", "-6.55", number)
    shown = signed("bill", "show", note["number"]).out
    assert "An apology" in shown
    given_back = signed("bill", "explain", number, "2", "--json").json["given_back"]
    assert [(one["invoice"], one["amount"]) for one in given_back] == [(note["number"], "-5.50")]
    too_much = signed("bill", "credit", number, "--line", "2", "--amount", "30", "--why", "more")
    assert (too_much.code, "25.50 is left" in too_much.err) == (1, True)
    assert signed("bill", "credit", number, "--line", "2", "--amount", "x", "--why", "y").code == 2


def test_what_cannot_be_billed_says_what_to_do(signed: Run, world: World) -> None:
    refused = signed("bill", "run", "--month", "2025-02")
    assert refused.code == 1
    assert "mailguard bill run --month 2025-01 --tenant acme" in refused.out
    future = signed("bill", "run", "--month", "2199-01")
    assert (future.code, "2199-01 is not over" in future.err) == (1, True)
    assert signed("bill", "run", "--month", "2025-13").code == 2
    unknown = signed("bill", "run", "--month", "2025-01", "--tenant", "nobody")
    assert (unknown.code, "there are: acme" in unknown.err) == (1, True)
    assert "mailguard bill list" in signed("bill", "show", "INV-1").err


def test_a_dry_run_shows_the_invoices_and_makes_none(signed: Run) -> None:
    (one,) = signed("bill", "run", "--month", "2025-01", "--dry-run", "--json").json["invoices"]
    assert (one["state"], one["draft"]["net"]) == ("draft", "63.00")
    assert signed("bill", "list", "--json").json == []


def test_without_a_seller_nothing_is_billed(signed: Run, config: Path) -> None:
    config.write_text(config.read_text().replace("seller_name", "# seller_name"))
    done = signed("bill", "run", "--month", "2025-01")
    assert (done.code, "billing.seller_name: is not set" in done.err) == (2, True)


def test_tenants_without_contract_are_listed(world: World, mailguard: Run) -> None:
    month = mailguard("bill", "run", "--month", "2025-01", "--json").json
    assert month["invoices"] == []  # the tenant came later
    drafted = mailguard("bill", "run", "--month", "2199-01", "--dry-run", "--json").json
    assert [one["tenant"] for one in drafted["without_contract"]] == ["acme"]
    assert "mailguard contract add acme" in drafted["without_contract"][0]["reason"]
