"""What the links in files say, as symbols: links of PDFs, pages, documents, cards and mails that lie in attached files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mailguard.checks.link_facts import LinkFact, facts_of
from mailguard.core.verdict import Symbol
from mailguard.message.urls import Link

EVIDENCE_LIMIT = 5
EVIDENCE = 200
"""Characters of a URL in evidence."""
LINKS = 500
"""Links of a mail's files that are judged."""

SYMBOLS: Mapping[str, tuple[float, str]] = {
    "FILE_LINK_ADDRESS": (1.5, "a link in a file leads to an address in place of a name"),
    "FILE_LINK_USERINFO": (2.0, "a link in a file carries a user name that passes for its host"),
    "FILE_LINK_PREFILLED": (0.7, "a link in a file carries somebody's mail address"),
    "FILE_LINK_REDIRECTOR": (0.7, "a link in a file uses a site to lead to another one"),
    "FILE_LINK_SHORTENER": (0.7, "a link in a file goes through a shortener"),
    "FILE_LINK_PUNYCODE": (0.5, "a link in a file leads to a name with letters outside ASCII"),
    "FILE_LINK_ANYBODY": (0.3, "a link in a file leads to a page or file that anybody can have there"),
}
"""Symbols with their default points, and what they mean."""

_NAMES: Mapping[LinkFact, str] = {
    LinkFact.ADDRESS: "FILE_LINK_ADDRESS",
    LinkFact.USER: "FILE_LINK_USERINFO",
    LinkFact.PREFILLED: "FILE_LINK_PREFILLED",
    LinkFact.DETOUR: "FILE_LINK_REDIRECTOR",
    LinkFact.SHORTENER: "FILE_LINK_SHORTENER",
    LinkFact.FOREIGN_LETTERS: "FILE_LINK_PUNYCODE",
    LinkFact.ANYBODY: "FILE_LINK_ANYBODY",
}


def link_symbols(links: Iterable[tuple[str, Link]]) -> tuple[Symbol, ...]:
    """The symbols of SYMBOLS for (path of a file, link in it), of the first LINKS different links."""
    found: dict[str, list[str]] = {}
    first: dict[str, tuple[str, Link]] = {}
    for path, link in links:
        if link.host and len(first) < LINKS:
            first.setdefault(link.url, (path, link))
    for path, link in first.values():
        for fact in facts_of(link):
            evidence = found.setdefault(_NAMES[fact], [])
            if len(evidence) < EVIDENCE_LIMIT:
                evidence.append(f"{link.url[:EVIDENCE]} ({path})")
    return tuple(Symbol(name, *SYMBOLS[name], tuple(found[name])) for name in SYMBOLS if name in found)
