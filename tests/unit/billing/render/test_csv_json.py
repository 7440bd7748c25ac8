"""Invoices as CSV and as canonical JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.billing.invoice import Invoice, InvoiceKind, Line, LineKind, Party, ServiceLevel, Tax, Usage
from mailguard.billing.render.csv import COLUMNS, invoice_csv
from mailguard.billing.render.json import invoice_from_json, invoice_json
from tests.unit.billing.render.invoices import ALL, CREDIT_NOTE, HOSTILE, ORDINARY


def rows(invoice: Invoice) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(invoice_csv(invoice), newline="")))


def test_csv_has_a_record_a_line_with_the_invoices_values() -> None:
    first, *_, last = rows(ORDINARY)
    assert first["number"] == last["number"] == "2026-000123"
    assert (first["first_day"], first["last_day"]) == ("2026-12-01", "2026-12-31")
    assert (first["amount"], first["previous"], last["previous"]) == ("120.00", "120.00", "")
    assert sum(Decimal(row["amount"]) for row in rows(ORDINARY)) == Decimal(first["invoice_net"])
    assert rows(CREDIT_NOTE)[0]["corrects"] == "2026-000123"
    assert rows(CREDIT_NOTE)[0]["amount"] == "-5.40"


@pytest.mark.parametrize("name", ALL)
def test_csv_is_regular_and_opens_without_a_formula(name: str) -> None:
    text = invoice_csv(ALL[name])
    records = list(csv.reader(io.StringIO(text, newline="")))
    assert len(records) == len(ALL[name].lines) + 1
    assert {len(record) for record in records} == {len(COLUMNS)}
    assert text.endswith("\r\n")
    for record in records:
        for cell in record:
            for part in re.split(r"[;\t\r\n]", cell):
                assert not re.match(r"[ \"]*(?:[=+@]|-(?!\d+(?:\.\d+)?$))", part), cell


def test_hostile_names_are_kept_behind_an_apostrophe() -> None:
    row = rows(HOSTILE)[-1]
    assert row["tenant"].startswith("'@t")
    assert row["description"].startswith("'=1+1;")


@pytest.mark.parametrize("name", ALL)
def test_json_round_trips(name: str) -> None:
    text = invoice_json(ALL[name])
    assert invoice_from_json(text) == ALL[name]
    assert invoice_json(invoice_from_json(text)) == text
    assert text.isascii()


def test_json_is_canonical() -> None:
    document = json.loads(invoice_json(ORDINARY))
    assert invoice_json(ORDINARY) == json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert document["format"] == 1
    assert document["total"] == "233.57"
    assert document["lines"][1]["quantity"] == "7"
    assert json.loads(invoice_json(replace(ORDINARY, net=Decimal("1E+2"))))["net"] == "100"


def test_a_document_of_before_a_field_was_added_is_read() -> None:
    document = json.loads(invoice_json(ORDINARY))
    del document["buyer_reference"], document["lines"][0]["previous"]
    assert invoice_from_json(json.dumps(document)).buyer_reference == ""


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '"x"', '{"format":2}', '{"format":1}', '{"format":1,"number":"\\udc80"}', "[" * 100_000]
)
def test_what_is_no_invoice_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"document|Expecting"):
        invoice_from_json(text)


_MONEY = st.decimals(-(10**9), 10**9, places=2)
_TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20)
_DAY = st.dates(date(2020, 1, 1), date(2040, 1, 1))


@st.composite
def _lines(draw: st.DrawFn) -> Line:
    start = draw(_DAY)
    return Line(
        number=draw(st.integers(1, 500)),
        kind=draw(st.sampled_from(LineKind)),
        description=draw(_TEXT),
        start=start,
        end=start + timedelta(days=draw(st.integers(0, 400))),
        quantity=draw(st.decimals(-1000, 1000, places=6)),
        unit=draw(st.sampled_from(["MON", "C62"])),
        unit_price=draw(_MONEY),
        amount=draw(_MONEY),
        tax_rate=draw(st.decimals(0, 30, places=1)),
        previous=draw(st.none() | _MONEY),
    )


_PARTIES = st.builds(Party, name=_TEXT, address=st.lists(_TEXT, max_size=3).map(tuple), country=_TEXT)
_INVOICES = st.builds(
    Invoice,
    number=_TEXT,
    kind=st.sampled_from(InvoiceKind),
    tenant=_TEXT,
    month=st.just("2026-11"),
    issued=_DAY,
    due=_DAY,
    currency=st.sampled_from(["EUR", "USD"]),
    seller=_PARTIES,
    buyer=_PARTIES,
    lines=st.lists(_lines(), max_size=3).map(tuple),
    taxes=st.lists(
        st.builds(Tax, category=_TEXT, rate=_MONEY, base=_MONEY, amount=_MONEY, exemption=_TEXT), max_size=2
    ).map(tuple),
    net=_MONEY,
    tax=_MONEY,
    total=_MONEY,
    usage=st.none() | st.builds(Usage, *[st.integers(0, 10**15)] * 5),
    service_levels=st.lists(
        st.builds(ServiceLevel, _TEXT, _TEXT, _TEXT, st.booleans(), st.decimals(0, 100, places=2)), max_size=2
    ).map(tuple),
)


@settings(deadline=None, max_examples=60)
@given(_INVOICES)
def test_any_invoice_round_trips(invoice: Invoice) -> None:
    text = invoice_json(invoice)
    again = invoice_from_json(text)
    assert again == invoice
    assert invoice_json(again) == text
