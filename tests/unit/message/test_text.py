"""HTML to text and links, and URLs as a browser reads them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.message.text import links_of_text, render_html
from mailguard.message.urls import link_of


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("a<br>b<BR/>c", "a\nb\nc"),
        ("wo<b>rd</b> and <i>mo</i>re", "word and more"),
        ("<td>a</td><td>b</td>", "a\nb"),
        ("&lt;tag&gt; &amp; &eacute;&#233;&nbsp;x", "<tag> & éé x"),
        ("<style>p{}</style><script>alert(1)</script>seen", "seen"),
        ("<head><title>T</title></head><body>B</body>", "B"),
        ("  many \t\n spaces  ", "many\nspaces"),
        ("<!-- hidden -->shown", "shown"),
        ("not html at all", "not html at all"),
        ("<p>open <a href='x", "open"),
        ("", ""),
    ],
)
def test_text(source: str, text: str) -> None:
    assert render_html(source).text == text


def test_links_have_their_text() -> None:
    source = "<a href=' https://A.example/x?a=1&amp;b=2\n'>Click <b>here</b></a><a href='#top'>up</a><a href=/rel>r</a><area href=http://b.example>"
    links = render_html(source).links
    assert [(link.url, link.host, link.text) for link in links] == [
        ("https://A.example/x?a=1&b=2", "a.example", "Click here"),
        ("http://b.example", "b.example", ""),
    ]


@pytest.mark.parametrize(
    "source", ["<div>" * 5_000 + "deep <a href='http://a.example/'>x</a>", "<i " + "a " * 9_000 + ">deep"]
)
def test_what_is_too_costly_is_read_by_patterns(source: str) -> None:
    unique = source.replace("a a", "a b", 1) if source.startswith("<i") else source
    rendered = render_html(unique)
    assert not rendered.complete
    assert "deep" in rendered.text
    if "href" in source:
        assert [link.host for link in rendered.links] == ["a.example"]


def test_large_but_honest_html_is_parsed() -> None:
    row = "<tr><td style='color: red; a: b'><img src='cid:x'><br>cell</td></tr>"
    rendered = render_html("<table>" + row * 3_000 + "</table>")
    assert rendered.complete
    assert rendered.text.count("cell") == 3_000


@pytest.mark.parametrize(
    ("href", "host"),
    [
        ("https://Example.COM./x", "example.com"),
        ("http:\\\\evil.example\\x", "evil.example"),
        ("http:evil.example", "evil.example"),
        ("ht\ntp://evil.exa\tmple/", "evil.example"),
        ("//evil.example/x", "evil.example"),
        ("https://bank.example@evil.example/", "evil.example"),
        ("https://user:pw@evil.example:8080/", "evil.example"),
        ("https://b%61nk.example/", "bank.example"),
        ("https://пример.example/", "xn--e1afmkfd.example"),
        ("https://ＥＸＡＭＰＬＥ.example/", "example.example"),
        ("http://3221225985/", "192.0.2.1"),
        ("http://0xC0000201/", "192.0.2.1"),
        ("http://0300.0.2.1/", "192.0.2.1"),
        ("http://192.0.513/", "192.0.2.1"),
        ("http://[2001:DB8::1]:80/", "2001:db8::1"),
        ("http://1.2.3.4.5/", ""),
        ("http://[bad/", ""),
        ("http://" + "a" * 300 + "/", ""),
        ("http://", ""),
        ("mailto:a@b.example", ""),
        ("javascript:alert(1)", ""),
    ],
)
def test_hosts(href: str, host: str) -> None:
    link = link_of(href)
    assert link is not None
    assert link.host == host


def test_what_leads_nowhere_is_no_link() -> None:
    assert [link_of(href) for href in ("#top", "page.html", "", "  ", "?x=1")] == [None] * 5


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see https://a.example/x.", ["https://a.example/x"]),
        ("(http://a.example/x_(y)) and <http://b.example>", ["http://a.example/x_(y)", "http://b.example"]),
        ("HTTP://A.EXAMPLE and www.b.example/c, ok", ["HTTP://A.EXAMPLE", "http://www.b.example/c"]),
        ("http://a.example http://a.example", ["http://a.example"]),
        ("mailto:x@www.example.com x.www.example.com", []),
        ("foo://bar git+ssh://x", []),
        ("no links", []),
    ],
)
def test_urls_in_plain_text(text: str, urls: list[str]) -> None:
    assert [link.url for link in links_of_text(text)] == urls


@settings(max_examples=300, deadline=None)
@given(st.text("<>/='\" abp!-&;#:.@%[]\\hreftps\n\0é", max_size=200))
def test_nothing_raises(text: str) -> None:
    render_html(text)
    links_of_text(text)
    link_of(text)
    link_of("http://" + text)
