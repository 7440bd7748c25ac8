"""Contracts in the database: signed, changed, ended. Each change is checked against what is billed already.

What holds may change from the first day on that is not billed in arrears yet; for earlier days there are credit notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from decimal import Decimal

from sqlalchemy.engine import Connection

from mailguard.billing.contract import ONE_DAY, Contract, Terms, first_of, month_after
from mailguard.billing.invoice import Party
from mailguard.billing.money import CURRENCIES, decimals
from mailguard.billing.plans import Plan, plan_from_json, plan_json
from mailguard.core.errors import ConfigError, ConflictError, NotFoundError, Problem
from mailguard.store import contracts as rows
from mailguard.store import invoices
from mailguard.store.contracts import BuyerRow, ContractRow

_COUNTRY = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a contract says beside its plan; None: as the plan has it, or as it was."""

    term_months: int | None = None
    renewal_months: int | None = None
    notice_days: int | None = None
    buyer: Party | None = None
    buyer_reference: str | None = None


def day_of(milliseconds: int, zone: tzinfo) -> date:
    """The day in `zone` of a time in ms UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, zone).date()


def contracts_of(conn: Connection, tenant: int | None = None) -> list[Contract]:
    """The contracts of a tenant, or of all, by tenant and start."""
    return [contract_of(row) for row in rows.contracts_of(conn, tenant)]


def last_contract(conn: Connection, tenant: int, name: str) -> Contract:
    """The contract of a tenant that began, or will begin, last. Raises NotFoundError with what to do."""
    found = contracts_of(conn, tenant)
    if not found:
        raise NotFoundError(
            f"tenant {name!r} has no contract; add one with `mailguard contract add {name} --plan PLAN --start YYYY-MM-DD`"
        )
    return found[-1]


def sign(
    conn: Connection,
    *,
    tenant: int,
    name: str,
    plan: Plan,
    start: date,
    conditions: Conditions,
    zone: tzinfo,
    now: int,
) -> Contract:
    """Record a contract of tenant `name` from `start` on, and what of its plan holds for it.

    Raises ConfigError for a buyer that no invoice can be made out to, and ConflictError when another contract is in the way
    or had another currency.
    """
    buyer = conditions.buyer or Party("")
    _check_buyer(buyer, plan)
    rows.lock_tenant(conn, tenant)
    for other in contracts_of(conn, tenant):
        if other.currency != plan.currency:
            raise _other_currency(name, other.currency, plan)
        if other.ends_on is None or other.ends_on > start:
            until = f"until {other.ends_on - ONE_DAY}" if other.ends_on else "without an end"
            raise ConflictError(
                f"tenant {name!r} has contract {other.id} from {other.start} {until}; change it with `mailguard contract "
                f"change {name}`, or end it before {start} with `mailguard contract cancel {name}`"
            )
    row = ContractRow(
        id=0,
        tenant=tenant,
        start=start,
        term_months=_chosen(conditions.term_months, plan.term_months),
        renewal_months=_chosen(conditions.renewal_months, plan.renewal_months),
        notice_days=_chosen(conditions.notice_days, plan.notice_days),
        currency=plan.currency,
        buyer=_buyer_row(buyer),
        buyer_reference=conditions.buyer_reference or "",
        created_at=now,
        created_on=day_of(now, zone),
    )
    number = rows.add_contract(conn, row)
    _add_terms(conn, number, plan, start, now)
    return contract_of(rows.contract_by_id(conn, number))


def change(conn: Connection, contract: Contract, *, name: str, plan: Plan, start: date, now: int) -> Contract:
    """Let `plan` hold from `start` on. Raises ConflictError when that day is billed, not covered, or nothing would change."""
    contract = _locked(conn, contract)
    if plan.currency != contract.currency:
        raise _other_currency(name, contract.currency, plan)
    _check_buyer(contract.buyer, plan)
    if not contract.covers(start):
        raise ConflictError(f"contract {contract.id} of {name!r} does not cover {start}: it {span_text(contract)}")
    _check_open(conn, contract, start)
    held = contract.terms_on(start)
    if held is not None and held.plan == plan:
        raise ConflictError(f"nothing to change: contract {contract.id} has exactly these terms on {start}")
    _add_terms(conn, contract.id, plan, start, now)
    return contract_of(rows.contract_by_id(conn, contract.id))


def with_price(plan: Plan, fee: Decimal) -> Plan:
    """The same plan for another monthly fee. Raises ConfigError when it is no amount of its currency."""
    digits = CURRENCIES[plan.currency]
    if not 0 <= fee < 1_000_000_000 or decimals(fee) > digits:
        raise ConfigError(
            [
                Problem(
                    "--price",
                    f"{fee} is not an amount in {plan.currency}, with at most {digits} digits behind the point",
                )
            ]
        )
    return replace(plan, monthly_fee=fee)


def cancel(
    conn: Connection,
    contract: Contract,
    *,
    name: str,
    notice_on: date,
    now: int,
    last_day: date | None = None,
    waive_notice: bool = False,
) -> Contract:
    """End a contract after `last_day`, by default on the earliest that its term and notice allow for.

    Raises ConflictError for an end that the contract does not allow, unless the notice is waived, or that is billed already.
    """
    contract = _locked(conn, contract)
    if contract.ends_on is not None:
        raise ConflictError(
            f"contract {contract.id} of {name!r} was cancelled already: it {span_text(contract)}; take that back with "
            f"`mailguard contract cancel {name} --revoke`"
        )
    earliest = contract.earliest_end(notice_on)
    end = earliest if last_day is None else last_day + ONE_DAY
    if not waive_notice and end != earliest:
        _check_end(contract, end, earliest)
    if end < contract.start:
        raise ConflictError(
            f"contract {contract.id} begins on {contract.start}; the last day cannot be before the one before"
        )
    _check_open(conn, contract, end, ending=True)
    rows.set_end(conn, contract.id, ends_on=end, notice_on=notice_on, now=now)
    return contract_of(rows.contract_by_id(conn, contract.id))


def revoke(conn: Connection, contract: Contract, *, name: str) -> Contract:
    """Take a cancellation back. Raises ConflictError when there is none, or the end is billed."""
    contract = _locked(conn, contract)
    if contract.ends_on is None:
        raise ConflictError(f"contract {contract.id} of {name!r} was not cancelled")
    _check_open(conn, contract, contract.ends_on, ending=True)
    rows.set_end(conn, contract.id, ends_on=None, notice_on=None, now=None)
    return contract_of(rows.contract_by_id(conn, contract.id))


def set_conditions(conn: Connection, contract: Contract, conditions: Conditions) -> Contract:
    """Change what is not the plan's; what is None stays. Raises ConfigError for a buyer that cannot be billed."""
    contract = _locked(conn, contract)
    buyer = conditions.buyer or contract.buyer
    for terms in contract.terms:
        _check_buyer(buyer, terms.plan)
    rows.set_conditions(
        conn,
        contract.id,
        term_months=_chosen(conditions.term_months, contract.term_months),
        renewal_months=_chosen(conditions.renewal_months, contract.renewal_months),
        notice_days=_chosen(conditions.notice_days, contract.notice_days),
        buyer=_buyer_row(buyer),
        buyer_reference=contract.buyer_reference if conditions.buyer_reference is None else conditions.buyer_reference,
    )
    return contract_of(rows.contract_by_id(conn, contract.id))


