"""The html check: each fact with what shows it, and the honest mail next to it that does not."""

from __future__ import annotations

import base64
import time

import pytest

from mailguard.checks.html import SYMBOLS, HtmlCheck
from mailguard.message.parse import Message, parse

LOREM = "Ordinary words of a letter that goes on for a while, so that there is something to be read. "


def mail(
    html: str = "", *, text: str = "", subject: str = "x", author: str = "a@shop.example", files: str = ""
) -> Message:
    """A message with an HTML part, a plain one, and further parts."""
    parts = ""
    if text:
        parts += f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    if html:
        parts += f"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n"
    head = f"From: {author}\r\nSubject: {subject}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    return parse(f"{head}{parts}{files}--b--\r\n".encode())


def attached(name: str, content: str | bytes, kind: str = "application/octet-stream") -> str:
    """A part with a file."""
    data = base64.encodebytes(content.encode() if isinstance(content, str) else content).decode()
    return (
        f'--b\r\nContent-Type: {kind}; name="{name}"\r\nContent-Disposition: attachment; filename="{name}"\r\n'
        f"Content-Transfer-Encoding: base64\r\n\r\n{data}\r\n"
    )


def symbols(message: Message) -> dict[str, tuple[str, ...]]:
    """Name → evidence."""
    return {symbol.name: symbol.evidence for symbol in HtmlCheck().examine(message).symbols}


@pytest.mark.parametrize(
    ("html", "names"),
    [
        ("<form action=https://x.example/><input type=text></form>", {"HTML_FORM"}),
        ("<input name=p  type = 'password'>", {"HTML_PASSWORD"}),
        ("<input name='card-number'>", {"HTML_CARD"}),
        ("<input placeholder='Enter seed phrase'>", {"HTML_CARD"}),
        ("<script>alert(1)</script>", {"HTML_SCRIPT"}),
        ("<script type='application/ld+json'>{}</script><script type=application/ld+json>{}</script>", set()),
        ("<script type='application/ld+json'>{}</script><script src=x></script>", {"HTML_SCRIPT"}),
        ("<a href=' javascript:alert(1)'>x</a>", {"HTML_SCRIPT_URL"}),
        ("<a href='data:text/html;base64,AAAA'>x</a>", {"HTML_DATA_PAGE"}),
        ("<img src='data:image/png;base64,AAAA'>", set()),
        ("<body onload='go()'>", {"HTML_HANDLER"}),
        ("<p on='x' title='onload = y'>", set()),
        ("<iframe src=x></iframe>", {"HTML_FRAME"}),
        ("<meta http-equiv=Refresh content='0; url=https://x.example'>", {"HTML_REDIRECT"}),
        ("<meta http-equiv=Content-Type content='text/html'>", set()),
        ("<base href='https://x.example/'>", {"HTML_BASE"}),
        ("<base target='_blank'>", set()),
        ("<script>var u = URL.createObjectURL(b); a.download = 'x'</script>", {"HTML_SCRIPT", "HTML_SMUGGLING"}),
        ("<script>eval(atob('x'))</script>", {"HTML_SCRIPT", "HTML_SMUGGLING"}),
    ],
)  # fmt: skip
def test_active_content(html: str, names: set[str]) -> None:
    assert symbols(mail(f"<p>{LOREM}</p>{html}")).keys() - {"LINK_SINGLE"} == names


def test_a_picture_that_is_the_whole_mail() -> None:
    picture = "<a href='https://x.example/'><img src='https://x.example/a.png'></a>"
    assert "HTML_PICTURE_ONLY" in symbols(mail(picture))
    assert "HTML_PICTURE_ONLY" not in symbols(mail(picture + LOREM))
    assert "HTML_PICTURE_ONLY" not in symbols(mail("<img src='https://x.example/a.png'>"))


