"""Contracts in the database: what may be changed, what may not and why, and credit notes. On SQLite: no query is special."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path

import pytest

from mailguard.billing import agreements
from mailguard.billing.agreements import Conditions
from mailguard.billing.explain import explain
from mailguard.billing.frozen import document_of, pdf_of, ubl_of
from mailguard.billing.invoice import InvoiceKind, LineKind, Party
from mailguard.billing.prepare import State
from mailguard.core.errors import ConfigError, ConflictError, NotFoundError
from tests.unit.billing.bill_world import BUYER, a_plan
from tests.unit.billing.provider import Provider

PLAN = a_plan(fee="31.00", term_months=12, renewal_months=12, notice_days=90)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    made = Provider(tmp_path)
    yield made
    made.close()


# --- signing ---------------------------------------------------------------------------------------------------------


def test_a_contract_keeps_its_plan_as_it_was_agreed(provider: Provider) -> None:
    signed = provider.sign(PLAN, date(2027, 1, 31), term_months=24)
    assert provider.contract() == signed
    assert (signed.term_months, signed.renewal_months, signed.notice_days) == (24, 12, 90)
    assert signed.terms[0].plan == PLAN
    assert signed.terms[0].plan_hash == PLAN.hash
    assert signed.created_on == date(2027, 1, 1)


def test_a_tenant_has_one_contract_at_a_time(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    with pytest.raises(ConflictError, match="has contract 1 from 2027-01-01 without an end; change it with"):
        provider.sign(PLAN, date(2028, 1, 1))
    provider.cancel(date(2027, 6, 15))
    with pytest.raises(ConflictError, match="until 2027-06-15"):
        provider.sign(PLAN, date(2027, 6, 15))
    second = provider.sign(PLAN, date(2027, 6, 16))
    assert provider.contract() == second


def test_two_contracts_in_a_month_get_an_invoice_each(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    provider.cancel(date(2027, 1, 10))
    provider.sign(a_plan("better", "62.00"), date(2027, 1, 11), buyer=Party("Acme Holding", (), "AT"))
    first, second = provider.run("2027-01")
    assert (first.state, second.state) == (State.MADE, State.MADE)
    assert first.invoice is not None
    assert second.invoice is not None
    assert [document_of(row).net for row in (first.invoice, second.invoice)] == [Decimal("10.00"), Decimal("104.00")]
    assert document_of(second.invoice).buyer.name == "Acme Holding"
    assert (first.invoice.sequence, second.invoice.sequence) == (1, 2)


def test_another_currency_is_refused_with_the_reason(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    dollars = replace(PLAN, name="dollars", currency="USD")
    with pytest.raises(ConflictError, match=r"plan dollars is in USD.*billed in EUR.*another tenant"):
        provider.change(dollars, date(2027, 2, 1))
    provider.cancel(date(2027, 1, 31))
    with pytest.raises(ConflictError, match="in USD"):
        provider.sign(dollars, date(2027, 3, 1))


def test_a_buyer_whom_no_invoice_can_be_made_out_to_is_refused(provider: Provider) -> None:
    with pytest.raises(ConfigError, match=r"--buyer-name: is needed.*\n--buyer-country: 'Germany' is no country code"):
        provider.sign(PLAN, date(2027, 1, 1), buyer=Party("", (), "Germany"))
    reverse = replace(PLAN, tax_rate=Decimal(0), tax_category="AE", tax_exemption="Reverse charge")
    with pytest.raises(ConfigError, match="--buyer-tax-id"):
        provider.sign(reverse, date(2027, 1, 1))
    provider.sign(PLAN, date(2027, 1, 1))
    with pytest.raises(ConfigError, match="--buyer-tax-id"):
        provider.change(reverse, date(2027, 2, 1))


def test_a_tenant_without_contract_is_told_how_to_get_one(provider: Provider) -> None:
    with pytest.raises(NotFoundError, match="mailguard contract add acme"):
        provider.contract()


# --- changing and ending ---------------------------------------------------------------------------------------------


def test_what_is_billed_does_not_change_any_more(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    provider.run("2027-01")
    better = a_plan("better", "62.00")
    with pytest.raises(
        ConflictError, match="billed up to 2027-01: a change can hold from 2027-02-01 on, not 2027-01-31"
    ):
        provider.change(better, date(2027, 1, 31))
    with pytest.raises(ConflictError, match="the last day can be 2027-01-31 or later, not 2027-01-30"):
        provider.cancel(date(2027, 1, 30))
    assert provider.change(better, date(2027, 2, 1)).terms[-1].plan == better
    with pytest.raises(ConflictError, match="exactly these terms on 2027-02-01"):
        provider.change(better, date(2027, 2, 1))
    provider.cancel(date(2027, 1, 31))
    with pytest.raises(ConflictError, match="does not cover 2027-02-01: it runs from 2027-01-01 until 2027-01-31"):
        provider.change(PLAN, date(2027, 2, 1))


def test_it_ends_as_its_term_and_notice_say_unless_they_are_waived(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    with pytest.raises(ConflictError, match=r"can end on 2027-12-31 at the earliest.*90 days' notice.*--waive-notice"):
        provider.cancel(date(2027, 6, 30), waive=False)
    with pytest.raises(ConflictError, match="does not end on 2028-06-30 by its terms, but on 2027-12-31 or 2028-12-31"):
        provider.cancel(date(2028, 6, 30), waive=False)
    assert provider.cancel(date(2028, 12, 31), waive=False).ends_on == date(2029, 1, 1)
    with pytest.raises(ConflictError, match=r"was cancelled already.*--revoke"):
        provider.cancel()
    assert provider.revoke().ends_on is None
    with pytest.raises(ConflictError, match="was not cancelled"):
        provider.revoke()
    ended = provider.cancel(waive=False)
    assert (ended.ends_on, ended.notice_on) == (date(2028, 1, 1), date(2027, 1, 1))


def test_a_contract_can_be_withdrawn_before_it_begins(provider: Provider) -> None:
    provider.sign(a_plan(setup_fee=Decimal("99.00")), date(2027, 2, 1))
    january = provider.bill("2027-01")
    assert january.net == Decimal("130.00")
    with pytest.raises(ConflictError, match="the last day cannot be before the one before"):
        provider.cancel(date(2027, 1, 30))
    provider.cancel(date(2027, 1, 31))
    assert provider.bill("2027-02").net == Decimal("-130.00")
    (outcome,) = [one for one in provider.run("2027-03") if one.contract]
    assert (outcome.state, outcome.reason) == (State.NOTHING, "the contract was withdrawn before it began")


def test_conditions_change_and_invoices_stay(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    january = provider.bill("2027-01")
    moved = replace(BUYER, address=("3 Street",))
    conditions = Conditions(0, 0, 14, moved, "PO 7")
    contract = provider.contract()
    changed = provider.database.write(lambda conn: agreements.set_conditions(conn, contract, conditions))
    assert (changed.term_months, changed.notice_days, changed.buyer, changed.buyer_reference) == (0, 14, moved, "PO 7")
    february = provider.bill("2027-02")
    assert (january.buyer, february.buyer, february.buyer_reference) == (BUYER, moved, "PO 7")
    assert document_of(provider.invoices()[0]) == january


def test_a_price_of_its_own() -> None:
    assert agreements.with_price(PLAN, Decimal("25.50")).monthly_fee == Decimal("25.50")
    for wrong in ("-1", "1.005", "1000000000"):
        with pytest.raises(ConfigError, match="--price"):
            agreements.with_price(PLAN, Decimal(wrong))


# --- credit notes ----------------------------------------------------------------------------------------------------


def test_a_credit_note_gives_back_with_tax_and_has_numbers_of_its_own(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    invoice = provider.bill("2027-01")
    note = provider.credit(invoice.number.lower(), 2, "10.00", "Mail was down for an hour")
    assert (note.number, note.kind, note.corrects) == ("CN-2027-00001", InvoiceKind.CREDIT_NOTE, invoice.number)
    assert (note.net, note.tax, note.total) == (Decimal("-10.00"), Decimal("-1.90"), Decimal("-11.90"))
    (line,) = note.lines
    assert (line.kind, line.amount) == (LineKind.CORRECTION, Decimal("-10.00"))
    assert (line.start, line.end) == (date(2027, 2, 1), date(2027, 3, 1))
    assert (note.why, note.month, note.issued) == ("Mail was down for an hour", "2027-01", date(2027, 2, 5))
    found = provider.database.read(lambda conn: explain(conn, invoice.number, 2, zone=UTC))
    assert [(charge.invoice, charge.amount) for charge in found.credits] == [("CN-2027-00001", Decimal("-10.00"))]
    back = provider.database.read(lambda conn: explain(conn, note.number, 1, zone=UTC))
    assert [(charge.invoice, charge.line) for charge in back.against] == [(invoice.number, 2)]
    (row,) = [one for one in provider.invoices() if one.number == note.number]
    assert pdf_of(provider.database, row).startswith(b"%PDF")
    assert "<cbc:CreditedQuantity" in ubl_of(provider.database, row)


def test_no_more_is_given_back_than_was_charged(provider: Provider) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    invoice = provider.bill("2027-01")
    provider.credit(invoice.number, 2, "21.00")
    with pytest.raises(ConflictError, match=r"of line 2 of INV-2027-00001 \(31.00 EUR\) 10.00 is left"):
        provider.credit(invoice.number, 2, "10.01")
    provider.cancel(date(2027, 1, 31))
    february = provider.bill("2027-02")
    assert february.net == Decimal("-10.00")  # the whole of February, less what was given back of it
    with pytest.raises(ConflictError, match=r"0.00 is left"):
        provider.credit(invoice.number, 2, "0.01")
    with pytest.raises(ConflictError, match="charges nothing that could be given back"):
        provider.credit(february.number, 1, "1.00")
    assert {row.number for row in provider.invoices()} == {"INV-2027-00001", "CN-2027-00001", "INV-2027-00002"}


@pytest.mark.parametrize(("amount", "why"), [("0", "x"), ("-1", "x"), ("1.005", "x"), ("1", " ")])
def test_a_wrong_credit_is_refused_and_uses_no_number(provider: Provider, amount: str, why: str) -> None:
    provider.sign(PLAN, date(2027, 1, 1))
    invoice = provider.bill("2027-01")
    with pytest.raises(ConfigError, match="--why" if amount == "1" else "--amount"):
        provider.credit(invoice.number, 1, amount, why)
    with pytest.raises(NotFoundError, match="has lines 1 to 2, no line 3"):
        provider.credit(invoice.number, 3, "1")
    with pytest.raises(NotFoundError, match="mailguard bill list"):
        provider.credit("INV-1", 1, "1")
    assert provider.credit(invoice.number, 1, "1.00").number == "CN-2027-00001"
