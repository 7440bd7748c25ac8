"""The run of the bill: closes the month, works out each contract's invoice, and freezes it under the next number.

Freezing is one short transaction: lock the contract, look whether all is as it was, take the number, insert. So two runs at
once make one invoice, and numbers have no gaps: one that is not committed was never given out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

from mailguard.billing.agreements import contract_of, contracts_of
from mailguard.billing.closing import close_month
from mailguard.billing.contract import Contract, first_of, month_after
from mailguard.billing.draft import DraftLine
from mailguard.billing.invoice import Invoice, InvoiceKind
from mailguard.billing.meter import usage
from mailguard.billing.months import Month
from mailguard.billing.prepare import Prepared, Sources, State, Verdict, charges_of, prepare
from mailguard.billing.render.json import invoice_json
from mailguard.core.errors import ConfigError, ConflictError
from mailguard.store import contracts as contract_rows
from mailguard.store import invoices
from mailguard.store.audit import AuditAction, AuditEntry, append_in
from mailguard.store.bill_record import record_closings_in
from mailguard.store.db import now
from mailguard.store.invoices import ChargeRow, InvoiceRow, MailboxRow
from mailguard.store.tenants import list_tenants

T = TypeVar("T")
_ATTEMPTS = 5


class Transactions(Protocol):
    """Runs works in transactions of their own: store.db.Database for the command line."""

    def read(self, work: Callable[[Connection], T], /) -> T:
        """In a read transaction."""
        ...

    def write(self, work: Callable[[Connection], T], /) -> T:
        """In a write transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to for one contract, or for a tenant that had none (`contract` is then 0).

    `mailboxes` and `messages` are what a tenant without contract used in the month.
    """

    tenant: str
    contract: int
    state: State
    reason: str = ""
    invoice: InvoiceRow | None = None
    draft: Invoice | None = None
    mailboxes: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant that may owe something: removed ones still do. Times in ms UTC."""

    id: int
    name: str
    created_at: int
    removed_at: int


@dataclass(slots=True)
class _Task:
    """A contract whose invoice is to be frozen."""

    tenant: Tenant
    prepared: Prepared


class _Changed(Exception):
    """The contract or its charges are others than those that the invoice was worked out from."""


@dataclass(slots=True)
class _Found:
    outcomes: list[Outcome] = field(default_factory=list)
    tasks: list[_Task] = field(default_factory=list)


def run(
    database: Transactions, period: Month, sources: Sources, *, by: str, tenant: int | None = None, why: str = ""
) -> list[Outcome]:
    """Bill a month: of every tenant, or of one by its id. What is billed already stays as it is, and is returned.

    Raises ConflictError while the month is not over, and ConfigError when the settings do not say who sends the invoices.
    """
    sources.seller.check()
    close_month(database.write, period, zone=sources.zone)
    database.write(lambda conn: record_closings_in(conn, actor=by))
    found = _Found()
    for one in database.read(lambda conn: _tenants(conn, tenant)):
        _look_at(database, one, period, sources, found)
    # In the order of their dates, so that numbers rise with them.
    for task in sorted(found.tasks, key=_order):
        found.outcomes.append(_freeze(database, task, period, sources, by=by, why=why))
    return sorted(found.outcomes, key=lambda outcome: (outcome.tenant, outcome.contract))


def draft(database: Transactions, period: Month, sources: Sources, *, tenant: int | None = None) -> list[Outcome]:
    """What `run` would come to by what is recorded so far; changes nothing, and the month need not be over."""
    found = _Found()
    for one in database.read(lambda conn: _tenants(conn, tenant)):
        _look_at(database, one, period, sources, found, dry=True)
    found.outcomes += (
        Outcome(task.tenant.name, task.prepared.contract.id, State.DRAFT, draft=task.prepared.document)
        for task in sorted(found.tasks, key=_order)
    )
    return sorted(found.outcomes, key=lambda outcome: (outcome.tenant, outcome.contract))


