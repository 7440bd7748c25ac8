"""Text and HTML to what a reader sees, and the check of what acts, hides or misleads: bounded, repeatable, and soon done."""

from __future__ import annotations

from mailguard.checks.html import EVIDENCE_LIMIT, SYMBOLS, HtmlCheck
from mailguard.message.hidden import HIDDEN_LIMIT
from mailguard.message.hidden import TEXT_LIMIT as HIDDEN_TEXT_LIMIT
from mailguard.message.normalise import WORD_LENGTH, WORD_LIMIT, normalise
from mailguard.message.parse import parse
from mailguard.message.text import render_html
from tests.fuzz.target import Input, Target


def normal(data: bytes) -> None:
    """A text."""
    text = Input(data).long_rest().decode("utf-8", "replace")
    found = normalise(text)
    assert normalise(found.text).text == found.text
    assert len(found.text) <= 18 * len(text) + 10  # NFKC: one character is at most 18
    assert len(found.mixed) <= WORD_LIMIT
    assert all(len(word) <= WORD_LENGTH for word in (*found.mixed, *found.spaced))


def hidden(data: bytes) -> None:
    """A page, some of which is hidden."""
    rendered = render_html(Input(data).long_rest().decode("utf-8", "replace"))
    assert len(rendered.hidden) <= HIDDEN_LIMIT
    assert all(one.text and len(one.text) <= HIDDEN_TEXT_LIMIT for one in rendered.hidden)
    assert len(rendered.visible) <= len(rendered.text) + 1
    if not rendered.hidden:
        assert rendered.visible == rendered.text


_HEADS = (
    b"Content-Type: text/html\r\n\r\n",
    b'Content-Type: application/octet-stream; name="a.html"\r\n\r\n',
    b'Content-Type: image/svg+xml; name="a.svg"\r\n\r\n',
    b"Content-Type: text/calendar\r\n\r\n",
    b'Content-Type: text/vcard; name="a.vcf"\r\n\r\n',
)


def html_check(data: bytes) -> None:
    """A mail that is a page, or has one attached."""
    source = Input(data)
    head = _HEADS[source.below(len(_HEADS))]
    result = HtmlCheck().examine(parse(b"From: a@b.example\r\nSubject: x\r\n" + head + source.long_rest()))
    assert all(symbol.name in SYMBOLS for symbol in result.symbols)
    assert all(1 <= len(symbol.evidence) <= EVIDENCE_LIMIT for symbol in result.symbols)
    assert all(len(evidence) <= 500 for symbol in result.symbols for evidence in symbol.evidence)


TARGETS = (
    Target(
        "normalise",
        normal,
        (
            "P\u0430yP\u0430l V i a g r a acc0unt Pay\u200bPal \u202eabc p\u0332a\u0332 \uff21\U0001d400\u24d0".encode(),
            "\xfda \u0430.\xfe\x20".encode("latin-1", "ignore"),
            b"\xfda.\xfe\x40",
            b"\xfda1\xfe\x40",
            b"\xfd\xcc\xb6\xfe\x40a",
            b"\xfd\xe2\x80\x8b\xfe\x40a",
            b"\xfd\xef\xb7\xba\xfe\x20",
        ),
        tokens=(b"\xe2\x80\x8b", b"\xd0\xb0", b"\xce\xbf", b" a", b".b", b"\xcc\x81", b"\xef\xbc\xa1", b"0", b"@"),
    ),
    Target(
        "hidden",
        hidden,
        (
            b"<div style='display:none'>a<b>c</b></div>seen<span style=font-size:0>x</span>",
            b"<style>.h{display:none} @media x{.k{display:none}}</style><p class=h>a<p class=k>b",
            b"<td bgcolor=white><font color=#fefefe>a</font><p hidden>x",
            b"\xfd<div style='display:none'>\xfe\x20a",
            b"\xfd<p style='font-size:0'>\xfe\x20a",
            b"\xfd<font color=white>\xfe\x20a",
            b"<style>\xfd@media{\xfe\x40",
            b"<style>\xfd.a{display:none}\xfe\x40",
        ),
        tokens=(
            b"<div style='",
            b"display:none",
            b"font-size:0",
            b"color:white",
            b"<style>",
            b"</style>",
            b"@media",
            b"hidden",
            b"<font color=",
        ),
    ),
    Target(
        "html-check",
        html_check,
        (
            b"\x00<form><input type=password value='a@b.c'></form><a href='https://a.test/?u=https://b.test'>www.c.test</a>",
            b"\x01<script>location='https://x';eval(atob('QUJD'))</script>",
            b"\x02<svg onload=x()><foreignObject><a xlink:href='https://x'>",
            b"\x03BEGIN:VCALENDAR\r\nORGANIZER:mailto:a@c.test\r\nURL:https://x.test/\r\n y",
            b"\x04BEGIN:VCARD\r\nURL:https://x.test/\r\n",
            b"\x00\xfd<input \xfe\x40",
            b"\x01\xfdQUJD\xfe\x40<script>",
            b"\x03ORGANIZER\xfda@\xfe\x40",
        ),
        tokens=(b"<input ", b"<script>", b"<a href='https://", b"</a>", b"<base href=", b"data:text/html", b"@", b"<svg", b"ORGANIZER:"),
    ),
)  # fmt: skip
