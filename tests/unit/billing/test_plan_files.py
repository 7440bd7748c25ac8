"""Plans from files: the shipped ones, every wrong value at its line, and reloading that keeps the last good ones."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.billing.plan_files import PlanFiles, read_plans
from mailguard.billing.plans import Commitment, CommitmentName, CreditStep, Plan, Scheme, plan_from_json, plan_json
from mailguard.core.errors import NotFoundError
from tests.unit.billing.bill_world import plans

SHIPPED = Path(__file__).parents[3] / "policies" / "plans"
GOOD = "currency: EUR\nmonthly_fee: 49.90\ntax_rate: 19\n"


def read(tmp_path: Path, text: str, name: str = "gold") -> tuple[dict[str, Plan], list[str]]:
    (tmp_path / f"{name}.yaml").write_text(text)
    found, problems = read_plans(tmp_path)
    return found, [str(problem) for problem in problems]


def test_the_shipped_plans_are_in_order() -> None:
    found, problems = read_plans(SHIPPED)
    assert problems == ()
    assert list(found) == ["basic", "business", "enterprise", "per-mailbox"]
    business = found["business"]
    assert business.mailbox_rates is not None
    assert business.mailbox_rates.scheme is Scheme.GRADUATED
    assert business.sla.commitments[0] == Commitment(
        CommitmentName.AVAILABILITY,
        Decimal("99.9"),
        (
            CreditStep(Decimal("99.9"), Decimal(10)),
            CreditStep(Decimal("99.5"), Decimal(25)),
            CreditStep(Decimal(99), Decimal(50)),
        ),
    )


def test_amounts_are_the_digits_that_were_typed(tmp_path: Path) -> None:
    tiers = "included_mailboxes: 0\nmailbox_tiers: {scheme: volume, tiers: [{price: 0.1}]}\n"
    found, problems = read(tmp_path, GOOD + tiers)
    assert problems == []
    rates = found["gold"].mailbox_rates
    assert rates is not None
    assert (str(found["gold"].monthly_fee), str(rates.tiers[0].price)) == ("49.9", "0.1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("currency: EUR\ntax_rate: 19\n", "gold.yaml:1 monthly_fee: is missing"),
        (
            GOOD.replace("EUR", "EURO"),
            "gold.yaml:1 currency: 'EURO' must be the ISO 4217 code of a currency, such as EUR",
        ),
        (
            GOOD.replace("49.90", "49.905"),
            "gold.yaml:2 monthly_fee: 49.905 must have at most 2 digits behind the point in EUR",
        ),
        (GOOD.replace("49.90", "-1"), "gold.yaml:2 monthly_fee: -1 must be from 0 to under 1000000000"),
        (GOOD.replace("49.90", ".nan"), "gold.yaml:2 monthly_fee: nan must be a number"),
        (GOOD.replace("49.90", "true"), "gold.yaml:2 monthly_fee: true must be a number"),
        (
            GOOD.replace("EUR", "JPY"),
            "gold.yaml:2 monthly_fee: 49.9 must have at most 0 digits behind the point in JPY",
        ),
        (GOOD + "monthly: 3\n", "gold.yaml:4 monthly: unknown key; did you mean monthly_fee?"),
        (GOOD + "billing_day: 29\n", "gold.yaml:4 billing_day: 29 must be at most 28"),
        (
            GOOD + "included_mailboxes: 10\n",
            "gold.yaml:1 mailbox_tiers: nothing must say what more than included_mailboxes costs",
        ),
        (
            GOOD + "mailbox_tiers: {scheme: volume, tiers: [{price: 1}]}\n",
            "gold.yaml:4 mailbox_tiers: ",
        ),
        (
            GOOD + "included_messages: some\n",
            "gold.yaml:4 included_messages: 'some' must be a whole number from 0, or unlimited",
        ),
        (
            GOOD + "included_mailboxes: 1\nmailbox_tiers:\n  scheme: graduated\n  tiers: [{up_to: 5, price: 1}]\n",
            "gold.yaml:7 mailbox_tiers.tiers: must each have up_to but the last",
        ),
        (
            GOOD + "included_mailboxes: 1\nmailbox_tiers:\n  scheme: graduated\n"
            "  tiers: [{up_to: 5, price: 1}, {up_to: 5, price: 1}, {price: 1}]\n",
            "mailbox_tiers.tiers: must be in order of rising up_to",
        ),
        (GOOD + "tax_category: E\n", "gold.yaml:4 tax_category: 'E' does not go with this tax_rate"),
        (GOOD.replace("19", "0"), "gold.yaml:1 tax_category: 'S' does not go with this tax_rate"),
        (GOOD.replace("19", "0") + "tax_category: AE\n", "tax_exemption: '' must say why no tax is charged"),
        (
            GOOD + "sla:\n  availability: {target: 99, credits: [{below: 99.5, percent: 5}]}\n",
            "gold.yaml:5 sla.availability.credits: must begin at most at the target",
        ),
        (
            GOOD
            + "sla:\n  delay_p95_seconds: {target: 30, credits: [{above: 60, percent: 5}, {above: 90, percent: 5}]}\n",
            "gold.yaml:5 sla.delay_p95_seconds.credits: must credit a higher percent at each worse step",
        ),
        (
            GOOD + "sla:\n  availability: {target: 99, credits: [{above: 5, percent: 5}]}\n",
            "sla.availability.credits[0].above",
        ),
        ("- 1\n", "gold.yaml:1: "),
        ("currency: [\n", "gold.yaml:2: is not YAML"),
    ],
)
def test_what_is_wrong_is_told_at_its_line(tmp_path: Path, text: str, said: str) -> None:
    found, problems = read(tmp_path, text)
    assert found == {}
    assert any(said in problem for problem in problems), problems


def test_all_problems_of_all_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "Gold Plan.yaml").write_text(GOOD)
    _, problems = read(tmp_path, "currency: X\nmonthly_fee: x\ntax_rate: 101\n")
    assert len(problems) == 4


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    files = PlanFiles(tmp_path / "none")
    files.load()
    with pytest.raises(NotFoundError, match="there is none yet"):
        files.find("gold")
    files = PlanFiles(SHIPPED)
    files.load()
    with pytest.raises(NotFoundError, match="did you mean business"):
        files.find("busines")


def test_a_wrong_change_leaves_the_last_good_plans(tmp_path: Path) -> None:
    (tmp_path / "gold.yaml").write_text(GOOD)
    files = PlanFiles(tmp_path)
    files.load()
    (tmp_path / "gold.yaml").write_text(GOOD + "x: 1\n")
    assert files.reload_if_changed()
    assert files.find("gold").monthly_fee == Decimal("49.9")
    (tmp_path / "gold.yaml").write_text(GOOD.replace("49.90", "59.95"))
    assert files.reload_if_changed()
    assert files.find("gold").monthly_fee == Decimal("59.95")


@given(plans())
def test_a_snapshot_is_the_plan(plan: Plan) -> None:
    assert plan_from_json(plan_json(plan)) == plan
    assert plan_from_json(plan_json(plan)).hash == plan.hash


@given(st.decimals(0, 100, places=3), st.sampled_from(CommitmentName))
def test_credits_of_a_commitment(measured: Decimal, name: CommitmentName) -> None:
    steps = (CreditStep(Decimal(60), Decimal(5)), CreditStep(Decimal(50), Decimal(20)))
    if not name.more_is_better:
        steps = (CreditStep(Decimal(40), Decimal(5)), CreditStep(Decimal(50), Decimal(20)))
    one = Commitment(name, steps[0].limit, steps)
    assert one.is_met(measured) == (one.credit_percent(measured) == 0)
    assert (one.credit_percent(measured) == 20) == steps[1].applies(measured, name)
