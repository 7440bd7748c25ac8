"""A contract as the command line shows it: facts and its terms for people, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from mailguard.cli.billing_values import list_text, money
from mailguard.cli.plan import plan_json, term_text
from mailguard.cli.terminal import print_facts, print_table, say

if TYPE_CHECKING:
    from mailguard.billing.contract import Contract

_ONE_DAY = timedelta(days=1)

BILLED_UNIT = (
    "Billed by the mailbox: a recipient address (whatever its case, and without what a sender adds behind a separator as in "
    "joe+news; an alias domain is its domain), or the mailbox that the tenant's list or directory names for it, to which mail "
    "was delivered or released in the month. Mail that was refused, bounced, discarded or only quarantined never counts."
)
"""What the count is of, as the contract says it."""


def print_contract(name: str, contract: Contract, *, today: date, billed: Mapping[str, str | None]) -> None:
    """Print a contract for people."""
    terms = contract.terms_on(max(today, contract.start)) or contract.terms[-1]
    term_end = contract.current_term_end(max(today, contract.start))
    notice_by = contract.last_day_for_notice(term_end) if term_end is not None else None
    print_facts(
        {
            "tenant": name,
            "contract": str(contract.id),
            "plan": f"{terms.plan.name}, {money(terms.plan.monthly_fee, contract.currency)} a month",
            "start": contract.start.isoformat(),
            "term": term_text(contract.term_months, contract.renewal_months, contract.notice_days),
            "ends": _end_text(contract),
            "term ends": ""
            if contract.ends_on or term_end is None
            else f"{term_end - _ONE_DAY}, notice by {notice_by}",
            "earliest end": "" if contract.ends_on else (contract.earliest_end(today) - _ONE_DAY).isoformat(),
            "buyer": list_text((contract.buyer.name, *contract.buyer.address, contract.buyer.country)),
            "tax id": contract.buyer.tax_id,
            "e-mail": contract.buyer.email,
            "reference": contract.buyer_reference,
            "billed": list_text([f"{min(billed)} to {max(billed)}"] if billed else ["not yet"]),
        }
    )
    print_table(
        ("FROM", "PLAN", "HASH", "MONTHLY FEE", "TAX"),
        (
            (
                one.start.isoformat(),
                one.plan.name,
                one.plan_hash[:12],
                money(one.plan.monthly_fee, contract.currency),
                f"{one.plan.tax_rate.normalize():f} %",
            )
            for one in contract.terms
        ),
        right=("MONTHLY FEE", "TAX"),
    )
    say(BILLED_UNIT)


def print_contracts(contracts: Sequence[tuple[str, Contract]], *, today: date) -> None:
    """Print contracts as a table."""
    print_table(
        ("TENANT", "CONTRACT", "PLAN", "START", "LAST DAY", "STATE", "MONTHLY FEE", "BUYER"),
        (
            (
                name,
                str(one.id),
                _plan_now(one, today),
                one.start.isoformat(),
                (one.ends_on - _ONE_DAY).isoformat() if one.ends_on else "",
                state_of(one, today),
                money((one.terms_on(max(today, one.start)) or one.terms[-1]).plan.monthly_fee, one.currency),
                one.buyer.name,
            )
            for name, one in contracts
        ),
        right=("MONTHLY FEE",),
        empty="no contracts yet; add one with `mailguard contract add TENANT --plan PLAN --start YYYY-MM-DD`",
    )


def state_of(contract: Contract, today: date) -> str:
    """`running`, `cancelled` (it still runs), `ended`, `withdrawn` or `to come`."""
    if contract.ends_on is not None:
        if contract.ends_on <= contract.start:
            return "withdrawn"
        if contract.ends_on <= today:
            return "ended"
    if contract.start > today:
        return "to come"
    return "running" if contract.ends_on is None else "cancelled"


def contract_json(
    name: str, contract: Contract, *, today: date, billed: Mapping[str, str | None] | None = None
) -> dict[str, object]:
    """A contract as `--json` prints it. `last_day` is null while no end is agreed."""
    term_end = contract.current_term_end(max(today, contract.start))
    return {
        "id": contract.id,
        "tenant": name,
        "state": state_of(contract, today),
        "start": contract.start,
        "last_day": contract.ends_on - _ONE_DAY if contract.ends_on else None,
        "notice_on": contract.notice_on,
        "term_months": contract.term_months,
        "renewal_months": contract.renewal_months,
        "notice_days": contract.notice_days,
        "term_last_day": term_end - _ONE_DAY if term_end else None,
        "notice_by": contract.last_day_for_notice(term_end) if term_end else None,
        "earliest_last_day": None if contract.ends_on else contract.earliest_end(today) - _ONE_DAY,
        "currency": contract.currency,
        "plan": _plan_now(contract, today),
        "buyer": {
            "name": contract.buyer.name,
            "address": list(contract.buyer.address),
            "country": contract.buyer.country,
            "tax_id": contract.buyer.tax_id,
            "email": contract.buyer.email,
            "reference": contract.buyer_reference,
        },
        "billed_unit": BILLED_UNIT,
        "terms": [{"from": one.start, "plan": plan_json(one.plan)} for one in contract.terms],
        **({"billed": dict(billed)} if billed is not None else {}),
    }


def _plan_now(contract: Contract, today: date) -> str:
    return (contract.terms_on(max(today, contract.start)) or contract.terms[-1]).plan.name


def _end_text(contract: Contract) -> str:
    if contract.ends_on is None:
        return ""
    if contract.ends_on <= contract.start:
        return "withdrawn before it began"
    given = f", notice given on {contract.notice_on}" if contract.notice_on else ""
    return f"{contract.ends_on - _ONE_DAY}{given}"
