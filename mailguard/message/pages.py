"""Attached files that open as something to read: HTML pages, SVG pictures, calendar entries, cards. Bounded, never run."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from enum import StrEnum

from mailguard.core.lazy import lazy_property
from mailguard.message.charset import decode_text
from mailguard.message.text import Rendered, links_of_text, render_html

PAGE_LIMIT = 256 * 1024
"""Octets of one file that are looked into."""
PAGES_LIMIT = 5
"""Files of one mail that are looked into."""


class PageKind(StrEnum):
    """What an attached file opens as."""

    HTML = "html"
    SVG = "svg"
    CALENDAR = "calendar"
    CARD = "card"


_TYPES = {
    "text/html": PageKind.HTML,
    "application/xhtml+xml": PageKind.HTML,
    "text/x-html": PageKind.HTML,
    "image/svg+xml": PageKind.SVG,
    "image/svg": PageKind.SVG,
    "text/calendar": PageKind.CALENDAR,
    "application/ics": PageKind.CALENDAR,
    "text/vcard": PageKind.CARD,
    "text/x-vcard": PageKind.CARD,
}
_EXTENSIONS = {
    "htm": PageKind.HTML,
    "html": PageKind.HTML,
    "shtml": PageKind.HTML,
    "shtm": PageKind.HTML,
    "xhtml": PageKind.HTML,
    "xht": PageKind.HTML,
    "hta": PageKind.HTML,
    "mht": PageKind.HTML,
    "mhtml": PageKind.HTML,
    "svg": PageKind.SVG,
    "ics": PageKind.CALENDAR,
    "vcs": PageKind.CALENDAR,
    "vcf": PageKind.CARD,
}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_FOLD = re.compile(r"\r?\n[ \t]")
_ESCAPES = {"\\n": "\n", "\\N": "\n", "\\,": ",", "\\;": ";", "\\\\": "\\"}
_ESCAPE = re.compile(r"\\[nN,;\\]")


@dataclass(frozen=True, eq=False)
class Page:
    """One file. Not slotted: what is worked out lazily is kept."""

    name: str
    kind: PageKind
    source: str
    """Its text; of a calendar or card unfolded (RFC 5545 §3.1)."""

    @lazy_property
    def rendered(self) -> Rendered:
        """Its text and links as a reader meets them."""
        if self.kind in (PageKind.HTML, PageKind.SVG):
            return render_html(self.source)
        text = _ESCAPE.sub(lambda match: _ESCAPES[match[0]], self.source)
        return Rendered(text, tuple(links_of_text(text, limit=100)), visible=text)


def kind_of(content_type: str, names: tuple[str, ...]) -> PageKind | None:
    """What a file opens as, by any of its names or its declared type; None for all others."""
    for name in names:
        kind = _EXTENSIONS.get(name.rstrip(". ").rpartition(".")[2].lower())
        if kind:
            return kind
    return _TYPES.get(content_type)


def page_of(name: str, kind: PageKind, data: bytes, charset: str) -> Page:
    """A page from its octets (at most PAGE_LIMIT count)."""
    data = data[:PAGE_LIMIT]
    for mark, by_mark in _BOMS:
        if data.startswith(mark):
            data, charset = data[len(mark) :], by_mark
            break
    source = decode_text(data, charset)
    return Page(name, kind, source if kind in (PageKind.HTML, PageKind.SVG) else _FOLD.sub("", source))
