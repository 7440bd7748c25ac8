"""URLs as a browser would read them (WHATWG URL), and the hosts they lead to in one form for look-ups."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import unquote

import idna

URL_LIMIT = 2_048
"""Characters of a URL that are kept."""

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*):")
_IGNORED = re.compile(r"[\t\r\n]")
_OUTER = "".join(map(chr, range(33)))
_AUTHORITY_END = re.compile(r"[/?#]")
_HOST = re.compile(r"^[a-z0-9_](?:[a-z0-9._\-]{0,252})$")
_NUMBER = re.compile(r"^(?:0x[0-9a-f]*|[0-9]+)$")
_WITH_HOST = frozenset({"http", "https", "ftp", "ws", "wss"})
_URL_END = re.compile(r"[\s<>\"'`^{}|\x00-\x1f]")
_TRAILING = ".,;:!?)]}>*_"


class Link(NamedTuple):
    """A URL, its host (lower case, A-labels; empty when it has none) and the text shown for it."""

    url: str
    host: str
    text: str = ""


def link_of(href: str, text: str = "") -> Link | None:
    """The link that an `href` makes, or None when it leads nowhere by itself (relative, or a fragment)."""
    url = href.strip(_OUTER)
    if "\n" in url or "\r" in url or "\t" in url:
        url = _IGNORED.sub("", url)
    url = url[:URL_LIMIT]
    if url.startswith("//"):
        url = "http:" + url
    match = _SCHEME.match(url)
    if match is None:
        return None
    scheme = match[1].lower()
    return Link(url, host_of(url[match.end() :]) if scheme in _WITH_HOST else "", text)


def host_of(rest: str) -> str:
    """The host in what follows `scheme:`, in lower case as A-labels; addresses in their usual form; empty when there is none."""
    rest = rest.replace("\\", "/").lstrip("/")
    end = _AUTHORITY_END.search(rest)
    authority = (rest[: end.start()] if end else rest).rpartition("@")[2]
    if authority.startswith("["):
        try:
            return str(IPv6Address(authority[1:].partition("]")[0]))
        except AddressValueError:
            return ""
    host = authority.partition(":")[0]
    if "%" in host:
        host = unquote(host)
    host = host.rstrip(".").lower()
    if not host.isascii():
        host = _a_labels(host)
    if not _HOST.match(host):
        return ""
    last = host.rpartition(".")[2]
    return _ipv4(host) if _NUMBER.match(last) else host


def _a_labels(host: str) -> str:
    try:
        return idna.encode(host[:255], uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError, ValueError, IndexError):
        return ""


def _ipv4(host: str) -> str:
    """A host that ends in a number is an IPv4 address, in one of its hiding forms perhaps (WHATWG URL §3.5)."""
    parts = host.split(".")
    numbers: list[int] = []
    for part in parts:
        try:
            if part.startswith("0x"):
                numbers.append(int(part[2:] or "0", 16))
            else:
                numbers.append(int(part, 8 if len(part) > 1 and part.startswith("0") else 10))
        except ValueError:
            return ""
    if len(numbers) > 4 or any(number > 255 for number in numbers[:-1]):
        return ""
    value = numbers[-1]
    if value >= 256 ** (5 - len(numbers)):
        return ""
    for i, number in enumerate(numbers[:-1]):
        value += number * 256 ** (3 - i)
    return str(IPv4Address(value))


def links_of_text(text: str, *, limit: int = 500) -> list[Link]:
    """The URLs that stand in plain text, `www.` names among them, at most `limit`, each once."""
    found: dict[str, Link] = {}
    for start, end in _spans(text):
        url = text[start:end]
        # Brackets around a URL are the sentence's, unless they are balanced within it.
        while url and url[-1] in _TRAILING and not (url[-1] == ")" and url.count("(") >= url.count(")")):
            url = url[:-1]
        link = link_of(url if "://" in url[:8] else "http://" + url)
        if link and link.host and link.url not in found:
            found[link.url] = link
            if len(found) >= limit:
                break
    return list(found.values())


def _spans(text: str) -> list[tuple[int, int]]:
    """Where URLs lie. Searching for the fixed strings is tens of times faster than a pattern that begins with a choice."""
    spans: list[tuple[int, int]] = []
    at = text.find("://")
    while at >= 0 and len(spans) < 5_000:
        before = text[max(0, at - 5) : at].lower()
        length = 5 if before.endswith("https") else 4 if before.endswith("http") else 3 if before.endswith("ftp") else 0
        end = at + 3
        if length:
            end = _end_of_url(text, at + 3)
            spans.append((at - length, end))
        at = text.find("://", end)
    lower = text.lower() if "www." in text or "WWW." in text else ""
    at = lower.find("www.") if len(lower) == len(text) else -1
    while at >= 0 and len(spans) < 5_000:
        end = at + 4
        if at == 0 or not (text[at - 1].isalnum() or text[at - 1] in "@./-_"):
            end = _end_of_url(text, at + 4)
            spans.append((at, end))
        at = lower.find("www.", end)
    return spans


def _end_of_url(text: str, at: int) -> int:
    match = _URL_END.search(text, at, at + URL_LIMIT)
    return match.start() if match else min(len(text), at + URL_LIMIT)
