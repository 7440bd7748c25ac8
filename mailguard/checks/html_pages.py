"""Attached pages, pictures with code, calendar entries and cards: what in them acts, and where they lead."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailguard.checks.html_active import Active, active_content, is_smuggling
from mailguard.checks.html_text import hidden_text
from mailguard.message.pages import Page, PageKind
from mailguard.message.parse import Message
from mailguard.net.suffixes import aligned

EVIDENCE = 80
ENCODED_RUN = 3_000
"""Characters of base64 or hexadecimal in one piece that no page of text has."""

_ENCODED = re.compile(r"[A-Za-z0-9+/%\\]++")
_DATA_URL = re.compile(r"data:[a-z]+/[a-z0-9.+\-]+;base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)
_ORGANISER = re.compile(r"^ORGANIZER[^:\r\n]*:\s*mailto:\S+@([^\s>;,]+)", re.IGNORECASE | re.MULTILINE)
_METHOD = re.compile(r"^METHOD:\s*(\w+)", re.IGNORECASE | re.MULTILINE)

_OF_PAGE: dict[Active, str] = {
    Active.FORM: "PAGE_FORM",
    Active.PASSWORD: "PAGE_PASSWORD",
    Active.CARD: "PAGE_CARD",
    Active.PREFILLED: "PAGE_PREFILLED",
    Active.SCRIPT: "PAGE_SCRIPT",
    Active.HANDLER: "PAGE_SCRIPT",
    Active.FRAME: "PAGE_FRAME",
    Active.REFRESH: "PAGE_REDIRECT",
    Active.LOCATION: "PAGE_REDIRECT",
    Active.BASE: "PAGE_BASE",
    Active.SCRIPT_URL: "PAGE_SCRIPT_URL",
    Active.DATA_PAGE: "PAGE_DATA_PAGE",
}
_OF_PICTURE: dict[Active, str] = {
    Active.SCRIPT: "SVG_SCRIPT",
    Active.HANDLER: "SVG_SCRIPT",
    Active.SCRIPT_URL: "SVG_SCRIPT",
    Active.FOREIGN_OBJECT: "SVG_FOREIGN_OBJECT",
    Active.FRAME: "SVG_FOREIGN_OBJECT",
    Active.LINK: "SVG_LINK",
    Active.FORM: "SVG_FORM",
    Active.PASSWORD: "SVG_FORM",
}


def page_facts(message: Message) -> Iterator[tuple[str, str]]:
    """(symbol, evidence) for all attached pages."""
    for page in message.pages:
        if page.kind in (PageKind.HTML, PageKind.SVG):
            yield from _page(page)
        elif page.kind is PageKind.CALENDAR:
            yield from _calendar(page, message)
        elif page.rendered.links:
            yield "CARD_LINK", page.rendered.links[0].url[:EVIDENCE]


def _page(page: Page) -> Iterator[tuple[str, str]]:
    found = active_content(page.source)
    table = _OF_PAGE if page.kind is PageKind.HTML else _OF_PICTURE
    name = page.name or page.kind.value
    for kind, symbol in table.items():
        if kind in found:
            yield symbol, f"{name}: {found[kind]}"
    if is_smuggling(found):
        kinds = (Active.MAKES_FILE, Active.DECODES, Active.RUNS_TEXT, Active.DOWNLOAD)
        yield "PAGE_SMUGGLING", f"{name}: {', '.join(found[kind] for kind in kinds if kind in found)}"[: 2 * EVIDENCE]
    if (Active.SCRIPT in found or Active.HANDLER in found) and _has_encoded(page.source):
        yield "PAGE_ENCODED", f"{name}: over {ENCODED_RUN} characters of encoded data"
    for symbol, evidence in hidden_text(page.rendered):
        if symbol in ("HIDDEN_TEXT_MOSTLY", "HIDDEN_WITHIN_WORDS"):
            yield symbol, f"{name}: {evidence}"
    text = page.rendered.visible
    if page.kind is PageKind.HTML and len(text) < 20 and Active.SCRIPT in found:
        yield "PAGE_NOTHING_TO_READ", f"{name}: {len(text)} characters of text"


def _has_encoded(source: str) -> bool:
    """Whether there is a long run of encoded data apart from pictures that stand in the page."""
    if len(source) < ENCODED_RUN:
        return False
    return any(len(match[0]) >= ENCODED_RUN for match in _ENCODED.finditer(_DATA_URL.sub("", source)))


def _calendar(page: Page, message: Message) -> Iterator[tuple[str, str]]:
    yield "INVITE", page.name or "calendar entry"
    author = next((address.rpartition("@")[2].lower() for address in message.from_addresses), "")
    match = _ORGANISER.search(page.source)
    organiser = match[1].lower() if match else ""
    if organiser and author and not aligned(organiser, author):
        yield "INVITE_OTHER_ORGANISER", f"organiser at {organiser[:EVIDENCE]}, sent by {author[:EVIDENCE]}"
    method = _METHOD.search(page.source)
    if not organiser and method and method[1].upper() == "REQUEST":
        yield "INVITE_NO_ORGANISER", "METHOD:REQUEST without ORGANIZER"
    for link in page.rendered.links:
        if link.host and not (aligned(link.host, author) or (organiser and aligned(link.host, organiser))):
            yield "INVITE_LINK_ELSEWHERE", link.url[:EVIDENCE]