def _order(task: _Task) -> tuple[object, ...]:
    return task.prepared.document.issued, task.tenant.name, task.prepared.contract.id


def _tenants(conn: Connection, tenant: int | None) -> list[Tenant]:
    return [
        Tenant(record.tenant.id, record.tenant.name, record.created_at, record.removed_at)
        for record in list_tenants(conn, removed=True)
        if tenant in (None, record.tenant.id)
    ]


def _look_at(
    database: Transactions, tenant: Tenant, period: Month, sources: Sources, found: _Found, *, dry: bool = False
) -> None:
    """Work out what is to be done for a tenant's contracts."""
    contracts = database.read(lambda conn: contracts_of(conn, tenant.id))
    for contract in contracts:
        try:
            result = database.read(_preparing(contract, period, tenant.name, sources))
        except ConfigError as error:  # it alone cannot be billed as it is
            result = Verdict(State.REFUSED, "; ".join(map(str, error.problems)))
        if isinstance(result, Prepared):
            found.tasks.append(_Task(tenant, result))
            continue
        if result.record and not dry:
            result = _record_nothing(database, contract, period, result)
        found.outcomes.append(_outcome(database, tenant.name, contract.id, result))
    month = first_of(period.name)
    covered = [one.days_within(month, month_after(month)) for one in contracts]
    if not any(first < end for first, end in covered):
        found.outcomes += _without_contract(database, tenant, period, contracts)


def _preparing(
    contract: Contract, period: Month, name: str, sources: Sources
) -> Callable[[Connection], Prepared | Verdict]:
    return lambda conn: prepare(conn, contract, period, tenant=name, sources=sources)


def _record_nothing(database: Transactions, contract: Contract, period: Month, verdict: Verdict) -> Verdict:
    """Note that a month is billed though there was nothing to charge, unless somebody billed it meanwhile."""

    def work(conn: Connection) -> Verdict:
        contract_rows.lock(conn, contract.id)
        billed = invoices.billed(conn, contract.id)
        if period.name not in billed:
            invoices.mark_billed(conn, contract.id, period.name, None, now=now(conn))
            return verdict
        number = billed[period.name]
        return Verdict(State.FROZEN, invoice=number) if number else verdict

    return database.write(work)


def _outcome(database: Transactions, name: str, contract: int, verdict: Verdict) -> Outcome:
    row = database.read(lambda conn: invoices.find_invoice(conn, verdict.invoice)) if verdict.invoice else None
    return Outcome(name, contract, verdict.state, verdict.reason, row)


def _without_contract(
    database: Transactions, tenant: Tenant, period: Month, contracts: Sequence[Contract]
) -> list[Outcome]:
    """A tenant that was there in the month, or used something in it, and owes nothing by any contract: never left out."""
    (used,) = database.read(lambda conn: usage(conn, period, tenant=tenant.id))
    there = tenant.created_at < period.end and (not tenant.removed_at or tenant.removed_at > period.start)
    listed = bool(contracts)  # with why nothing is due by its contract
    if not used.billed_messages and (listed or not there):
        return []
    later = [one.start for one in contracts if one.start >= first_of(period.name)]
    reason = (
        f"its contract begins on {min(later)}"
        if later
        else "its contract has ended"
        if contracts
        else (f"add one with `mailguard contract add {tenant.name} --plan PLAN --start YYYY-MM-DD`")
    )
    return [
        Outcome(
            tenant.name,
            0,
            State.NO_CONTRACT,
            reason,
            mailboxes=used.billed_mailboxes,
            messages=used.billed_messages,
        )
    ]


# --- freezing --------------------------------------------------------------------------------------------------------


