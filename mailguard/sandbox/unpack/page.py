"""HTML pages and SVG pictures: what acts in them when they lie within other files, and the files that they hold encoded.

Of attached pages themselves the html check tells what acts; here only what they hold is taken out.
"""

from __future__ import annotations

from mailguard.message.page_facts import facts_of_page
from mailguard.message.pages import PAGE_LIMIT, Page, PageKind, page_of
from mailguard.sandbox.unpack.encoded_runs import hidden_files
from mailguard.sandbox.unpack.kinds import kind_of
from mailguard.sandbox.unpack.work import File, Work

BODY = "body"
"""How the text of a mail came out of it: it is no page that somebody opens."""
FILES = 30
"""Files that are taken out of one page."""
LINKS = 100

_ORDINARY = ("image/", "font/", "text/plain", "application/octet-stream", "application/x-empty", "text/x-base64")


def open_page(file: File, work: Work) -> None:
    """See openers.Opener."""
    if file.depth and file.via != BODY:
        page = page_of(file.name, _form(file), file.raw[:PAGE_LIMIT], "")
        for symbol, evidence in facts_of_page(page):
            work.found(file, symbol, evidence)
        _links(page, file, work)
    most = work.may_hold(file, -1)
    for number, hidden in enumerate(hidden_files(file.raw, limit=most, count=FILES), 1):
        kind = kind_of(hidden.raw)
        if kind.startswith(("image/", "font/")) and kind != "image/svg+xml":
            if file.depth:  # of attached pages, and of the mail's own, the qr check looks at them
                work.picture(file, f"{hidden.how} {number}", hidden.raw)
            continue  # as pages have them
        if kind in ("application/octet-stream", "application/x-empty"):
            continue  # nothing that anybody could open
        if kind == "image/svg+xml" or not kind.startswith(_ORDINARY):
            work.found(file, "PAGE_HIDES_FILE", f"{kind}, {len(hidden.raw)} octets in {hidden.how}")
        work.add(file, f"{hidden.how} {number}", hidden.raw, via=hidden.how)


def prepare() -> None:
    """Look into a little page, so that the parser is loaded."""
    file = File("a.html", b"<html><p style='display:none'>a<script>eval(atob('a'))</script>", "text/html", depth=1)
    open_page(file, Work(file))


def _form(file: File) -> PageKind:
    return PageKind.SVG if file.kind == "image/svg+xml" else PageKind.HTML


def _links(page: Page, file: File, work: Work) -> None:
    for link in page.rendered.links[:LINKS]:
        work.link(file, link.url)
