"""HTML and plain text to what a reader meets: text, links, hosts; within caps, and soon."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from mailguard.message.text import LINK_LIMIT, LINK_TEXT_LIMIT, render_html
from mailguard.message.urls import URL_LIMIT, Link, host_of, link_of, links_of_text
from tests.fuzz.target import Input, Target

_HOST = re.compile(r"[a-z0-9_][a-z0-9._-]{0,252}")


def _link(link: Link) -> None:
    assert len(link.url) <= URL_LIMIT + len("http:")
    assert len(link.text) <= LINK_TEXT_LIMIT
    assert not set(link.url) & set("\r\n\t")
    _host(link.host)


def _host(host: str) -> None:
    assert not host or _HOST.fullmatch(host) or IPv6Address(host)


def html(data: bytes) -> None:
    """A page."""
    source = Input(data).long_rest().decode("utf-8", "replace")
    rendered = render_html(source)
    assert len(rendered.links) <= LINK_LIMIT
    for link in rendered.links:
        _link(link)
    assert not any(line != line.strip() or not line for line in rendered.text.split("\n")) or not rendered.text
    assert len(rendered.text) <= 3 * len(source) + 100


def urls(data: bytes) -> None:
    """A text with URLs, and an href."""
    text = Input(data).long_rest().decode("utf-8", "replace")
    found = links_of_text(text, limit=50)
    assert len(found) <= 50
    assert len({link.url for link in found}) == len(found)
    for link in found:
        assert link.host
        _link(link)
    href = link_of(text)
    if href is not None:
        _link(href)
    _host(host_of(text))


TARGETS = (
    Target(
        "html",
        html,
        (
            b"<html><head><title>t</title><style>x</style></head><body><p>Hi <a href='http://a.test/x'>b</a></p></body>",
            b'<a href="http://u:p@xn--a.test:80/">x</a><form action=//b.test><area href=javascript:x>',
            b"<!-- c --><script>s</script><template>t</template>&amp;&#x41;&nbsp;<![CDATA[x]]>",
            b"\xfd<div>\xfe\x30text",
            b"\xfd<b \xfe\x40>",
            b"<p \xfda=b \xfe\x30>x",
            b"\xfd<a href=http://a.test/\xfe\x40",
            b"\xfd<!--\xfe\x60",
            b"\xfd<table><tr><td>\xfe\x20<a href='http://a.test'>z",
            b"\xfd<\xfe\x80",
            b"<a href='\xfdx\xfe\x80",
            b"\xfd&#x1F600;\xfe\x30",
        ),
        tokens=(
            b"<a href=",
            b"</a>",
            b"<script>",
            b"<style>",
            b"<!--",
            b"-->",
            b"<svg>",
            b"<math>",
            b"<table>",
            b"&#x",
        ),
    ),
    Target(
        "urls",
        urls,
        (
            b"see http://a.test/x?y=(z), https://B.test. www.c.test and ftp://d.test",
            b"http://user@1.2.3.4:80/ http://0x7f.1/ http://[::1]/ http://2130706433",
            "http://bücher.test http://a。test http://%65xample.test".encode(),
            b"\xfdhttp://\xfe\x40",
            b"\xfdwww.\xfe\x40",
            b"http://\xfd1.\xfe\x40",
            b"http:\\\\a.test\\x javascript:x //b.test/c",
            b"http://a.test/\xfd)\xfe\x40",
            b"http://[\xfd1:\xfe\x10]/",
        ),
        tokens=(b"http://", b"https://", b"www.", b"ftp://", b"@", b"%", b"0x", b"xn--", b"[", b"]", "。".encode()),
    ),
)
