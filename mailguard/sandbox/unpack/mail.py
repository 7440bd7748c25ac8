"""Mails within files: .eml, web archives (.mht), an mbox of one mail. Their parts become files; their texts' links are handed on."""

from __future__ import annotations

from mailguard.message.message import Defect, Part
from mailguard.message.parse import parse
from mailguard.message.secured import secured
from mailguard.sandbox.unpack.office_flat import active_mime
from mailguard.sandbox.unpack.page import BODY
from mailguard.sandbox.unpack.work import File, Work

LINKS = 100


def open_mail(file: File, work: Work) -> None:
    """See openers.Opener."""
    message = parse(file.raw)
    for symbol, evidence in secured(message):
        work.found(file, symbol, evidence)
    if Defect.TOO_DEEP in message.defects:
        work.found(file, "UNPACK_TOO_DEEP", "parts of a mail within each other")
    if Defect.TOO_MANY_PARTS in message.defects:
        work.found(file, "UNPACK_TOO_MANY", f"{len(message.parts)} parts of a mail, and more")
    for link in message.links[:LINKS]:
        work.link(file, link.url)
    for number, part in enumerate(message.parts):
        if not part.container and part.encoded_size:
            _part(part, number, file, work)


def prepare() -> None:
    """Read a little mail."""
    raw = (
        b"Subject: =?utf-8?q?=C3=A4?=\nContent-Type: text/html; charset=iso-8859-1\n\n<a href='http://a.example'>a</a>"
    )
    file = File("a.eml", raw, "message/rfc822", depth=1)
    open_mail(file, Work(file))


def _part(part: Part, number: int, file: File, work: Work) -> None:
    if part.is_text and not part.names and part.content_type == "text/plain":
        return  # what it says is not a file; its links are told already
    most = work.may_hold(file, -1)
    raw = part.decoded(most + 1)
    if len(raw) > most:
        work.may_hold(file, len(raw))
    html = part.is_text and not part.names and part.content_type == "text/html"
    name = part.filename or part.content_id or ("text.html" if html else f"part {number}")
    body = html and "related" not in file.declared
    # Word keeps the macros of a page that it saved in a part of its own form.
    work.add(file, name, active_mime(raw), declared=part.content_type, via=BODY if body else "")