def first_open_day(conn: Connection, contract: Contract) -> date:
    """The first day whose month is not billed in arrears yet: from then on the contract may change."""
    billed = invoices.billed(conn, contract.id)
    return max(contract.start, month_after(first_of(max(billed)))) if billed else contract.start


def span_text(contract: Contract) -> str:
    """`runs from 2026-01-01 until 2026-12-31`, for messages."""
    if contract.ends_on is None:
        return f"runs from {contract.start} without an agreed end"
    if contract.ends_on <= contract.start:
        return f"was withdrawn before it began on {contract.start}"
    return f"runs from {contract.start} until {contract.ends_on - ONE_DAY}"


def contract_of(row: ContractRow) -> Contract:
    """The Contract that a row tells of."""
    return Contract(
        id=row.id,
        tenant=row.tenant,
        start=row.start,
        terms=tuple(
            Terms(terms.id, terms.from_day, plan_from_json(terms.snapshot), terms.plan_hash) for terms in row.terms
        ),
        currency=row.currency,
        buyer=Party(row.buyer.name, row.buyer.address, row.buyer.country, row.buyer.tax_id, row.buyer.email),
        created_on=row.created_on,
        term_months=row.term_months,
        renewal_months=row.renewal_months,
        notice_days=row.notice_days,
        ends_on=row.ends_on,
        notice_on=row.notice_on,
        buyer_reference=row.buyer_reference,
    )


