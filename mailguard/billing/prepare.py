"""What a run would freeze for a contract and a month, or why it does not: worked out in a read transaction, locks nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from enum import StrEnum

from sqlalchemy.engine import Connection

from mailguard.billing.charges import is_due, settle
from mailguard.billing.contract import ONE_DAY, Contract, first_of, month_after, month_name, month_start
from mailguard.billing.covered_usage import mailboxes_of, used_by
from mailguard.billing.document import Seller, compose
from mailguard.billing.draft import Charge, DraftLine
from mailguard.billing.invoice import Invoice, LineKind, ServiceLevel
from mailguard.billing.meter import BilledMailbox
from mailguard.billing.months import Month, preceding
from mailguard.billing.plans import ServiceLevels
from mailguard.billing.render import en16931
from mailguard.billing.render.json import invoice_from_json
from mailguard.store import invoices
from mailguard.store.invoices import ChargeRow

ServiceLevelsOf = Callable[[Connection, int, Month, ServiceLevels], Sequence[ServiceLevel]]
"""Measures what was promised to a tenant (by its id) in a month."""


class State(StrEnum):
    """What a run came to for a contract, or for a tenant without one."""

    MADE = "made"
    """An invoice was frozen."""
    FROZEN = "frozen"
    """There was one already: it is the same as ever."""
    NOTHING = "nothing"
    """Nothing is to be charged or given back."""
    REFUSED = "refused"
    """It cannot be billed before something else is done."""
    NO_CONTRACT = "no_contract"
    """The tenant had no contract in the month."""
    DRAFT = "draft"
    """What would be frozen; of a dry run."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Nothing is to be frozen: `invoice` names what there is already, `reason` says why, and what to do when REFUSED.

    `record`: the month counts as billed from now on, with nothing to charge.
    """

    state: State
    reason: str = ""
    invoice: str = ""
    record: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be frozen, and what it was worked out from: it holds while those are as they were."""

    contract: Contract
    charged: tuple[Charge, ...]
    lines: tuple[DraftLine, ...]
    document: Invoice
    mailboxes: tuple[BilledMailbox, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a run gets what it needs beside the contract."""

    zone: tzinfo
    seller: Seller
    service_levels: ServiceLevelsOf


def prepare(
    conn: Connection, contract: Contract, period: Month, *, tenant: str, sources: Sources
) -> Prepared | Verdict:
    """Work out the invoice of a closed month. Raises ConfigError when it would break a rule of EN 16931."""
    month = first_of(period.name)
    billed = invoices.billed(conn, contract.id)
    if (verdict := _verdict(contract, month, billed, tenant)) is not None:
        return verdict
    charged = charges_of(conn, contract.id)
    if not is_due(contract, month, charged):
        return Verdict(State.NOTHING, _idle(contract, month))
    mailboxes = mailboxes_of(conn, contract, period, zone=sources.zone)
    terms = contract.last_terms_within(month, month_after(month))
    levels = tuple(sources.service_levels(conn, contract.tenant, period, terms.plan.sla)) if terms is not None else ()
    used = used_by(mailboxes)
    lines = settle(contract, month, charged=charged, used=used, service_levels=levels)
    if not lines:
        return Verdict(State.NOTHING, "nothing is to be charged", record=True)
    document = compose(
        contract,
        month,
        lines,
        tenant=tenant,
        seller=sources.seller,
        used=used,
        service_levels=levels,
        previous=_previous(conn, billed.get(preceding(period.name))),
    )
    en16931.check(document, without=en16931.UNTIL_FROZEN)
    return Prepared(contract, charged, lines, document, mailboxes)


def charges_of(conn: Connection, contract: int) -> tuple[Charge, ...]:
    """All that earlier documents of a contract charged and gave back."""
    return tuple(_charge(row) for row in invoices.charges_of(conn, contract))


def _verdict(contract: Contract, month: date, billed: Mapping[str, str | None], tenant: str) -> Verdict | None:
    """What the months that are billed say about another; None: nothing."""
    name = month_name(month)
    if name in billed:
        number = billed[name]
        return Verdict(State.FROZEN, invoice=number) if number else Verdict(State.NOTHING, "nothing was to be charged")
    if billed and name < max(billed):
        return Verdict(State.NOTHING, f"it is billed up to {max(billed)} without this month")
    missing = next((one for one in _months_before(contract, month) if one not in billed), None)
    if missing is not None:
        return Verdict(
            State.REFUSED,
            f"{missing} is not billed yet; run `mailguard bill run --month {missing} --tenant {tenant}` first",
        )
    return None


def _months_before(contract: Contract, month: date) -> list[str]:
    """The months before `month` that the contract covers days of."""
    found, one = [], month_start(contract.start)
    while one < month and (contract.ends_on is None or one < contract.ends_on):
        if contract.ends_on is None or contract.start < contract.ends_on:
            found.append(month_name(one))
        one = month_after(one)
    return found


def _idle(contract: Contract, month: date) -> str:
    if contract.start >= month_after(month):
        return f"the contract begins on {contract.start}"
    if contract.ends_on is not None and contract.ends_on <= contract.start:
        return "the contract was withdrawn before it began"
    return f"the contract ended on {contract.ends_on - ONE_DAY}" if contract.ends_on else "nothing is due"


def _previous(conn: Connection, number: str | None) -> Invoice | None:
    row = invoices.find_invoice(conn, number) if number else None
    return None if row is None else invoice_from_json(row.document)


def _charge(row: ChargeRow) -> Charge:
    return Charge(
        row.invoice,
        row.line,
        LineKind(row.kind),
        row.terms,
        row.from_day,
        row.until_day,
        row.amount,
        row.against,
    )
