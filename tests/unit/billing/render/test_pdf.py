"""Invoices as PDF: what the pages say, that hostile text stays text, the same bytes in any process, no empty boxes."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from mailguard.billing.invoice import Invoice, Party
from mailguard.billing.render import fonts as fonts_module
from mailguard.billing.render import pdf
from mailguard.billing.render.fonts import clusters, installed_fonts, not_drawable
from mailguard.billing.render.pdf import invoice_pdf
from mailguard.billing.render.text import plain
from mailguard.billing.render.typeset import printable
from mailguard.core.errors import ConfigError
from tests.unit.billing.render.invoices import ALL, CREDIT_NOTE, HOSTILE, MANY, ORDINARY, WORLD, line


def pages(invoice: Invoice) -> list[str]:
    reader = PdfReader(io.BytesIO(invoice_pdf(invoice)))
    return [" ".join(page.extract_text().replace("\u00a0", " ").split()) for page in reader.pages]


def test_an_invoice_says_all_that_it_must() -> None:
    (page,) = pages(ORDINARY)
    for text in (
        "Nordlicht Mail Services GmbH",
        "20457 Hamburg",
        "DE123456789",
        "Bäckerei Möller & Söhne KG",
        "2026-000123",
        "3 December 2026",
        "17 December 2026",
        "PO 4711",
        "Managed e-mail filtering, plan Business",
        "1–31 December 2026",
        "1–30 November 2026",
        "−6.00",
        "19 %",
        "EUR 233.57",
        "IBAN DE89 3704 0044 0532 0130 00",
        "41,234",
        "12.3 GB",
        "98.1 %",
        "missed",
        "Page 1 of 1",
    ):
        assert text in page, text


def test_two_hundred_lines_go_over_pages_that_say_whose_they_are() -> None:
    found = pages(MANY)
    assert len(found) > 5
    for number, page in enumerate(found, 1):
        assert f"Page {number} of {len(found)}" in page
        assert ("Invoice 2026-000123, continued" in page) == (number > 1)
    text = " ".join(found)
    for number in range(1, 201):
        assert f"Mailboxes of site {number} " in text
    assert sum("Description" in page for page in found) >= len(found) - 1


def test_a_credit_note_names_its_invoice_and_credits_positive_amounts() -> None:
    (page,) = pages(CREDIT_NOTE)
    assert "Credit note" in page
    assert "Corrects invoice 2026-000123" in page
    assert "Three mailboxes were counted under both of their domains." in page
    assert "EUR 6.43" in page
    assert "−" not in page
    assert "Please pay" not in page


def test_an_invoice_with_nothing_to_pay_asks_for_nothing() -> None:
    credited = replace(ORDINARY, net=Decimal("-10.00"), tax=Decimal("-1.90"), total=Decimal("-11.90"))
    (page,) = pages(credited)
    assert "Nothing is to be paid. EUR 11.90 is in your favour." in page
    assert "IBAN" not in page


def test_arabic_and_chinese_are_drawn_by_fonts_that_have_them() -> None:
    reader = PdfReader(io.BytesIO(invoice_pdf(WORLD)))
    resources = reader.pages[0]["/Resources"]["/Font"]  # type: ignore[index]
    names = {str(font.get_object()["/BaseFont"]) for font in resources.values()}
    for family in ("NotoSansArabic", "DroidSansFallback", "NotoSansThai", "NotoSansDevanagari", "NotoSansHebrew"):
        assert any(family in name for name in names), names
    text = reader.pages[0].extract_text()
    assert "北京安全邮件有限公司" in text
    assert "\ufffd" not in text


def test_hostile_text_stays_text() -> None:
    text = " ".join(pages(HOSTILE)).replace("\u200b", "")
    for kept in ("#text(red)[*x*] $a$ `raw` <label> @ref", "{{7*7}} <script>alert(1)</script>"):
        assert kept in text
    assert not set(text) & set("\x00\x07\x1b\u202e\u2066")
    assert "AAAA" in text
    assert "A" * 700 not in text.replace(" ", "")


def test_the_same_invoices_give_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib; from tests.unit.billing.render.invoices import ALL; from mailguard.billing.render.pdf import invoice_pdf;"
        "print(*(hashlib.sha256(invoice_pdf(one)).hexdigest() for one in ALL.values()))"
    )
    environment = {**os.environ, "TZ": "Pacific/Apia", "LC_ALL": "C", "PYTHONHASHSEED": "77"}
    theirs = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    ).stdout.split()
    assert theirs == [hashlib.sha256(invoice_pdf(one)).hexdigest() for one in ALL.values()]


def test_a_missing_font_is_an_error_that_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts_module, "DIRECTORIES", (str(tmp_path),))
    with pytest.raises(ConfigError) as raised:
        invoice_pdf(ORDINARY)
    assert "fonts-noto-core" in str(raised.value)
    assert "fonts-droid-fallback" in str(raised.value)


def test_a_letter_that_no_font_has_is_an_error_and_an_emoji_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = installed_fonts()
    latin_only = replace(whole, families=whole.families[:1], files=whole.files[:1])
    monkeypatch.setattr(pdf, "installed_fonts", lambda: latin_only)
    with pytest.raises(
        ConfigError, match=r"buyer\.name: no font can draw U\+5317 CJK UNIFIED IDEOGRAPH-5317.*fonts-noto"
    ):
        invoice_pdf(replace(ORDINARY, buyer=Party("北 Ltd")))
    plain_levels = replace(ORDINARY, service_levels=())
    assert "Bakery \ufffd Ltd" in pages(replace(plain_levels, buyer=Party("Bakery \U0001faf6 Ltd")))[0]


def test_a_mark_that_fits_no_letter_of_its_font_is_dropped_or_told() -> None:
    fonts = installed_fonts()
    assert fonts.drawable("ケ\u0595x") == "ケx"  # no font has both
    assert fonts.drawable("e\u0301 דּ ки́ї हिन्दी") == "e\u0301 דּ ки́ї हिन्दी"
    assert fonts.drawable("\U0001faf6\u0301") == "\ufffd"
    (problem,) = not_drawable([("line 1", "ケ\u0595")], fonts)
    assert "U+30B1 KATAKANA LETTER KE with U+0595 HEBREW ACCENT ZAQEF GADOL" in problem.message


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=100))
def test_pieces_of_text_are_the_text_and_what_is_drawable_stays(text: str) -> None:
    assert "".join(clusters(text)) == text
    shown = installed_fonts().drawable(text)
    assert installed_fonts().drawable(shown) == shown
    assert len(shown) <= len(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\u2028d", "a b c d"),
        ("\u202eevil\u202c\u2066x\u2069", "evilx"),
        ("\x1b[31mred\x00", "[31mred"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("x" + "\u0338" * 20, "x" + "\u0338" * 4),
        ("\ue000private\udc80", "private"),
        ("  ", ""),
    ],
)
def test_what_cannot_be_seen_is_taken_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@settings(deadline=None)
@given(st.text(max_size=400), st.integers(1, 50))
def test_a_printable_text_is_one_short_line_of_breakable_words(text: str, limit: int) -> None:
    shown = printable(text, limit=limit)
    assert len(plain(text, limit=limit)) <= limit
    assert len(shown) <= limit + limit // 20 + 2
    assert max((len(word) for word in shown.replace("\u200b", " ").split()), default=0) < 40 + 4
    assert plain(plain(text)) == plain(text)


@settings(deadline=None, max_examples=15)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_set_or_is_refused_by_name(name: str, description: str) -> None:
    one = replace(ORDINARY, buyer=Party(name), lines=(line(1, description, "1.00"),))
    try:
        assert invoice_pdf(one).startswith(b"%PDF-")
    except ConfigError as error:
        assert "no font can draw" in str(error)