# --- checks ----------------------------------------------------------------------------------------------------------


def _check_buyer(buyer: Party, plan: Plan) -> None:
    """Raises ConfigError with all that an invoice needs and is not there (EN 16931, BR-07, BR-11, BR-AE-02)."""
    problems = []
    if not buyer.name.strip():
        problems.append(Problem("--buyer-name", "is needed: the name that the invoices are made out to"))
    if not _COUNTRY.fullmatch(buyer.country):
        problems.append(Problem("--buyer-country", f"{buyer.country!r} is no country code such as DE (ISO 3166-1)"))
    if plan.tax_category == "AE" and not buyer.tax_id.strip():
        problems.append(
            Problem("--buyer-tax-id", f"is needed: by plan {plan.name} the buyer pays the tax (reverse charge)")
        )
    if problems:
        raise ConfigError(problems)


def _check_open(conn: Connection, contract: Contract, day: date, *, ending: bool = False) -> None:
    """Raises ConflictError when what holds from `day` on (`ending`: that nothing does) touches a billed month."""
    first = first_open_day(conn, contract)
    if day < first:
        billed = max(invoices.billed(conn, contract.id))
        possible = f"the last day can be {first - ONE_DAY} or later, not {day - ONE_DAY}"
        raise ConflictError(
            f"contract {contract.id} is billed up to {billed}: {possible if ending else f'a change can hold from {first} on, not {day}'}"
            "; money for billed days is given back with `mailguard bill credit`"
        )


def _locked(conn: Connection, contract: Contract) -> Contract:
    """The contract as it is once nobody else can change it."""
    rows.lock(conn, contract.id)
    return contract_of(rows.contract_by_id(conn, contract.id))


def _check_end(contract: Contract, end: date, earliest: date) -> None:
    if end < earliest:
        raise ConflictError(
            f"contract {contract.id} can end on {earliest - ONE_DAY} at the earliest (term and {contract.notice_days} days' "
            f"notice); to let it end on {end - ONE_DAY} all the same, add --waive-notice"
        )
    allowed = contract.earliest_end(contract.last_day_for_notice(end))
    if allowed != end:
        raise ConflictError(
            f"contract {contract.id} does not end on {end - ONE_DAY} by its terms, but on {earliest - ONE_DAY} or "
            f"{allowed - ONE_DAY}; to let it end then all the same, add --waive-notice"
        )


def _other_currency(name: str, currency: str, plan: Plan) -> ConflictError:
    return ConflictError(
        f"plan {plan.name} is in {plan.currency}, and tenant {name!r} is billed in {currency}: credits and charges of two "
        f"currencies cannot be set off against each other; take a plan in {currency}, or make another tenant"
    )


def _add_terms(conn: Connection, contract: int, plan: Plan, start: date, now: int) -> None:
    rows.add_terms(
        conn,
        contract,
        from_day=start,
        plan=plan.name,
        plan_hash=plan.hash,
        snapshot=plan_json(plan),
        now=now,
    )


def _buyer_row(buyer: Party) -> BuyerRow:
    return BuyerRow(buyer.name.strip(), buyer.address, buyer.country, buyer.tax_id.strip(), buyer.email.strip())


def _chosen(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given
