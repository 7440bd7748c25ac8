"""Runs of the bill on both databases: once, in order, without gaps, the same for ever, whatever happens meanwhile."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date
from decimal import Decimal
from multiprocessing.synchronize import Barrier
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from sqlalchemy.engine import Connection

from mailguard.billing import run as billing
from mailguard.billing.contract import Contract
from mailguard.billing.explain import explain
from mailguard.billing.frozen import document_of, pdf_of, ubl_of
from mailguard.billing.invoice import LineKind, ServiceLevel
from mailguard.billing.months import Month, month
from mailguard.billing.plans import Rates, Scheme, Tier
from mailguard.billing.prepare import Prepared, Sources, State, Verdict
from mailguard.core.errors import ConfigError, ConflictError
from mailguard.store import invoices, tenants
from mailguard.store.audit import AuditQuery, search
from mailguard.store.db import Database
from mailguard.store.invoices import MailboxRow
from mailguard.store.schema_bill import invoices as invoice_table
from tests.servers.postgres import Postgres
from tests.unit.billing.bill_world import a_plan
from tests.unit.billing.provider import SELLER, Provider, at

PLAN = a_plan(fee="31.00")
BY_MAILBOX = a_plan(
    "per-mailbox",
    "0.00",
    included_mailboxes=1,
    mailbox_rates=Rates(Scheme.GRADUATED, (Tier(None, Decimal("2.00")),)),
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Provider]:
    url = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.clean_database()
    made = Provider(tmp_path, url=url)
    yield made
    made.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Provider]:
    """On SQLite alone, for what does not depend on the database."""
    made = Provider(tmp_path)
    yield made
    made.close()


def test_a_month_is_billed_once_and_stays_as_it_is(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 15))
    (first,) = provider.run("2027-01")
    assert first.state is State.MADE
    assert first.invoice is not None
    pdf, ubl = pdf_of(provider.database, first.invoice), ubl_of(provider.database, first.invoice)
    provider.mail(at(2027, 1, 20))  # comes late: it counts in February
    provider.change(replace(PLAN, monthly_fee=Decimal("62.00")), date(2027, 2, 1))
    (again,) = provider.run("2027-01")
    assert again == replace(first, state=State.FROZEN)
    assert (pdf_of(provider.database, first.invoice), ubl_of(provider.database, first.invoice)) == (pdf, ubl)
    assert document_of(first.invoice).number == "INV-2027-00001"
    assert len(provider.invoices()) == 1
    assert [entry.subject for entry in provider.database.read(lambda c: search(c, AuditQuery(action="bill.run")))] == [
        "INV-2027-00001"
    ]


def test_the_fee_is_charged_in_advance_and_changes_are_set_off(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 15))
    january = provider.bill("2027-01")
    assert [(line.kind, line.start, line.end, line.amount) for line in january.lines] == [
        (LineKind.FIXED_FEE, date(2027, 1, 15), date(2027, 2, 1), Decimal("17.00")),
        (LineKind.FIXED_FEE, date(2027, 2, 1), date(2027, 3, 1), Decimal("31.00")),
    ]
    assert (january.net, january.tax, january.total) == (Decimal("48.00"), Decimal("9.12"), Decimal("57.12"))
    assert (january.issued, january.due) == (date(2027, 2, 1), date(2027, 2, 15))

    provider.change(a_plan("better", "62.00"), date(2027, 2, 15))
    february = provider.bill("2027-02")
    assert [(line.kind, line.amount, line.previous) for line in february.lines] == [
        (LineKind.FIXED_FEE, Decimal("31.00"), Decimal("17.00")),  # 15 to 28 February, better
        (LineKind.FIXED_FEE, Decimal("62.00"), Decimal("31.00")),  # March
        (LineKind.FEE_CREDIT, Decimal("-15.50"), None),
    ]
    provider.cancel(date(2027, 3, 10))
    march = provider.bill("2027-03")
    assert [(line.kind, line.amount) for line in march.lines] == [(LineKind.FEE_CREDIT, Decimal("-42.00"))]
    assert march.total < 0
    (after,) = [one for one in provider.run("2027-04") if one.contract]
    assert (after.state, after.reason) == (State.NOTHING, "the contract ended on 2027-03-10")


def test_months_are_billed_in_order_and_only_when_they_are_over(small: Provider) -> None:
    small.sign(PLAN, date(2027, 1, 15))
    with pytest.raises(ConflictError, match="2027-01 is not over"):
        billing.run(small.database, month("2027-01", zone=UTC), small.sources, by="ann")
    (refused,) = small.run("2027-02")
    assert refused.state is State.REFUSED
    assert "2027-01 is not billed yet; run `mailguard bill run --month 2027-01 --tenant acme`" in refused.reason
    assert small.run("2027-01")[0].state is State.MADE
    assert small.run("2027-02")[0].state is State.MADE
    assert small.run("2026-12")[0].state is State.NOTHING
    assert len(small.invoices()) == 2


def test_a_contract_that_is_recorded_late_is_billed_month_by_month(small: Provider) -> None:
    small.run("2027-03")
    small.sign(PLAN, date(2027, 1, 1))
    totals = [small.bill(name) for name in ("2027-01", "2027-02", "2027-03")]
    assert [invoice.net for invoice in totals] == [Decimal("62.00"), Decimal("31.00"), Decimal("31.00")]
    assert {invoice.issued for invoice in totals} == {date(2027, 4, 5)}  # not before it was recorded


def test_tenants_without_contract_are_listed_and_removed_ones_pay_what_they_owe(provider: Provider) -> None:
    provider.tenant("globex")
    provider.tenant("idle")
    provider.mail(at(2027, 1, 3), "ann@globex.test", "bob@globex.test", tenant="globex")
    provider.sign(PLAN, date(2027, 1, 1))
    provider.clock.now = at(2027, 1, 20)
    provider.database.write(lambda conn: tenants.remove_tenant(conn, name="acme", now=provider.clock.now))
    acme, globex, idle = provider.run("2027-01")
    assert acme.state is State.MADE
    assert (globex.state, globex.mailboxes, globex.messages) == (State.NO_CONTRACT, 2, 2)
    assert "mailguard contract add globex" in globex.reason
    assert (idle.state, idle.mailboxes) == (State.NO_CONTRACT, 0)
    assert [one.tenant for one in provider.run("2027-02")] == ["acme", "globex", "idle"]


def test_usage_counts_on_the_days_that_the_contract_covers(provider: Provider) -> None:
    provider.sign(BY_MAILBOX, date(2027, 1, 11))
    provider.mail(at(2027, 1, 10), "early@acme.test", "joe@acme.test")  # a trial: not covered
    provider.mail(at(2027, 1, 11), "joe@acme.test", "joe+news@acme.test", "ann@acme.test")
    provider.mail(at(2027, 1, 31), "BOB@acme.test")
    invoice = provider.bill("2027-01")
    assert invoice.usage is not None
    assert (invoice.usage.mailboxes, invoice.usage.included_mailboxes, invoice.usage.messages) == (3, 1, 4)
    (line,) = invoice.lines
    assert (line.quantity, line.amount) == (Decimal(2), Decimal("2.71"))  # 2 * 2.00 * 21 / 31
    found = provider.database.read(lambda conn: explain(conn, invoice.number, 1, zone=UTC, mails=True))
    assert [(row.mailbox, row.messages, row.addresses) for row in found.mailboxes] == [
        ("ann@acme.test", 1, 1),
        ("bob@acme.test", 1, 1),
        ("joe@acme.test", 2, 2),
    ]
    assert len(found.mails) == 4
    assert found.new is None

    provider.mail(at(2027, 1, 30), "late@acme.test")  # recorded after January was closed
    provider.mail(at(2027, 2, 2), "ann@acme.test")
    later = provider.bill("2027-02")
    found = provider.database.read(lambda conn: explain(conn, later.number, 1, zone=UTC, mails=True))
    assert (found.new, found.gone) == (("late@acme.test",), ("bob@acme.test", "joe@acme.test"))
    assert found.difference == Decimal("2.00") - Decimal("2.71")
    assert [unit.recipient for unit in found.mails] == ["late@acme.test", "ann@acme.test"]


def test_mail_from_before_the_contract_counts_never_however_late_it_is_recorded(provider: Provider) -> None:
    provider.sign(a_plan(included_mailboxes=9), date(2027, 1, 31))
    provider.bill("2027-01")
    for day in (20, 31):
        provider.mail(at(2027, 1, day), f"late{day}@acme.test")
    provider.mail(at(2027, 2, 10))
    usage = provider.bill("2027-02").usage
    assert usage is not None
    assert (usage.mailboxes, usage.messages) == (2, 2)


def test_a_whole_month_is_counted_the_same_from_the_meter_and_from_the_events(provider: Provider) -> None:
    provider.sign(BY_MAILBOX, date(2027, 1, 1))
    for day in (1, 5, 31):
        provider.mail(at(2027, 1, day, 23, 59), f"a{day}@acme.test", "b@acme.test")
    invoice = provider.bill("2027-01")
    found = provider.database.read(lambda conn: explain(conn, invoice.number, 1, zone=UTC, mails=True))
    assert invoice.usage is not None
    assert sum(row.messages for row in found.mailboxes) == len(found.mails) == invoice.usage.messages == 6
    assert sum(row.octets for row in found.mailboxes) == sum(one.octets for one in found.mails) == invoice.usage.octets


def test_months_and_days_are_those_of_the_billing_time_zone(tmp_path: Path) -> None:
    berlin = Provider(tmp_path, zone=ZoneInfo("Europe/Berlin"))
    berlin.sign(BY_MAILBOX, date(2027, 3, 28))  # the clocks go forward that night
    berlin.mail(at(2027, 3, 27, 22, 59), "before@acme.test")
    berlin.mail(at(2027, 3, 27, 23, 0), "first@acme.test")
    berlin.mail(at(2027, 3, 31, 21, 59), "last@acme.test")
    berlin.mail(at(2027, 3, 31, 22, 0), "april@acme.test")
    invoice = berlin.bill("2027-03")
    assert invoice.usage is not None
    assert invoice.usage.mailboxes == 2
    berlin.close()


def test_a_month_without_charges_counts_as_billed_and_makes_no_invoice(small: Provider) -> None:
    small.sign(BY_MAILBOX, date(2027, 1, 1))
    assert [(one.state, one.reason) for one in small.run("2027-01")] == [(State.NOTHING, "nothing is to be charged")]
    small.mail(at(2027, 1, 9), "a@acme.test", "b@acme.test")
    assert [(one.state, one.reason) for one in small.run("2027-01")] == [(State.NOTHING, "nothing was to be charged")]
    assert small.bill("2027-02").number == "INV-2027-00001"  # the late mail's


def test_service_credits_go_on_the_invoice_of_the_month(small: Provider) -> None:
    small.sign(PLAN, date(2027, 1, 1))
    small.levels = (ServiceLevel("Availability", "≥ 99.9 %", "98 %", False, Decimal(10)),)
    invoice = small.bill("2027-01")
    credit = invoice.lines[-1]
    assert (credit.kind, credit.amount) == (LineKind.SLA_CREDIT, Decimal("-3.10"))
    found = small.database.read(lambda conn: explain(conn, invoice.number, credit.number, zone=UTC))
    assert found.level == small.levels[0]
    assert [(charge.kind, charge.line) for charge in found.against] == [(LineKind.FIXED_FEE, 1)]
    fee = small.database.read(lambda conn: explain(conn, invoice.number, 1, zone=UTC))
    assert [charge.amount for charge in fee.credits] == [Decimal("-3.10")]


def test_numbers_have_no_gap_when_a_run_fails_midway(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    for name in ("b", "c", "d"):
        provider.tenant(name)
        provider.sign(PLAN, date(2027, 1, 1), name)
    whole = invoices.add_evidence

    def failing(conn: Connection, invoice: str, rows: list[MailboxRow]) -> None:
        if invoice == "INV-2027-00003":
            raise OSError("the machine goes down")
        whole(conn, invoice, rows)

    monkeypatch.setattr(invoices, "add_evidence", failing)
    with pytest.raises(OSError, match="goes down"):
        provider.run("2027-01")
    assert [row.number for row in provider.invoices()] == ["INV-2027-00001", "INV-2027-00002"]
    monkeypatch.undo()
    states = [one.state for one in provider.run("2027-01")]
    assert sorted(states) == [State.FROZEN, State.FROZEN, State.MADE, State.MADE]
    assert [row.number for row in provider.invoices()] == [f"INV-2027-{number:05}" for number in range(1, 5)]


def test_a_contract_that_changes_while_it_is_billed_is_worked_out_anew(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    whole, seen = billing.prepare, []

    def prepare(
        conn: Connection, contract: Contract, period: Month, *, tenant: str, sources: Sources
    ) -> Prepared | Verdict:
        seen.append(contract)
        return whole(conn, contract, period, tenant=tenant, sources=sources)

    freezing = billing._freezing

    def changed_meanwhile(prepared: Prepared, *arguments: object, **options: object) -> object:
        if len(seen) == 1:
            provider.change(replace(PLAN, monthly_fee=Decimal("62.00")), date(2027, 1, 1))
        return freezing(prepared, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(billing, "prepare", prepare)
    monkeypatch.setattr(billing, "_freezing", changed_meanwhile)
    assert provider.bill("2027-01").net == Decimal("124.00")
    assert len(seen) == 2
    assert provider.invoices()[0].number == "INV-2027-00001"


def bill_in_a_process(url: str, barrier: Barrier, answers: multiprocessing.Queue[list[tuple[str, str, str]]]) -> None:
    """Another process that bills January 2025; by the machine's clock."""
    database = Database.open(url, readers=1, busy_timeout=60)

    class Theirs:
        read, write = database.read_sync, database.write_sync

    sources = Sources(UTC, SELLER, lambda conn, tenant, period, promised: ())
    barrier.wait(60)
    outcomes = billing.run(Theirs, month("2025-01", zone=UTC), sources, by="ann")  # type: ignore[arg-type]
    answers.put([(one.tenant, one.state.value, one.invoice.sha256 if one.invoice else "") for one in outcomes])
    database.close_sync()