@pytest.mark.parametrize(
    ("text", "href", "name"),
    [
        ("https://www.bank.example/login", "https://evil.test/x", "LINK_TEXT_ELSEWHERE"),
        ("www.bank.example", "http://203.0.113.5/x", "LINK_TEXT_ELSEWHERE"),
        ("bank.com", "https://evil.test/x", "LINK_TEXT_ELSEWHERE"),
        ("https://www.bank.example/login", "https://login.bank.example/x", "LINK_TEXT_TRUE"),
        ("https://www.bank.example/", "https://click.shop.example/t/1", "LINK_TEXT_TRACKED"),
        ("https://www.bank.example/", "https://gate.test/?url=https%3A%2F%2Fwww.bank.example%2F", "LINK_TEXT_TRACKED"),
        ("https://www.bank.example/", "http://www.bank.example/", "LINK_TEXT_SECURE_ONLY"),
        ("ceo@bank.example", "https://evil.test/", "LINK_TEXT_ADDRESS"),
        ("ceo@bank.example", "mailto:ceo@bank.example", None),
        ("Version 1.2.py and Node.js", "https://evil.test/", None),
        ("index.html", "https://evil.test/", None),
        ("Click here", "https://evil.test/", None),
    ],
)
def test_link_texts(text: str, href: str, name: str | None) -> None:
    found = {
        symbol for symbol in symbols(mail(f"{LOREM}<a href='{href}'>{text}</a>")) if symbol.startswith("LINK_TEXT")
    }
    assert (name in found) if name else not found


def test_a_mail_whose_links_all_go_through_one_counter() -> None:
    links = "".join(f"<a href='https://t.counter.test/{i}'>Article {i}</a>" for i in range(5))
    found = symbols(mail(links + "<a href='https://t.counter.test/x'>www.paper.example</a>"))
    assert "LINK_TEXT_TRACKED" in found
    assert "LINK_TEXT_ELSEWHERE" not in found


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://www.google.example/url?q=https://evil.test/x", True),
        ("https://www.google.example/url?q=https%3A%2F%2Fevil.test%2Fx", True),
        ("https://www.google.example/amp/s/https://evil.test/", True),
        ("https://a.shop.example/?back=https://b.shop.example/", False),
        ("https://shop.example/?q=http", False),
    ],
)
def test_urls_within_urls(url: str, found: bool) -> None:
    assert ("URL_LEADS_ON" in symbols(mail(text=f"see {url} there"))) is found


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("a.html", "<form><input type=password></form>" + LOREM, {"PAGE_FORM", "PAGE_PASSWORD"}),
        ("a.shtml", "<input value='bob@client.example'>" + LOREM, {"PAGE_PREFILLED"}),
        ("A.HTM. ", "<body onload=x()>" + LOREM, {"PAGE_SCRIPT"}),
        ("a.html", "<script>location.href = 'https://x.test'</script>", {"PAGE_SCRIPT", "PAGE_REDIRECT", "PAGE_NOTHING_TO_READ"}),
        ("a.html", f"<script>x='{'QUJD' * 1000}';document.write(atob(x))</script>{LOREM}", {"PAGE_SCRIPT", "PAGE_SMUGGLING", "PAGE_ENCODED"}),
        ("a.html", f"<script>1</script><img src='data:image/png;base64,{'QUJD' * 1000}'>{LOREM}", {"PAGE_SCRIPT"}),
        ("a.html", "<h1>A report</h1>" + LOREM, set()),
        ("a.svg", "<svg xmlns='x'><script>1</script></svg>", {"SVG_SCRIPT"}),
        ("a.svg", "<svg onload='x()'><foreignObject><body>x</body></foreignObject></svg>", {"SVG_SCRIPT", "SVG_FOREIGN_OBJECT"}),
        ("a.svg", "<svg><a xlink:href='https://x.test'><rect/></a></svg>", {"SVG_LINK"}),
        ("a.svg", "<svg xmlns='http://www.w3.org/2000/svg'><path d='M0'/></svg>", set()),
        ("a.html", f"{LOREM}<div style='display:none'>{LOREM * 9}</div>", set()),
        ("a.html", f"Short.<div style='font-size:0'>{'secret stuff ' * 90}</div>", {"HIDDEN_TEXT_MOSTLY"}),
        ("a.vcf", "BEGIN:VCARD\r\nURL:https://x.test/\r\nEND:VCARD", {"CARD_LINK"}),
        ("a.txt", "<script>1</script>", set()),
    ],
)  # fmt: skip
def test_attached_pages(name: str, content: str, names: set[str]) -> None:
    found = symbols(mail(text=LOREM, files=attached(name, content)))
    assert found.keys() == names
    assert all(evidence for evidence in found.values())


def test_a_page_in_utf_16() -> None:
    page = attached("a.html", b"\xff\xfe" + "<input type=password>".encode("utf-16-le"))
    assert "PAGE_PASSWORD" in symbols(mail(text=LOREM, files=page))


