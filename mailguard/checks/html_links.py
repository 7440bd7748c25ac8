"""Links by themselves and by their text: whether the text names another place than the link leads to, and detours by parameter."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote

from mailguard.message.parse import Message
from mailguard.message.urls import Link, host_of
from mailguard.net.suffixes import organisation_of

LINK_LIMIT = 200
"""Links of a mail that are looked at."""
EVIDENCE = 120

_URL_TEXT = re.compile(r"(?:https?://|www\.)[^\s/?#]+\.[^\s]*", re.IGNORECASE)
_DOMAIN_TEXT = re.compile(
    r"(?:[a-z0-9\-]{1,63}\.){1,4}(?:com|org|net|edu|gov|mil|int|info|biz|io|app|co|us|uk|de|fr|it|es|nl|be|ch|at|pl|ru|br|pt"
    r"|mx|ca|au|nz|jp|cn|in|za|se|no|dk|fi|ie|cz|tr|gr|hu|ro|eu|shop|online|site|store|cloud|bank)(?:/\S*)?",
    re.IGNORECASE,
)
_ADDRESS_TEXT = re.compile(r"[a-z0-9._%+\-]+@(?:[a-z0-9\-]+\.)+[a-z]{2,}", re.IGNORECASE)
_PARAMETER_URL = re.compile(r"[?&#=/](?:https?(?::|%3A)(?:/|%2F){2})([^/?#&%\s\"']+)", re.IGNORECASE)
_TRACKING_SHARE = 0.5
"""Share of a mail's links that go through one organisation from which on that is how its sender counts clicks."""


@lru_cache(maxsize=4_096)
def _organisation(host: str) -> str:
    return organisation_of(host) or host


def link_facts(message: Message) -> Iterator[tuple[str, str]]:
    """(symbol, evidence) for the links of a mail."""
    links = message.links[:LINK_LIMIT]
    for link in links:
        if link.host:
            yield from _detour(link)
    with_text = [
        link for link in links if link.text and ("." in link.text or "@" in link.text) and len(link.text) < 250
    ]
    if with_text:
        yield from _texts(with_text, _trackers(links, message))
    yield from _one_target(links, message)


def _detour(link: Link) -> Iterator[tuple[str, str]]:
    """A whole URL of another organisation within a URL."""
    if "http" not in link.url[8:].lower():
        return
    match = _PARAMETER_URL.search(link.url, 8)
    if match:
        inner = host_of(unquote(match[1]))
        if inner and "." in inner and _organisation(inner) != _organisation(link.host):
            yield "URL_LEADS_ON", link.url[:EVIDENCE]


def _trackers(links: Sequence[Link], message: Message) -> frozenset[str]:
    """The organisations through which the sender of a mail sends all its readers: its own, and who counts clicks for it."""
    hosts = Counter(_organisation(link.host) for link in links if link.host)
    total = sum(hosts.values())
    own = {_organisation(address.rpartition("@")[2].lower()) for address in message.from_addresses}
    return frozenset(own | {name for name, count in hosts.items() if count >= 3 and count >= _TRACKING_SHARE * total})


def _texts(links: Sequence[Link], trackers: frozenset[str]) -> Iterator[tuple[str, str]]:
    for link in links:
        shown = _named(link.text)
        if not shown:
            continue
        if not link.host:
            continue
        evidence = f"{link.text[:60]} leads to {link.host}"
        if "@" in shown:
            yield "LINK_TEXT_ADDRESS", evidence
        elif shown == link.host or _organisation(shown) == _organisation(link.host):
            yield "LINK_TEXT_TRUE", evidence
            if link.text.startswith("https:") and link.url.startswith("http:"):
                yield "LINK_TEXT_SECURE_ONLY", evidence
        elif _organisation(link.host) in trackers or _organisation(shown) in unquote(link.url):
            yield "LINK_TEXT_TRACKED", evidence
        else:
            yield "LINK_TEXT_ELSEWHERE", evidence


def _named(text: str) -> str:
    """The host, or the whole mail address, that a link's text names; empty when it names none."""
    text = text.strip(" \t\u200b<>()[]\"'.")
    if _ADDRESS_TEXT.fullmatch(text):
        return text.lower()
    if _URL_TEXT.fullmatch(text):
        return host_of(text.partition("://")[2] or text).removeprefix("www.")
    if _DOMAIN_TEXT.fullmatch(text):
        return host_of(text).removeprefix("www.")
    return ""


def _one_target(links: Sequence[Link], message: Message) -> Iterator[tuple[str, str]]:
    """All of several links of HTML lead to one place; or a picture is the whole mail."""
    hosts = [link.host for link in message.rendered.links if link.host]
    if not hosts:
        return
    if len(hosts) == 1 and len(links) == 1:
        yield "LINK_SINGLE", links[0].url[:EVIDENCE]
