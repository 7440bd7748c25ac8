"""What acts in a page or picture that opens as a file: the facts by the names of their symbols. Pure; nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailguard.message.active import Active, active_content, is_smuggling
from mailguard.message.entities import swells
from mailguard.message.hidden_facts import hidden_text
from mailguard.message.pages import Page, PageKind

EVIDENCE = 80
ENCODED_RUN = 3_000
"""Characters of base64 or hexadecimal in one piece that no page of text has."""

_ENCODED = re.compile(r"[A-Za-z0-9+/%\\]++")
_DATA_URL = re.compile(r"data:[a-z]+/[a-z0-9.+\-]+;base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)

_OF_PAGE: dict[Active, str] = {
    Active.FORM: "PAGE_FORM",
    Active.PASSWORD: "PAGE_PASSWORD",
    Active.CARD: "PAGE_CARD",
    Active.PREFILLED: "PAGE_PREFILLED",
    Active.SCRIPT: "PAGE_SCRIPT",
    Active.HANDLER: "PAGE_SCRIPT",
    Active.REMOTE_SCRIPT: "PAGE_REMOTE_SCRIPT",
    Active.FRAME: "PAGE_FRAME",
    Active.REFRESH: "PAGE_REDIRECT",
    Active.LOCATION: "PAGE_REDIRECT",
    Active.BASE: "PAGE_BASE",
    Active.SCRIPT_URL: "PAGE_SCRIPT_URL",
    Active.DATA_PAGE: "PAGE_DATA_PAGE",
}
_OF_PICTURE: dict[Active, str] = {
    Active.SCRIPT: "SVG_SCRIPT",
    Active.REMOTE_SCRIPT: "SVG_SCRIPT",
    Active.HANDLER: "SVG_SCRIPT",
    Active.SCRIPT_URL: "SVG_SCRIPT",
    Active.FOREIGN_OBJECT: "SVG_FOREIGN_OBJECT",
    Active.FRAME: "SVG_FOREIGN_OBJECT",
    Active.LINK: "SVG_LINK",
    Active.FORM: "SVG_FORM",
    Active.PASSWORD: "SVG_FORM",
}


def facts_of_page(page: Page) -> Iterator[tuple[str, str]]:
    """(symbol, evidence) for an HTML page or an SVG picture."""
    found = active_content(page.source)
    table = _OF_PAGE if page.kind is PageKind.HTML else _OF_PICTURE
    name = page.name or page.kind.value
    for kind, symbol in table.items():
        if kind in found:
            yield symbol, f"{name}: {found[kind]}"
    if page.kind is PageKind.SVG and (entity := swells(page.source)):
        yield "SVG_SWELLS", f"{name}: entity {entity}"
    if is_smuggling(found):
        kinds = (Active.MAKES_FILE, Active.DECODES, Active.RUNS_TEXT, Active.DOWNLOAD)
        yield "PAGE_SMUGGLING", f"{name}: {', '.join(found[kind] for kind in kinds if kind in found)}"[: 2 * EVIDENCE]
    if (Active.SCRIPT in found or Active.HANDLER in found) and has_encoded(page.source):
        yield "PAGE_ENCODED", f"{name}: over {ENCODED_RUN} characters of encoded data"
    for symbol, evidence in hidden_text(page.rendered):
        if symbol in ("HIDDEN_TEXT_MOSTLY", "HIDDEN_WITHIN_WORDS"):
            yield symbol, f"{name}: {evidence}"
    text = page.rendered.visible
    if page.kind is PageKind.HTML and len(text) < 20 and Active.SCRIPT in found:
        yield "PAGE_NOTHING_TO_READ", f"{name}: {len(text)} characters of text"


def has_encoded(source: str) -> bool:
    """Whether there is a long run of encoded data apart from pictures that stand in the page."""
    if len(source) < ENCODED_RUN:
        return False
    return any(len(match[0]) >= ENCODED_RUN for match in _ENCODED.finditer(_DATA_URL.sub("", source)))
