"""`mailguard plan`: the plans in policies/plans, checked, listed and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.billing_values import PLANS, money, plans_of
from mailguard.cli.context import cli_of
from mailguard.cli.terminal import print_facts, print_json, print_table, say
from mailguard.core.errors import ConfigError

if TYPE_CHECKING:
    from mailguard.billing.plans import Plan, Rates

app = typer.Typer(no_args_is_help=True, help="Plans: what the service costs, includes and promises.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("check")
def check(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PATH]", help="Directory of plans. Default: plans/ in [policies] path.", show_default=False
        ),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Check every plan; exit 2 with each problem at its path and line when there is one."""
    from mailguard.billing.plan_files import read_plans

    directory = path or cli_of(context).settings.policies.path / PLANS
    plans, problems = read_plans(directory)
    if json:
        print_json(
            {
                "path": str(directory),
                "plans": {name: plan.hash for name, plan in plans.items()},
                "problems": [{"where": problem.where, "message": problem.message} for problem in problems],
            }
        )
        if problems:
            raise typer.Exit(2)
        return
    if problems:
        raise ConfigError(problems)
    say(f"{directory} is in order: {len(plans)} plans ({', '.join(plans)})")


@app.command("list")
def list_(context: typer.Context, *, json: Json = False) -> None:
    """List the plans: what each costs and includes."""
    plans = plans_of(cli_of(context)).plans
    if json:
        print_json([_summary(plan) for plan in plans.values()])
        return
    print_table(
        ("PLAN", "MONTHLY FEE", "SET-UP", "MAILBOXES", "MAILS", "TAX", "TERM", "DESCRIPTION"),
        (
            (
                plan.name,
                money(plan.monthly_fee, plan.currency),
                money(plan.setup_fee, plan.currency),
                _allowance(plan.included_mailboxes),
                _allowance(plan.included_messages),
                f"{plan.tax_rate.normalize():f} %",
                term_text(plan.term_months, plan.renewal_months, plan.notice_days),
                plan.description,
            )
            for plan in plans.values()
        ),
        right=("MONTHLY FEE", "SET-UP", "MAILBOXES", "MAILS", "TAX"),
        empty="no plans yet; docs/billing.md tells how to write one",
    )


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plan.", show_default=False)],
    *,
    json: Json = False,
) -> None:
    """Show a plan: fees, tiers, tax, term, and what is promised."""
    plan = plans_of(cli_of(context)).find(name)
    if json:
        print_json(plan_json(plan))
    else:
        print_plan(plan)


def print_plan(plan: Plan) -> None:
    """Print a plan for people."""
    from mailguard.billing.sla import figure_text

    print_facts(
        {
            "plan": plan.name,
            "hash": plan.hash[:12],
            "description": plan.description,
            "monthly fee": f"{money(plan.monthly_fee, plan.currency)}, in advance",
            "set-up fee": money(plan.setup_fee, plan.currency),
            "mailboxes": f"{_allowance(plan.included_mailboxes)} included",
            "mails": f"{_allowance(plan.included_messages)} included",
            "tax": f"{plan.tax_rate.normalize():f} % ({plan.tax_category}) {plan.tax_exemption}".rstrip(),
            "billing day": f"{plan.billing_day}, payable within {plan.payment_days} days",
            "term": term_text(plan.term_months, plan.renewal_months, plan.notice_days),
        }
    )
    rows = [
        *_tiers("mailboxes", plan.mailbox_rates, plan.currency),
        *_tiers("mails", plan.message_rates, plan.currency),
    ]
    if rows:
        print_table(("BEYOND THE ALLOWANCE", "UP TO", "PRICE", "SCHEME"), rows, right=("UP TO", "PRICE"))
    if plan.sla.commitments:
        print_table(
            ("PROMISED", "TARGET", "CREDIT"),
            (
                (
                    one.name.value,
                    f"{'≥' if one.name.more_is_better else '≤'} {figure_text(one.name, one.target)}",
                    ", ".join(
                        f"{'below' if one.name.more_is_better else 'above'} {figure_text(one.name, step.limit)}: "
                        f"{step.percent.normalize():f} %"
                        for step in one.steps
                    ),
                )
                for one in plan.sla.commitments
            ),
            title=f"Credits, of the month's fee; at most {plan.sla.max_credit_percent.normalize():f} % together",
        )


def plan_json(plan: Plan) -> dict[str, object]:
    """A plan as `--json` prints it; money as text, exact."""
    import json

    from mailguard.billing import plans

    return {"hash": plan.hash, **json.loads(plans.plan_json(plan))}


def term_text(term: int, renewal: int, notice: int) -> str:
    """`12 months, renewed by 12, 90 days' notice`."""
    length = f"{term} months" if term else "no minimum term"
    return ", ".join(
        part
        for part in (length, f"renewed by {renewal}" if renewal else "", f"{notice} days' notice" if notice else "")
        if part
    )


def _summary(plan: Plan) -> dict[str, object]:
    from mailguard.billing.money import priced

    return {
        "name": plan.name,
        "hash": plan.hash,
        "description": plan.description,
        "currency": plan.currency,
        "monthly_fee": f"{priced(plan.monthly_fee, plan.currency):f}",
        "setup_fee": f"{priced(plan.setup_fee, plan.currency):f}",
        "included_mailboxes": plan.included_mailboxes,
        "included_messages": plan.included_messages,
    }


def _allowance(count: int | None) -> str:
    return "unlimited" if count is None else f"{count:,}"


def _tiers(what: str, rates: Rates | None, currency: str) -> list[tuple[str, str, str, str]]:
    if rates is None:
        return []
    per = f" per {rates.per:,}" if rates.per > 1 else ""
    return [
        (
            what,
            "all further" if tier.up_to is None else f"{tier.up_to:,}",
            f"{money(tier.price, currency)}{per}",
            rates.scheme.value,
        )
        for tier in rates.tiers
    ]
