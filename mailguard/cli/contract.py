"""`mailguard contract`: what tenants and the provider agreed, from when on, and until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.billing_values import amount, day, number, plans_of, zone_of
from mailguard.cli.context import Cli, actor_name, cli_of, tenant_id
from mailguard.cli.contract_shown import contract_json, print_contract, print_contracts
from mailguard.cli.recorded import Actor, Why
from mailguard.cli.terminal import complain, print_json, say
from mailguard.cli.unprobed import contract_notes
from mailguard.core.errors import ConfigError, NotFoundError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.billing.agreements import Conditions
    from mailguard.billing.contract import Contract
    from mailguard.billing.invoice import Party
    from mailguard.store.audit import AuditAction

app = typer.Typer(no_args_is_help=True, help="Contracts: which plan a tenant has, from when on, and until when.")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BuyerName = Annotated[str | None, typer.Option("--buyer-name", help="Whom the invoices are made out to.")]
BuyerAddress = Annotated[
    list[str] | None,
    typer.Option("--buyer-address", metavar="LINE", help="A line of the address; several times: street, town."),
]
BuyerCountry = Annotated[str | None, typer.Option("--buyer-country", metavar="CC", help="Country code, such as DE.")]
BuyerTaxId = Annotated[str | None, typer.Option("--buyer-tax-id", help="The buyer's VAT number.")]
BuyerEmail = Annotated[str | None, typer.Option("--buyer-email", help="Where its invoices go.")]
BuyerReference = Annotated[
    str | None,
    typer.Option("--buyer-reference", help="What the buyer wants to read on its invoices, as an order number."),
]
Term = Annotated[
    int | None, typer.Option("--term", metavar="MONTHS", help="Months it lasts at first. Default: the plan's.")
]
Renewal = Annotated[
    int | None,
    typer.Option(
        "--renewal", metavar="MONTHS", help="Months it is renewed by. 0: runs on, and ends any day with notice."
    ),
]
Notice = Annotated[int | None, typer.Option("--notice", metavar="DAYS", help="Days of notice before its last day.")]


@app.command("add")
def add(
    context: typer.Context,
    *,
    tenant: Tenant,
    start: Annotated[str, typer.Option("--start", metavar="YYYY-MM-DD", help="The first day.", show_default=False)],
    plan: Annotated[str | None, typer.Option("--plan", help="The plan. Default: the tenant's.")] = None,
    price: Annotated[str | None, typer.Option("--price", help="Another monthly fee than the plan's.")] = None,
    term: Term = None,
    renewal: Renewal = None,
    notice: Notice = None,
    buyer_name: BuyerName = None,
    buyer_address: BuyerAddress = None,
    buyer_country: BuyerCountry = None,
    buyer_tax_id: BuyerTaxId = None,
    buyer_email: BuyerEmail = None,
    buyer_reference: BuyerReference = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Give a tenant a contract: the plan as it is now, from a day on. Later edits of the plan's file do not change it."""
    from mailguard.billing import agreements
    from mailguard.billing.invoice import Party
    from mailguard.store import forms, tenants
    from mailguard.store.audit import AuditAction
    from mailguard.store.bill_record import record_plans_in

    cli, who = cli_of(context), actor_name(actor)
    name, first = forms.tenant_name(tenant), day(start, option="--start")
    fee = amount(price, option="--price") if price is not None else None
    buyer = _buyer(Party(""), (buyer_name, buyer_country, buyer_tax_id, buyer_email), buyer_address)
    conditions = _conditions(term, renewal, notice, buyer, buyer_reference)
    files = plans_of(cli)

    def work(conn: Connection) -> Contract:
        record = tenants.tenant_by_name(conn, name).tenant
        if not plan and not record.plan:
            known = ", ".join(files.plans) or "none yet"
            raise ConfigError([Problem("--plan", f"say which; there are: {known}")])
        chosen = files.find(plan or record.plan)
        agreed = agreements.with_price(chosen, fee) if fee is not None else chosen
        contract = agreements.sign(
            conn,
            tenant=record.id,
            name=name,
            plan=agreed,
            start=first,
            conditions=conditions,
            zone=zone_of(cli),
            now=cli.now(conn),
        )
        if record.plan != chosen.name:
            tenants.set_tenant(conn, name=name, plan=chosen.name)
        record_plans_in(conn, files.hashes, actor=who)
        _record(
            conn, AuditAction.CONTRACT_ADD, contract, actor=who, why=why, detail={"plan": chosen.name, "start": first}
        )
        return contract

    _show(cli, name, cli.write(work), f"contract of {name} added", json=json)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant.")] = None,
    json: Json = False,
) -> None:
    """List all contracts, ended ones too."""
    from mailguard.billing import agreements
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)

    def work(conn: Connection) -> tuple[list[Contract], dict[int, str], date]:
        found = agreements.contracts_of(conn, tenant_id(conn, tenant))
        return found, tenant_names(conn), agreements.day_of(cli.now(conn), zone_of(cli))

    contracts, names, today = cli.read(work)
    if json:
        print_json([contract_json(names[one.tenant], one, today=today) for one in contracts])
    else:
        print_contracts([(names[one.tenant], one) for one in contracts], today=today)


