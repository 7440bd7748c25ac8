"""What is suspicious about a link by itself, wherever it was found: in a code or in a file. Of a mail's own links the rules tell."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from enum import Enum, auto
from urllib.parse import unquote

from mailguard.checks.identity_data import organisation, senders
from mailguard.message.urls import Link, link_of

_ADDRESS = re.compile(r"[a-z0-9._%+\-]{1,64}@(?:[a-z0-9\-]{1,63}\.){1,5}[a-z]{2,24}", re.IGNORECASE)
_ENCODED = re.compile(r"[A-Za-z0-9+_\-]{12,400}={0,2}")
_USER = re.compile(r"[a-z]+:[/\\]*[^/\\?#@\s]*\.[^/\\?#@\s]*@", re.IGNORECASE)
_PASSED_ON = re.compile(
    r"[?&;](?:adurl|dest(?:_?url|ination)?|redir(?:ect)?(?:_?(?:to|ur[il]))?|goto|return_?(?:to|url)?|returl|continue|next"
    r"|out|target(?:_?url)?|link(?:_?url)?|url|u|q|r|to)=(https?(?::|%3a)(?:/|%2f){2}[^&#\s]+)",
    re.IGNORECASE,
)
_DETOURS = re.compile(
    r"https?://(?:www\.)?(?:google\.[a-z.]{2,6}/(?:url|amp/s)|bing\.com/ck/|lm?\.facebook\.com/l\.php|youtube\.com/redirect"
    r"|l\.instagram\.com/|linkedin\.com/(?:redir|slink)|t\.umblr\.com/redirect|slack-redir\.net/|out\.reddit\.com/|vk\.com/away"
    r"|duckduckgo\.com/l/|r\.search\.yahoo\.com/|baidu\.com/link|steamcommunity\.com/linkfilter|googleads\.g\.doubleclick\.net/)",
    re.IGNORECASE,
)


class LinkFact(Enum):
    """What may be said of a link by itself."""

    ADDRESS = auto()
    """It leads to an address in place of a name."""
    SHORTENER = auto()
    """It goes through a shortener, which hides where it leads."""
    ANYBODY = auto()
    """It leads to a page or file that anybody can have there."""
    FOREIGN_LETTERS = auto()
    """Its host has letters outside ASCII."""
    USER = auto()
    """It carries a user name that passes for its host."""
    PREFILLED = auto()
    """It carries somebody's mail address behind its host."""
    DETOUR = auto()
    """It uses a site to lead to another one."""


def facts_of(link: Link) -> Iterator[LinkFact]:
    """The facts of a link that has a host."""
    host = link.host
    if is_address(host):
        yield LinkFact.ADDRESS
    elif senders().is_kind("shorteners", host):
        yield LinkFact.SHORTENER
    elif senders().is_kind("files", host) or senders().is_kind("pages", host):
        yield LinkFact.ANYBODY
    if host.startswith("xn--") or ".xn--" in host:
        yield LinkFact.FOREIGN_LETTERS
    if _USER.match(link.url):
        yield LinkFact.USER
    if carries_address(link.url):
        yield LinkFact.PREFILLED
    if _leads_elsewhere(link):
        yield LinkFact.DETOUR


def is_address(host: str) -> bool:
    """Whether a host, as links have it, is an IP address."""
    return ":" in host or host.replace(".", "").isdigit()


def carries_address(url: str) -> bool:
    """Whether a URL has a mail address behind its host: as it is, percent-encoded, or in base64."""
    rest = url.partition("://")[2]
    rest = rest[min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest)) :]
    if "@" in (plain := unquote(rest)) and _ADDRESS.search(plain):
        return True
    return any(_ADDRESS.fullmatch(_decoded(match[0])) for match in _ENCODED.finditer(plain))


def _decoded(encoded: str) -> str:
    text = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4)).decode("ascii").strip()
    except (binascii.Error, ValueError):
        return ""


def _leads_elsewhere(link: Link) -> bool:
    """Whether a site is made use of to lead to another: by a known detour, or a whole URL of another firm among what it is given."""
    if _DETOURS.match(link.url):
        return True
    passed = _PASSED_ON.search(link.url)
    target = link_of(unquote(passed[1])) if passed else None
    return target is not None and bool(target.host) and organisation(target.host) != organisation(link.host)