def _freeze(database: Transactions, task: _Task, period: Month, sources: Sources, *, by: str, why: str) -> Outcome:
    """Freeze an invoice; work it out anew while somebody changes what it is worked out from."""
    name, contract = task.tenant.name, task.prepared.contract
    result: Prepared | Verdict = task.prepared
    for _ in range(_ATTEMPTS):
        if isinstance(result, Verdict):
            if result.record:
                result = _record_nothing(database, contract, period, result)
            return _outcome(database, name, contract.id, result)
        try:
            row, made = database.write(_freezing(result, period, sources, by=by, why=why))
        except _Changed:
            (contract,) = [
                one for one in database.read(lambda conn: contracts_of(conn, task.tenant.id)) if one.id == contract.id
            ]
            result = database.read(_preparing(contract, period, name, sources))
        else:
            return Outcome(name, contract.id, State.MADE if made else State.FROZEN, invoice=row)
    raise ConflictError(f"contract {contract.id} of {name!r} is changed again and again; try later")


def _freezing(
    prepared: Prepared, period: Month, sources: Sources, *, by: str, why: str
) -> Callable[[Connection], tuple[InvoiceRow, bool]]:
    def work(conn: Connection) -> tuple[InvoiceRow, bool]:
        contract = prepared.contract
        contract_rows.lock(conn, contract.id)
        billed = invoices.billed(conn, contract.id)
        if number := billed.get(period.name):
            there = invoices.find_invoice(conn, number)
            if there is not None:
                return there, False
        same = contract_of(contract_rows.contract_by_id(conn, contract.id)) == contract
        if period.name in billed or not same or charges_of(conn, contract.id) != prepared.charged:
            raise _Changed
        row = _insert(conn, prepared, sources, by=by)
        invoices.mark_billed(conn, contract.id, period.name, row.number, now=row.created_at)
        detail = {
            "month": row.month,
            "contract": row.contract,
            "total": f"{row.total:f}",
            "currency": row.currency,
            "sha256": row.sha256,
        }
        append_in(conn, AuditEntry(AuditAction.BILL_RUN, by, why, tenant=row.tenant, subject=row.number, detail=detail))
        return row, True

    return work


def _insert(conn: Connection, prepared: Prepared, sources: Sources, *, by: str) -> InvoiceRow:
    seller, draft_ = sources.seller, prepared.document
    series = seller.series(InvoiceKind.INVOICE, draft_.issued)
    document = replace(draft_, number=seller.number(series, invoices.take_number(conn, series)))
    row = frozen_row(conn, document, tenant=prepared.contract.tenant, by=by)
    invoices.add_invoice(conn, row)
    invoices.add_charges(conn, document.contract, list(_charges(document.number, prepared.lines)))
    mailboxes = [
        MailboxRow(one.mailbox, one.unit, one.first_at, one.messages, one.octets, len(one.addresses))
        for one in prepared.mailboxes
    ]
    invoices.add_evidence(conn, document.number, mailboxes)
    return row


def frozen_row(conn: Connection, document: Invoice, *, tenant: int, by: str) -> InvoiceRow:
    """A document as it is kept."""
    text = invoice_json(document)
    return InvoiceRow(
        number=document.number,
        kind=document.kind.value,
        tenant=tenant,
        contract=document.contract,
        month=document.month,
        sequence=invoices.next_sequence(conn, tenant=tenant, month=document.month, kind=document.kind.value),
        issued=document.issued,
        currency=document.currency,
        net=document.net,
        tax=document.tax,
        total=document.total,
        corrects=document.corrects,
        document=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        created_at=now(conn),
        created_by=by,
    )


def _charges(number: str, lines: Iterable[DraftLine]) -> Iterable[ChargeRow]:
    """What each line charges, or gives back of which lines."""
    for position, line in enumerate(lines, start=1):
        kind, terms = line.kind.value, line.terms.id
        if not line.against:
            yield ChargeRow(number, position, kind, terms, line.start, line.end, line.amount)
        for (invoice, other), amount in line.against:
            against = (invoice or number, other)
            yield ChargeRow(number, position, kind, terms, line.start, line.end, -amount, against)


def totals(outcomes: Iterable[Outcome]) -> Mapping[str, int]:
    """How many outcomes there are of each state."""
    counts: dict[str, int] = {state.value: 0 for state in State}
    for outcome in outcomes:
        counts[outcome.state.value] += 1
    return counts