@app.command("show")
def show(context: typer.Context, *, tenant: Tenant, json: Json = False) -> None:
    """Show a tenant's contract: plan, prices, what was changed, when it can end."""
    cli = cli_of(context)
    name, contract = cli.read(lambda conn: _contract(conn, tenant))
    _show(cli, name, contract, "", json=json)


@app.command("change")
def change(
    context: typer.Context,
    *,
    tenant: Tenant,
    start: Annotated[str, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day.", show_default=False)],
    plan: Annotated[str | None, typer.Option("--plan", help="The plan, as its file is now.")] = None,
    price: Annotated[str | None, typer.Option("--price", help="The monthly fee.")] = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Change a contract's plan or monthly fee from a day on. Days that were charged in advance are set off on the next bill."""
    from mailguard.billing import agreements
    from mailguard.store import tenants
    from mailguard.store.audit import AuditAction
    from mailguard.store.bill_record import record_plans_in

    cli, who = cli_of(context), actor_name(actor)
    first = day(start, option="--from")
    fee = amount(price, option="--price") if price is not None else None
    if plan is None and fee is None:
        raise ConfigError([Problem("contract change", "give --plan, --price, or both")])
    files = plans_of(cli)
    chosen = files.find(plan) if plan is not None else None

    def work(conn: Connection) -> tuple[str, Contract]:
        name, contract = _contract(conn, tenant)
        held = contract.terms_on(first)
        agreed = chosen or (held.plan if held is not None else contract.terms[-1].plan)
        if fee is not None:
            agreed = agreements.with_price(agreed, fee)
        changed = agreements.change(conn, contract, name=name, plan=agreed, start=first, now=cli.now(conn))
        if chosen is not None and not _is_removed(conn, name):
            tenants.set_tenant(conn, name=name, plan=chosen.name)
        record_plans_in(conn, files.hashes, actor=who)
        detail = {"plan": agreed.name, "monthly_fee": f"{agreed.monthly_fee:f}", "from": first}
        _record(conn, AuditAction.CONTRACT_CHANGE, changed, actor=who, why=why, detail=detail)
        return name, changed

    name, contract = cli.write(work)
    _show(cli, name, contract, f"contract of {name} changed from {first} on", json=json)


@app.command("cancel")
def cancel(
    context: typer.Context,
    *,
    tenant: Tenant,
    on: Annotated[
        str | None, typer.Option("--on", metavar="YYYY-MM-DD", help="The last day. Default: the earliest possible.")
    ] = None,
    notice: Annotated[
        str | None, typer.Option("--notice-on", metavar="YYYY-MM-DD", help="When notice was given. Default: today.")
    ] = None,
    waive_notice: Annotated[
        bool, typer.Option("--waive-notice", help="Let it end before its term or notice does.")
    ] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the cancellation back.")] = False,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """End a contract, by default on the earliest day that its term and notice allow for."""
    from mailguard.billing import agreements
    from mailguard.store.audit import AuditAction

    cli, who = cli_of(context), actor_name(actor)
    last = day(on, option="--on") if on is not None else None
    told = day(notice, option="--notice-on") if notice is not None else None
    if revoke and (last or told or waive_notice):
        raise ConfigError([Problem("--revoke", "stands alone")])
    if waive_notice and last is None:
        raise ConfigError([Problem("--waive-notice", "goes with --on, the last day")])

    def work(conn: Connection) -> tuple[str, Contract]:
        name, contract = _contract(conn, tenant)
        now = cli.now(conn)
        if revoke:
            ended = agreements.revoke(conn, contract, name=name)
        else:
            ended = agreements.cancel(
                conn,
                contract,
                name=name,
                notice_on=told or agreements.day_of(now, zone_of(cli)),
                now=now,
                last_day=last,
                waive_notice=waive_notice,
            )
        detail = {"ends_on": ended.ends_on, "revoked": revoke, "waived": waive_notice}
        _record(conn, AuditAction.CONTRACT_CANCEL, ended, actor=who, why=why, detail=detail)
        return name, ended

    name, contract = cli.write(work)
    _show(cli, name, contract, f"contract of {name} {agreements.span_text(contract)}", json=json)


@app.command("set")
def set_(
    context: typer.Context,
    *,
    tenant: Tenant,
    term: Term = None,
    renewal: Renewal = None,
    notice: Notice = None,
    buyer_name: BuyerName = None,
    buyer_address: BuyerAddress = None,
    buyer_country: BuyerCountry = None,
    buyer_tax_id: BuyerTaxId = None,
    buyer_email: BuyerEmail = None,
    buyer_reference: BuyerReference = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Change a contract's term, renewal, notice or buyer; what is not given stays. Invoices that are made stay as they are."""
    from mailguard.billing import agreements
    from mailguard.store.audit import AuditAction

    cli, who = cli_of(context), actor_name(actor)
    given = (
        term,
        renewal,
        notice,
        buyer_name,
        buyer_address,
        buyer_country,
        buyer_tax_id,
        buyer_email,
        buyer_reference,
    )
    if all(value is None for value in given):
        raise ConfigError([Problem("contract set", "give --term, --renewal, --notice or one of --buyer-…")])

    def work(conn: Connection) -> tuple[str, Contract]:
        name, contract = _contract(conn, tenant)
        buyer = _buyer(contract.buyer, (buyer_name, buyer_country, buyer_tax_id, buyer_email), buyer_address)
        conditions = _conditions(term, renewal, notice, buyer, buyer_reference)
        changed = agreements.set_conditions(conn, contract, conditions)
        detail = {
            "term_months": changed.term_months,
            "renewal_months": changed.renewal_months,
            "notice_days": changed.notice_days,
            "buyer": changed.buyer != contract.buyer,
        }
        _record(conn, AuditAction.CONTRACT_CHANGE, changed, actor=who, why=why, detail=detail)
        return name, changed

    name, contract = cli.write(work)
    _show(cli, name, contract, f"contract of {name} changed", json=json)


# --- below -----------------------------------------------------------------------------------------------------------


def _contract(conn: Connection, tenant: str) -> tuple[str, Contract]:
    """A tenant's name and last contract; removed ones have theirs too. Raises NotFoundError."""
    from mailguard.billing.agreements import last_contract

    found = tenant_id(conn, tenant)
    if found is None:
        raise NotFoundError(f"no tenant {tenant!r}")
    name = tenant.strip().lower()
    return name, last_contract(conn, found, name)


def _is_removed(conn: Connection, name: str) -> bool:
    from mailguard.store.tenants import list_tenants

    return not any(record.tenant.name == name for record in list_tenants(conn))


def _conditions(
    term: int | None, renewal: int | None, notice: int | None, buyer: Party, reference: str | None
) -> Conditions:
    from mailguard.billing.agreements import Conditions

    return Conditions(
        number(term, option="--term", most=120),
        number(renewal, option="--renewal", most=120),
        number(notice, option="--notice", most=730),
        buyer,
        reference,
    )


def _buyer(before: Party, given: Sequence[str | None], address: list[str] | None) -> Party:
    """The buyer with what is given (name, country, tax id, e-mail address), else as it was."""
    from mailguard.billing.invoice import Party

    was = (before.name, before.country, before.tax_id, before.email)
    name, country, tax_id, email = (old if new is None else new.strip() for old, new in zip(was, given, strict=True))
    lines = before.address if not address else tuple(line.strip() for line in address if line.strip())
    return Party(name, lines, country.upper(), tax_id, email)


def _record(
    conn: Connection, action: AuditAction, contract: Contract, *, actor: str, why: str, detail: Mapping[str, object]
) -> None:
    from mailguard.store.audit import AuditEntry, append_in

    facts = {key: value.isoformat() if isinstance(value, date) else value for key, value in detail.items()}
    append_in(
        conn, AuditEntry(action, actor, why, tenant=contract.tenant, subject=f"contract {contract.id}", detail=facts)
    )


def _show(cli: Cli, name: str, contract: Contract, done: str, *, json: bool) -> None:
    from mailguard.billing.agreements import day_of
    from mailguard.store import invoices

    def work(conn: Connection) -> tuple[date, Mapping[str, str | None], list[str]]:
        now = cli.now(conn)
        today = day_of(now, zone_of(cli))
        return today, invoices.billed(conn, contract.id), contract_notes(conn, name, contract, today=today, now=now)

    today, billed, notes = cli.read(work)
    if json:
        print_json(contract_json(name, contract, today=today, billed=billed) | {"notes": notes})
    else:
        if done:
            say(done)
        print_contract(name, contract, today=today, billed=billed)
    for note in notes:
        complain(f"note: {note}")
