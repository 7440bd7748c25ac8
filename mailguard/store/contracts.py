"""Contracts and their terms as rows. What they mean is in billing.contract; whoever changes one locks it first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.engine import Connection, Row

from mailguard.store.schema import tenants
from mailguard.store.schema_bill import contract_terms, contracts
from mailguard.store.texts import clean


@dataclass(frozen=True, slots=True)
class BuyerRow:
    """Who pays."""

    name: str
    address: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class TermsRow:
    """What holds from a day on. `snapshot` is the plan's JSON."""

    id: int
    from_day: date
    plan: str
    plan_hash: str
    snapshot: str
    recorded_at: int


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A contract with its terms in the order they were agreed in. Days of the billing time zone; times in ms UTC."""

    id: int
    tenant: int
    start: date
    term_months: int
    renewal_months: int
    notice_days: int
    currency: str
    buyer: BuyerRow
    buyer_reference: str
    created_at: int
    created_on: date
    ends_on: date | None = None
    notice_on: date | None = None
    cancelled_at: int | None = None
    terms: tuple[TermsRow, ...] = ()


def contracts_of(conn: Connection, tenant: int | None = None) -> list[ContractRow]:
    """The contracts of a tenant, or all, by tenant and start."""
    return _load(conn, *([contracts.c.tenant == tenant] if tenant is not None else []))


def contract_by_id(conn: Connection, contract: int) -> ContractRow:
    """One contract, which must be there."""
    return _load(conn, contracts.c.id == contract)[0]


def lock(conn: Connection, contract: int) -> None:
    """Until this transaction ends nobody else changes or bills the contract. SQLite has one writer anyway."""
    conn.execute(select(contracts.c.id).where(contracts.c.id == contract).with_for_update())


def lock_tenant(conn: Connection, tenant: int) -> None:
    """Until this transaction ends nobody else adds a contract of the tenant."""
    conn.execute(select(tenants.c.id).where(tenants.c.id == tenant).with_for_update())


def add_contract(conn: Connection, row: ContractRow) -> int:
    """Add a contract without terms; its id. `row.id` and `row.terms` are not looked at."""
    return int(
        conn.execute(
            insert(contracts)
            .values(
                tenant=row.tenant,
                start=row.start.isoformat(),
                term_months=row.term_months,
                renewal_months=row.renewal_months,
                notice_days=row.notice_days,
                currency=row.currency,
                buyer=_buyer_json(row.buyer),
                buyer_reference=clean(row.buyer_reference, 255),
                created_at=row.created_at,
                created_on=row.created_on.isoformat(),
            )
            .returning(contracts.c.id)
        ).scalar_one()
    )


def add_terms(
    conn: Connection, contract: int, *, from_day: date, plan: str, plan_hash: str, snapshot: str, now: int
) -> int:
    """Add terms to a contract; their id."""
    return int(
        conn.execute(
            insert(contract_terms)
            .values(
                contract=contract,
                from_day=from_day.isoformat(),
                plan=plan,
                plan_hash=plan_hash,
                snapshot=snapshot,
                recorded_at=now,
            )
            .returning(contract_terms.c.id)
        ).scalar_one()
    )


def set_conditions(
    conn: Connection,
    contract: int,
    *,
    term_months: int,
    renewal_months: int,
    notice_days: int,
    buyer: BuyerRow,
    buyer_reference: str,
) -> None:
    """Change what is not the plan's."""
    conn.execute(
        update(contracts)
        .where(contracts.c.id == contract)
        .values(
            term_months=term_months,
            renewal_months=renewal_months,
            notice_days=notice_days,
            buyer=_buyer_json(buyer),
            buyer_reference=clean(buyer_reference, 255),
        )
    )


def set_end(conn: Connection, contract: int, *, ends_on: date | None, notice_on: date | None, now: int | None) -> None:
    """Agree on an end, or on none after all."""
    conn.execute(
        update(contracts)
        .where(contracts.c.id == contract)
        .values(
            ends_on=ends_on.isoformat() if ends_on else None,
            notice_on=notice_on.isoformat() if notice_on else None,
            cancelled_at=now,
        )
    )


def _load(conn: Connection, *conditions: ColumnElement[bool]) -> list[ContractRow]:
    rows = conn.execute(
        select(contracts).where(*conditions).order_by(contracts.c.tenant, contracts.c.start, contracts.c.id)
    ).all()
    terms: dict[int, list[TermsRow]] = {}
    wanted = select(contracts.c.id).where(*conditions)
    for row in conn.execute(
        select(contract_terms).where(contract_terms.c.contract.in_(wanted)).order_by(contract_terms.c.id)
    ):
        terms.setdefault(row.contract, []).append(
            TermsRow(row.id, date.fromisoformat(row.from_day), row.plan, row.plan_hash, row.snapshot, row.recorded_at)
        )
    return [_row(row, tuple(terms.get(row.id, ()))) for row in rows]


def _row(row: Row[tuple[object, ...]], terms: tuple[TermsRow, ...]) -> ContractRow:
    buyer = json.loads(row.buyer)
    return ContractRow(
        id=row.id,
        tenant=row.tenant,
        start=date.fromisoformat(row.start),
        term_months=row.term_months,
        renewal_months=row.renewal_months,
        notice_days=row.notice_days,
        currency=row.currency,
        buyer=BuyerRow(**{**buyer, "address": tuple(buyer["address"])}),
        buyer_reference=row.buyer_reference,
        created_at=row.created_at,
        created_on=date.fromisoformat(row.created_on),
        ends_on=date.fromisoformat(row.ends_on) if row.ends_on else None,
        notice_on=date.fromisoformat(row.notice_on) if row.notice_on else None,
        cancelled_at=row.cancelled_at,
        terms=terms,
    )


def _buyer_json(buyer: BuyerRow) -> str:
    return json.dumps(
        {
            "name": clean(buyer.name),
            "address": [clean(line) for line in buyer.address],
            "country": buyer.country,
            "tax_id": clean(buyer.tax_id),
            "email": clean(buyer.email),
        }
    )
