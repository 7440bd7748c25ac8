"""Attached pages, pictures with code, calendar entries and cards: what in them acts, and where they lead."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailguard.message.page_facts import facts_of_page
from mailguard.message.pages import Page, PageKind
from mailguard.message.parse import Message
from mailguard.net.suffixes import aligned

EVIDENCE = 80

_ORGANISER = re.compile(r"^ORGANIZER[^:\r\n]*:\s*mailto:\S+@([^\s>;,]+)", re.IGNORECASE | re.MULTILINE)
_METHOD = re.compile(r"^METHOD:\s*(\w+)", re.IGNORECASE | re.MULTILINE)


def page_facts(message: Message) -> Iterator[tuple[str, str]]:
    """(symbol, evidence) for all attached pages."""
    for page in message.pages:
        if page.kind in (PageKind.HTML, PageKind.SVG):
            yield from facts_of_page(page)
        elif page.kind is PageKind.CALENDAR:
            yield from _calendar(page, message)
        elif page.rendered.links:
            yield "CARD_LINK", page.rendered.links[0].url[:EVIDENCE]


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
