"""Cards and calendar entries within files: their links, and the files that they carry. RFC 5545 §3.8.1.1, RFC 6350, vCard 2.1."""

from __future__ import annotations

import re

from mailguard.message import transfer
from mailguard.message.pages import PAGE_LIMIT, PageKind, page_of
from mailguard.sandbox.unpack.work import File, Work

LINKS, FILES = 50, 30

_FOLD = re.compile(rb"\r?\n[ \t]+")
_CARRIED = re.compile(
    rb"^(?:[\w-]{1,40}\.)?(ATTACH|PHOTO|LOGO|SOUND|KEY)(?:;[^:\r\n]{0,500})?[;=](?:ENCODING=)?(?:BASE64|B)(?:;[^:\r\n]{0,500})?:\s*([A-Za-z0-9+/=]+)",
    re.IGNORECASE | re.MULTILINE,
)
_DATA = re.compile(
    rb"^(?:[\w-]{1,40}\.)?(ATTACH|PHOTO|LOGO|SOUND|KEY)(?:;[^:\r\n]{0,500})?:data:[^,\r\n]{0,100};base64,([A-Za-z0-9+/=]+)",
    re.IGNORECASE | re.MULTILINE,
)
_NAME = re.compile(rb"(?:X-FILENAME|FILENAME)=\"?([^\";:\r\n]{1,255})", re.IGNORECASE)


def open_card(file: File, work: Work) -> None:
    """See openers.Opener."""
    calendar = file.kind == "text/calendar"
    if file.depth:
        page = page_of(file.name, PageKind.CALENDAR if calendar else PageKind.CARD, file.raw[:PAGE_LIMIT], "")
        for link in page.rendered.links[:LINKS]:
            work.link(file, link.url)
    unfolded = _FOLD.sub(b"", file.raw)
    number = 0
    for pattern in (_CARRIED, _DATA):
        for match in pattern.finditer(unfolded):
            number += 1
            if number > FILES:
                work.found(file, "UNPACK_TOO_MANY", f"more than {FILES} files in a card")
                return
            named = _NAME.search(match[0][:2_000].partition(b":")[0])
            name = named[1].decode("utf-8", "replace") if named else f"{match[1].decode('ascii').lower()} {number}"
            work.add(file, name, transfer.base64_lenient(match[2]), via="base64")


def prepare() -> None:
    """Read a little card."""
    file = File(
        "a.vcf", b"BEGIN:VCARD\nURL:http://a.example\nPHOTO;ENCODING=b:QUJD\nEND:VCARD\n", "text/vcard", depth=1
    )
    open_card(file, Work(file))
