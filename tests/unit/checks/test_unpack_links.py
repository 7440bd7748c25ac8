"""Links in files: what is said of each, that honest ones get nothing, and that they reach block lists without hiding the mail's own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from mailguard.checks.link_facts import LinkFact, facts_of
from mailguard.checks.unpack_links import EVIDENCE_LIMIT, SYMBOLS, link_symbols
from mailguard.checks.urlbl import names_of
from mailguard.message.urls import Link, link_of
from tests.unit.checks.mail import context, packed
from tests.unit.checks.qr_mails import code, mail, saved
from tests.unit.checks.test_unpack import look


@pytest.mark.parametrize(
    ("url", "facts"),
    [
        ("http://192.0.2.7/login", {LinkFact.ADDRESS}),
        ("http://3221225991/", {LinkFact.ADDRESS}),
        ("http://[2001:db8::1]/", {LinkFact.ADDRESS}),
        ("https://bit.ly/3abc", {LinkFact.SHORTENER}),
        ("https://x.web.app/a", {LinkFact.ANYBODY}),
        ("https://xn--pypal-4ve.com/", {LinkFact.FOREIGN_LETTERS}),
        ("https://pаypal.com/", {LinkFact.FOREIGN_LETTERS}),
        ("https://www.bank.example@evil.example/", {LinkFact.USER}),
        ("https://evil.example/m?to=bob@client.test", {LinkFact.PREFILLED}),
        ("https://evil.example/m/Ym9iQGNsaWVudC50ZXN0", {LinkFact.PREFILLED}),
        ("https://www.google.com/url?q=https://evil.example/", {LinkFact.DETOUR}),
        ("https://good.example/r?goto=https%3A%2F%2Fevil.test%2Fa", {LinkFact.DETOUR}),
        ("https://good.example/login?next=https://www.good.example/home", set()),
        ("https://www.google.com/search?q=lamps", set()),
        ("https://good.example/@ann/a:8081?x=1", set()),
        ("https://anna@good/", set()),
    ],
)
def test_what_a_link_says_by_itself(url: str, facts: set[LinkFact]) -> None:
    link = link_of(url)
    assert link is not None
    assert {*facts_of(link)} == facts


def test_symbols_show_which_file_and_each_link_once() -> None:
    links = [(f"a.zip/{n}.pdf", Link(f"https://bit.ly/{n % 9}", "bit.ly")) for n in range(30)]
    (symbol,) = link_symbols([*links, ("b.pdf", Link("mailto:a@b.example", ""))])
    assert (symbol.name, symbol.score) == ("FILE_LINK_SHORTENER", SYMBOLS["FILE_LINK_SHORTENER"][0])
    assert symbol.evidence == tuple(f"https://bit.ly/{n} (a.zip/{n}.pdf)" for n in range(EVIDENCE_LIMIT))


@settings(deadline=None)
@given(st.lists(st.text(max_size=60).map(lambda text: f"http://{text}"), max_size=5))
def test_any_link_is_borne(urls: list[str]) -> None:
    links = [("a", link) for url in urls if (link := link_of(url)) is not None]
    assert {symbol.name for symbol in link_symbols(links)} <= SYMBOLS.keys()


def linked_pdf(url: str) -> bytes:
    """A PDF with a link over a part of its page."""
    canvas = Canvas("", pageCompression=1)
    canvas.drawString(50, 700, "the invoice")
    canvas.linkURL(url, (50, 690, 150, 710))
    canvas.showPage()
    return canvas.getpdfdata()


async def test_links_of_an_attached_pdf_and_of_files_in_archives_are_judged() -> None:
    result = await look(
        ("a.pdf", linked_pdf("http://198.51.100.7/pay")), ("b.zip", packed(c_pdf=linked_pdf("https://bit.ly/1")))
    )
    symbols = {symbol.name: symbol.evidence for symbol in result.symbols}
    assert symbols["FILE_LINK_ADDRESS"] == ("http://198.51.100.7/pay (a.pdf)",)
    assert symbols["FILE_LINK_SHORTENER"] == ("https://bit.ly/1 (b.zip/c.pdf)",)
    assert result.link_hosts == ("198.51.100.7", "bit.ly")


async def test_a_link_of_a_letter_gets_nothing() -> None:
    result = await look(("a.pdf", linked_pdf("https://www.a.test/terms")))
    assert not result.symbols
    assert result.link_hosts == ("www.a.test",)


async def test_codes_in_archives_are_judged_as_codes_and_not_as_links() -> None:
    picture = saved(code("https://login.evil.example/?to=bob@client.test"))
    result = await look(("b.zip", packed(c_png=picture)))
    symbols = {symbol.name: symbol.evidence for symbol in result.symbols}
    assert "b.zip/c.png" in symbols["QR_CODE_LINK"][0]
    assert {"QR_CODE_PREFILLED", "QR_CODE_ONLY_LINK", "QR_CODE_ELSEWHERE"} <= symbols.keys()
    assert not any(name.startswith("FILE_LINK_") for name in symbols)
    assert result.link_hosts == ("login.evil.example",)


def test_many_links_in_files_do_not_keep_the_mails_own_from_the_lists() -> None:
    text = " ".join(f"https://own{n}.example/" for n in range(20))
    filed = [f"file{n}.example" for n in range(200)]
    names = names_of(context(raw=mail(text=text)), None, limit=12, pictured=["code.example"], filed=filed)
    assert "code.example" in names
    assert sum(name.startswith("own") for name in names) == sum(name.startswith("file") for name in names) == 5