CALENDAR = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n{}SUMMARY:Talk\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("ORGANIZER;CN=A:mailto:a@shop.example\r\n", set()),
        ("ORGANIZER;CN=A:mailto:a@evil.test\r\n", {"INVITE_OTHER_ORGANISER"}),
        ("", {"INVITE_NO_ORGANISER"}),
        ("ORGANIZER:mailto:a@shop.example\r\nDESCRIPTION:Join at https://evil.te\r\n st/x\\nnow\r\n", {"INVITE_LINK_ELSEWHERE"}),
        ("ORGANIZER:mailto:a@shop.example\r\nURL:https://meet.shop.example/x\r\n", set()),
    ],
)  # fmt: skip
def test_invitations(lines: str, names: set[str]) -> None:
    part = f"--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n{CALENDAR.format(lines)}\r\n"
    found = symbols(mail(text=LOREM, files=part))
    assert {name for name in found if name.startswith("INVITE")} == names | {"INVITE"}


@pytest.mark.parametrize(
    ("html", "names"),
    [
        (f"<div style='display:none'>Only today: a preview</div>{LOREM}", {"HIDDEN_PREVIEW"}),
        (f"<div style='display:none'>&zwnj;&nbsp;&zwnj;&nbsp;&#847;&shy;</div>{LOREM}", set()),
        (f"{LOREM * 4}<div style='display:none'>{'other words ' * 9}</div>", {"HIDDEN_TEXT"}),
        (f"{LOREM * 8}<div style='display:none'>{LOREM * 8}</div>", set()),  # a variant for other screens
        (f"Pay now.<div style='display:none'>{'other words ' * 90}</div>", {"HIDDEN_TEXT", "HIDDEN_TEXT_MOSTLY"}),
        (f"{LOREM * 4}<p style='font-size:1px'>{'other words ' * 9}</p>", {"HIDDEN_TEXT", "HIDDEN_TEXT_TINY"}),
        (f"{LOREM * 4}<font color=white>{'other words ' * 9}</font>", {"HIDDEN_TEXT", "HIDDEN_TEXT_COLOUR"}),
        (f"{LOREM}Pass<span style='display:none'>qx</span>word", {"HIDDEN_WITHIN_WORDS"}),
        (f"{LOREM}Pass<span style='display:none'>&#8203;</span>word", set()),
    ],
)
def test_hidden_text(html: str, names: set[str]) -> None:
    assert symbols(mail(html)).keys() == names


@pytest.mark.parametrize(
    ("name", "trick"),
    [
        ("SPLIT_WORDS", "P\u200ba\u200by\u200bm\u200be\u200bnt"),
        ("DIRECTION_OVERRIDE", "\u202etnemyap\u202c"),
        ("MARKS", "p\u0336a\u0336y\u0336m\u0336e\u0336n\u0336t\u0336 n\u0336o\u0336w\u0336"),
        ("STYLED_LETTERS", "\U0001d40f\U0001d41a\U0001d432\U0001d426\U0001d41e\U0001d427\U0001d42d" * 2),
        ("MIXED_SCRIPTS", "P\u0430ym\u0435nt"),
        ("SPACED_OUT", "P a y m e n t"),
    ],
)
def test_tricks_with_letters(name: str, trick: str) -> None:
    assert symbols(mail(text=LOREM + trick)).keys() == {f"TEXT_{name}"}
    assert symbols(mail(text=LOREM, subject=trick)).keys() == {f"SUBJECT_{name}"}
    assert symbols(mail(text=LOREM, author=f"{trick} <a@shop.example>")).keys() == {f"FROM_{name}"}


def test_an_ordinary_mail_shows_nothing() -> None:
    assert symbols(mail(f"<p>{LOREM}</p>", text=LOREM)) == {}


def test_every_symbol_is_described() -> None:
    assert all(description and abs(points) <= 3 for points, description in SYMBOLS.values())


@pytest.mark.parametrize(
    "piece", ["<input ", "<a href='data:", "<form ", "ABCD", "<meta http-equiv=refresh ", "data:a/b;base64,A "]
)
def test_hostile_pages_take_linear_time(piece: str) -> None:
    message = mail(text=LOREM, files=attached("a.html", "<script>" + piece * (200_000 // len(piece))))
    started = time.process_time()
    HtmlCheck().examine(message)
    assert time.process_time() - started < 1.5
