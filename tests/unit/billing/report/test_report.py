"""A report as words, page and PDF: plain sentences, nothing from elsewhere, and hostile names that stay names."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from selectolax.lexbor import LexborHTMLParser

from mailguard.billing.render import charts
from mailguard.billing.render.xml import fragment
from mailguard.billing.report.facts import Facts, Ranked, Threat
from mailguard.billing.report.html import report_html
from mailguard.billing.report.mail import report_text
from mailguard.billing.report.pdf import report_pdf
from mailguard.billing.report.words import THREATS, page
from tests.unit.billing.report.samples import EVIL, HOSTILE, MONTH, NOTHING

GOLDEN = Path(__file__).parent / "golden"
BY = "Nordlicht Mail Services GmbH"


def pdf_text(facts: Facts) -> list[str]:
    reader = PdfReader(io.BytesIO(report_pdf(facts, by=BY, at=date(2026, 12, 1))))
    return [" ".join(one.extract_text().replace("\u00a0", " ").split()) for one in reader.pages]


@pytest.mark.parametrize("name", ["month", "nothing"])
def test_the_words_are_as_they_were(name: str) -> None:
    facts = {"month": MONTH, "nothing": NOTHING}[name]
    assert report_text(page(facts, by=BY)) == (GOLDEN / f"{name}.txt").read_text()


def test_every_threat_has_words() -> None:
    assert set(THREATS) == set(Threat)


def test_a_month_that_is_not_over_says_so() -> None:
    for facts in (MONTH, NOTHING):
        assert "The month is not over" in page(replace(facts, is_over=False), by=BY).summary
        assert "not over" not in page(facts, by=BY).summary


def test_the_page_says_what_the_words_say() -> None:
    tree = LexborHTMLParser(report_html(MONTH, by=BY))
    shown = page(MONTH, by=BY)
    assert [node.text() for node in tree.css("h2")] == [section.heading for section in shown.sections]
    assert [node.text() for node in tree.css(".tiles strong")] == [tile.figure for tile in shown.tiles]
    assert len(tree.css("svg")) == sum(section.chart is not None for section in shown.sections) == 6
    assert all(node.attributes.get("role") == "img" and node.attributes.get("aria-label") for node in tree.css("svg"))
    rows = tree.css("details tbody tr")
    assert len(rows) == 30
    assert [cell.text() for cell in rows[1].css("td")] == ["1,037", "931", "67"]


@pytest.mark.parametrize("facts", [MONTH, HOSTILE, NOTHING], ids=["month", "hostile", "nothing"])
def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(facts: Facts) -> None:
    html = report_html(facts, by=BY)
    tree = LexborHTMLParser(html)
    assert not tree.css("script, link, img, iframe, object, embed, form, base, style[src]")
    for node in tree.css("*"):
        for name, value in node.attributes.items():
            assert not name.startswith("on"), name
            assert name not in ("src", "href", "action"), name
            assert name == "xmlns" or "://" not in (value or ""), value
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_hostile_names_stay_names() -> None:
    html = report_html(HOSTILE, by=EVIL)
    tree = LexborHTMLParser(html)
    assert "<script" not in html
    assert not set(html) & set("\u202e\x1b\x00")
    labels = [node.text() for node in tree.css("svg title")]
    assert any("<script>alert(1)</script>\"'&{{7*7}} #text(red)[x] gpj.exe[31m@x.test: 4" in label for label in labels)
    text = " ".join(pdf_text(HOSTILE)).replace("\u200b", "")
    assert "<script>alert(1)</script>\"'&{{7*7}} #text(red)[x]" in text
    assert max(map(len, html.splitlines())) < 60_000


def test_the_pdf_has_all_sections_and_page_numbers() -> None:
    found = pdf_text(MONTH)
    for section in page(MONTH, by=BY).sections:
        assert any(section.heading in one for one in found), section.heading
    assert f"Page 1 of {len(found)}" in found[0]
    assert "info@moeller.example" in " ".join(found)
    first, second = (report_pdf(MONTH, by=BY, at=date(2026, 12, 1)) for _ in range(2))
    assert first == second


@settings(deadline=None, max_examples=10)
@given(st.text(max_size=40), st.text(max_size=80), st.text(max_size=20))
def test_no_name_keeps_a_report_from_being_made(mailbox: str, domain: str, tenant: str) -> None:
    facts = replace(MONTH, attacked=(Ranked(mailbox, 2),), spoofed=(Ranked(domain, 1),), tenant=tenant)
    assert report_pdf(facts, by=tenant, at=date(2026, 12, 1)).startswith(b"%PDF-")
    assert LexborHTMLParser(report_html(facts, by=tenant)).css("footer")


@pytest.mark.parametrize("name", ["days", "ranking", "promises"])
def test_charts_are_as_they_were(name: str) -> None:
    drawn = {
        "days": charts.days_chart(
            [charts.Bar("1", "1 May", 120, 30), charts.Bar("", "2 May", 0, 0), charts.Bar("3", "3 May", 7, 0)],
            title="Mail per day",
            good="Reached you",
            bad="Stopped",
        ),
        "ranking": charts.ranking_chart(
            [charts.Row("a < b & c", 9, "9"), charts.Row("中" * 40, 0, "0", bad=True)], title="By <kind>"
        ),
        "promises": charts.promises_chart(
            [
                charts.Promise("Spam", "≥ 99 %", "98 %", kept=False),
                charts.Promise("Door", "≥ 99 %", "100 %", kept=True),
            ],
            title="Promises",
        ),
    }[name]
    assert charts.standalone(drawn) + "\n" == (GOLDEN / f"{name}.svg").read_text()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.text(max_size=60), st.floats(0, 1e12), st.text(max_size=20)), max_size=12),
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=31),
)
def test_any_names_and_numbers_make_charts_that_are_well_formed_and_stay_within(
    rows: list[tuple[str, float, str]], bars: list[tuple[int, int]]
) -> None:
    ranking = charts.ranking_chart([charts.Row(*row) for row in rows], title="t")
    days = charts.days_chart([charts.Bar("", "d", *bar) for bar in bars], title="t", good="g", bad="b")
    for chart in (ranking, days):
        root = ElementTree.fromstring(fragment(chart))
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
            x, y, wide, high = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert x + wide <= width + 0.2
            assert y >= 0
            assert y + high <= height + 0.2
            assert re.fullmatch(r"good|bad", rect.attrib["class"])