def test_two_runs_at_once_make_one_invoice(provider: Provider) -> None:
    names = ["acme", "b", "c", "d", "e", "f"]
    for name in names[1:]:
        provider.tenant(name)
    for name in names:
        provider.sign(PLAN, date(2025, 1, 1), name)
    spawn = multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=bill_in_a_process, args=(provider.world.url, barrier, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = answers.get(timeout=100), answers.get(timeout=100)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert [(tenant, digest) for tenant, _, digest in first] == [(tenant, digest) for tenant, _, digest in second]
    states = [state for answer in (first, second) for _, state, _ in answer]
    assert sorted(states) == ["frozen"] * 6 + ["made"] * 6
    assert sorted(row.number for row in provider.invoices()) == [f"INV-2027-{number:05}" for number in range(1, 7)]


def test_a_dry_run_changes_nothing(small: Provider) -> None:
    small.sign(PLAN, date(2027, 1, 1))
    (draft,) = small.draft("2027-01")
    assert draft.draft is not None
    assert (draft.state, draft.draft.net, draft.draft.number) == (State.DRAFT, Decimal("62.00"), "")
    assert small.invoices() == []
    assert small.run("2027-01")[0].state is State.MADE


def test_an_invoice_that_was_tampered_with_is_not_shown(small: Provider) -> None:
    small.sign(PLAN, date(2027, 1, 1))
    small.run("2027-01")
    small.database.write(
        lambda conn: conn.execute(update(invoice_table).values(document=invoice_table.c.document + " "))
    )
    with pytest.raises(ConflictError, match="was changed in the database"):
        document_of(small.invoices()[0])


def test_who_sends_the_invoices_must_be_set(small: Provider) -> None:
    nobody = replace(SELLER, party=replace(SELLER.party, name="", country=""))
    with pytest.raises(ConfigError, match=r"billing.seller_name.*\n.*billing.seller_country"):
        billing.run(small.database, month("2026-12", zone=UTC), replace(small.sources, seller=nobody), by="ann")


def test_an_invoice_that_breaks_a_rule_is_refused_alone(small: Provider) -> None:
    small.sign(PLAN, date(2027, 1, 1))
    small.tenant("free")
    small.sign(
        a_plan("free", tax_rate=Decimal(0), tax_category="O", tax_exemption="Small business"), date(2027, 1, 1), "free"
    )
    untaxed = replace(SELLER, party=replace(SELLER.party, tax_id=""))
    small.clock.now = at(2027, 2, 5)
    acme, free = billing.run(
        small.database, month("2027-01", zone=UTC), replace(small.sources, seller=untaxed), by="ann"
    )
    assert acme.state is State.REFUSED
    assert "seller.tax_id" in acme.reason
    assert free.state is State.MADE
