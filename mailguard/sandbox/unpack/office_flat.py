"""Office documents in one text: Word and Excel 2003 XML, packages written flat (pkg:package), and pages saved by Word (MHT)."""

from __future__ import annotations

import base64
import re
import zlib
from html import unescape

from mailguard.sandbox.unpack.dde import report_cells, report_dde
from mailguard.sandbox.unpack.office_xml import as_text, report_relation, report_xml
from mailguard.sandbox.unpack.work import File, Work

_PART = re.compile(r"<pkg:part\b[^>]{0,400}?pkg:name=\"([^\"]{1,300})\"[^>]{0,400}>\s*<pkg:binaryData>([^<]*)<")
_BINARY = re.compile(r"<w:binData\b[^>]{0,300}?w:name=\"([^\"]{1,300})\"[^>]{0,200}>([^<]*)<")
_RELATION = re.compile(r"<(?:\w+:)?Relationship\b([^<>]{0,8192})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\b(\w+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_LINKED = re.compile(r"<(?:\w+:)?Path>([^<|]{1,200}\|[^<]{1,2000})<")
_FORMULA = re.compile(r"\bFormula=\"([^\"]{1,4096})\"")


def open_flat(file: File, work: Work) -> None:
    """Look into a document in XML."""
    text = as_text(file.raw)
    report_xml(file, work, text)
    _excel(file, work, text)
    for match in _RELATION.finditer(text):
        one = {key.lower(): unescape(first or second) for key, first, second in _ATTRIBUTE.findall(match[1])}
        report_relation(file, work, one.get("type", ""), one.get("target", ""), one.get("targetmode", ""))
    for pattern in (_PART, _BINARY):
        for match in pattern.finditer(text):
            name = match[1].rsplit("/", 1)[-1]
            if re.search(r"\.(?:png|jpe?g|gif|emf|wmf|bmp|tiff?)$", name, re.IGNORECASE):
                continue
            work.may_hold(file, len(match[2]) * 3 // 4)
            raw = base64.b64decode("".join(match[2].split()) + "==")
            work.add(file, name, active_mime(raw))


def active_mime(raw: bytes) -> bytes:
    """What an ActiveMime file holds (the macros of a document in XML or MHT): compressed, somewhere after its header."""
    if not raw.startswith(b"ActiveMime"):
        return raw
    at = raw.find(b"\x78", 10)
    while 0 <= at < 4096:
        try:
            return zlib.decompressobj().decompress(raw[at:], 32 * 1024 * 1024)
        except zlib.error:
            at = raw.find(b"\x78", at + 1)
    return raw


def _excel(file: File, work: Work, text: str) -> None:
    """Formulas of DDE: `=cmd|'/c calc'!A0` in cells, and links to programs (SupBook with a topic)."""
    for match in _FORMULA.finditer(text):
        report_cells(file, work, unescape(match[1]))
    for match in _LINKED.finditer(text):
        program, _, topic = unescape(match[1]).partition("|")
        report_dde(file, work, program, topic)
