"""Office documents in zips (docx, xlsm, pptx and their kin, with or without macros; OpenDocument): parts, links and fields.

ECMA-376 Part 2 (relationships); read by their form rather than as XML, as a broken part is read by Office too.
"""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from collections.abc import Iterator
from html import unescape

import olefile

from mailguard.message.attachments import extension
from mailguard.message.entities import swells
from mailguard.message.pictures import LEAST, OCTETS
from mailguard.sandbox.unpack.biff import report_excel4
from mailguard.sandbox.unpack.dde import fields, report_dde, report_field
from mailguard.sandbox.unpack.macros import judge
from mailguard.sandbox.unpack.office_ole import report_project
from mailguard.sandbox.unpack.ole_objects import report_class, report_link
from mailguard.sandbox.unpack.targets import Target, is_program, target_of
from mailguard.sandbox.unpack.vba import project_of
from mailguard.sandbox.unpack.work import File, Work
from mailguard.sandbox.unpack.zip_views import is_odd

PART_LIMIT = 8 * 1024 * 1024
"""Octets of a part of text that are read."""
PARTS = 2_000
"""Parts that are looked at."""

_ENCODINGS = ("cp437", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "ascii", "cp1252")
_RELATION = re.compile(r"<(?:\w+:)?Relationship\b([^<>]{0,8192})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\b(\w+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_FIELD = re.compile(
    r"<(?:\w+:)?fldChar\b[^>]{0,200}?fldCharType\s*=\s*[\"'](begin|separate|end)[\"']"
    r"|<(?:\w+:)?(?:instrText|delInstrText)\b[^>]{0,400}>([^<]{0,8192})<"
    r"|<(?:\w+:)?fldSimple\b[^>]{0,400}?instr\s*=\s*(?:\"([^\"]{0,4096})\"|'([^']{0,4096})')",
)
_DDE_LINK = re.compile(r"<(?:\w+:)?ddeLink\b([^>]{0,4096})>")
_CLASS = re.compile(r"classid\s*=\s*[\"']\{?([0-9A-Fa-f-]{36})", re.IGNORECASE)
_SHEET = re.compile(r"<(?:\w+:)?sheet\b([^>]{0,2048})>")
_DEFINED = re.compile(r"<(?:\w+:)?definedName\b[^>]{0,1024}?name\s*=\s*[\"']([^\"']{1,255})[\"']", re.IGNORECASE)
_FORMULA = re.compile(r"<(?:\w+:)?f\b[^>]{0,400}>([^<]{1,8192})<")
_ENTRY = re.compile(r"auto_?(?:open|close|activate|deactivate)", re.IGNORECASE)
_REACH = re.compile(
    r"\b(EXEC|CALL|REGISTER(?:\.ID)?|FWRITE(?:LN)?|URLDownloadTo\w{1,12}|ShellExecute\w?)\b", re.IGNORECASE
)
_ON_LOAD = re.compile(r"\bonLoad\s*=\s*[\"']([^\"']{1,200})[\"']", re.IGNORECASE)
_PICTURES = frozenset(["png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "emf", "wmf", "wdp", "svg", "ico"])
_OWN = frozenset(
    {
        *("", "bin", "dat", "data", "fntdata", "odttf", "psdcxml", "psdsor", "psdsxs", "psmdcp", "pcf", "sigs"),
        *("rdf", "glox", "thmx", "ttf", "otf", "webp", "jfif", "svm", "wmz", "emz", "jxr", "json", "css", "xsd", "dtd"),
    }
)
"""Endings of what else documents have of their own."""
_DECODED = frozenset(["png", "jpg", "jpeg", "gif", "bmp", "webp"])
_SCRIPT = re.compile(r"<script:(?:event-listener|module)\b[^>]{0,1024}", re.IGNORECASE)
_ODF_LINK = re.compile(
    r"<(draw:(?:object|object-ole|floating-frame|plugin|applet))\b[^>]{0,2048}?xlink:href\s*=\s*\"([^\"]{1,2048})\""
)


_MANIFEST = "META-INF/manifest.xml"
"""Where OpenDocument says what is encrypted."""


def open_package(file: File, work: Work) -> None:
    """Look into a document in a zip."""
    parts = Parts(file, work)
    file.odd = is_odd(file.raw)
    if _MANIFEST in parts.names and "encryption-data" in parts.text(_MANIFEST):  # ODF 1.2 part 3 §3.4
        work.found(file, "OFFICE_ENCRYPTED", "an encrypted OpenDocument")
    started = ""
    for name in parts.names:
        if name.lower().startswith("customui/") and (match := _ON_LOAD.search(parts.text(name))):
            started = f"customUI onLoad {match[1]}"
    for name in parts.names:
        _part(parts, name, started)
    _sheets(parts)


def prepare() -> None:
    """Load the character sets that names in zips and texts may have."""
    for encoding in _ENCODINGS:
        codecs.lookup(encoding)


class Parts:
    """The parts of a package, read within the limits of the work."""

    def __init__(self, file: File, work: Work) -> None:
        self.file = file
        self.work = work
        self._zip = zipfile.ZipFile(io.BytesIO(file.raw))
        self.names = [info.filename for info in self._zip.infolist()[:PARTS] if not info.is_dir()]
        self._texts: dict[str, str] = {}

    def raw(self, name: str, most: int = PART_LIMIT) -> bytes:
        """The first octets of a part; empty when it is encrypted or broken."""
        info = self._zip.getinfo(name)
        most = min(most, self.work.may_hold(self.file, info.file_size))
        try:
            with self._zip.open(info) as opened:
                return opened.read(most)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError):
            self.work.found(self.file, "UNPACK_BROKEN", name)
            return b""

    def size(self, name: str) -> int:
        """Octets that a part claims to have."""
        return self._zip.getinfo(name).file_size

    def text(self, name: str) -> str:
        """A part as text, in whatever of Unicode's forms it is."""
        if name not in self._texts:
            text = self._texts[name] = as_text(self.raw(name))
            if entity := swells(text):
                self.work.found(self.file, "UNPACK_BOMB", f"entity {entity} in {name}")
        return self._texts[name]


def as_text(raw: bytes) -> str:
    """XML in whatever of Unicode's forms."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    if raw[:4] in (b"<\0?\0", b"<\0w\0"):
        return raw.decode("utf-16-le", "replace")
    return raw.decode("utf-8-sig", "replace")


def _part(parts: Parts, name: str, started: str) -> None:
    file, work = parts.file, parts.work
    low = name.lower()
    suffix = extension(name)
    if suffix == "rels":
        _relations(parts, name)
    elif low.endswith("vbaproject.bin") or (suffix == "bin" and "vbaproject" in low):
        with olefile.OleFileIO(io.BytesIO(parts.raw(name))) as ole:
            report_project(file, work, project_of(ole), started=started)
        if extension(file.name) in ("docx", "xlsx", "pptx", "dotx", "xltx", "potx", "ppsx"):
            work.found(file, "OFFICE_MACRO_DISGUISED", f"{name} in a .{extension(file.name)}")
    elif "/activex/" in low and suffix == "xml":
        work.found(file, "OFFICE_ACTIVEX", name)
        for match in _CLASS.finditer(parts.text(name)):
            report_class(file, work, match[1])
    elif low.startswith("basic/") and suffix == "xml" and low.split("/")[-1] not in ("script-lb.xml", "script-lc.xml"):
        work.found(file, "OFFICE_MACRO", name)
        judge(file, work, [(name, unescape(parts.text(name)))], started=_event(parts))
    elif low in ("content.xml", "styles.xml"):
        for match in _ODF_LINK.finditer(parts.text(name)):
            if target_of(match[2]) is not Target.LOCAL:
                report_link(file, work, unescape(match[2]), match[1])
    elif suffix in {"xml", ""}:
        report_xml(file, work, parts.text(name))
    elif low.startswith("xl/") and suffix == "bin" and "externallink" in low:
        _binary_links(parts, name)
    if _is_picture(low, suffix):
        if LEAST <= parts.size(name) <= OCTETS:
            work.picture(file, name.rsplit("/", 1)[-1], parts.raw(name, OCTETS))
    elif _is_embedded(low, suffix):
        child = work.add(file, name.rsplit("/", 1)[-1], parts.raw(name, 64 * 1024 * 1024))
        symbol = "OFFICE_EMBEDDED_PROGRAM" if is_program(child.name, child.kind) else "OFFICE_EMBEDDED"
        work.found(file, symbol, name)


def _is_picture(low: str, suffix: str) -> bool:
    """Whether a part is a picture that the document shows, and not one of its thumbnails."""
    return suffix in _DECODED and ("/media/" in low or low.startswith("pictures/"))


def _is_embedded(low: str, suffix: str) -> bool:
    """Whether a part is a file of its own: an object, and whatever no program puts into documents, as in a zip that only looks like one."""
    if suffix in ("xml", "rels", "vml"):
        return False
    if "/embeddings/" in low or low.startswith(("embeddings/", "object")) or "/afchunk" in low:
        return True
    return suffix not in _OWN and suffix not in _PICTURES


def _event(parts: Parts) -> str:
    """What starts a macro of an OpenDocument, by its listeners."""
    for name in ("content.xml", "styles.xml"):
        if name in parts.names and (match := _SCRIPT.search(parts.text(name))):
            event = re.search(r"script:event-name=\"([^\"]{1,100})\"", match[0])
            return event[1] if event else "event"
    return ""


def _relations(parts: Parts, name: str) -> None:
    for match in _RELATION.finditer(parts.text(name)):
        one = {key.lower(): unescape(first or second) for key, first, second in _ATTRIBUTE.findall(match[1])}
        report_relation(parts.file, parts.work, one.get("type", ""), one.get("target", ""), one.get("targetmode", ""))


def report_relation(file: File, work: Work, kind: str, target: str, mode: str) -> None:
    """Report a relationship that leads out of the document."""
    if mode.lower() != "external":
        return
    kind = kind.rsplit("/", 1)[-1]
    where = target_of(target)
    if kind == "hyperlink":
        if where is Target.WEB:
            work.link(file, target)
        if where is Target.EXPLOIT and not target.lower().startswith("http"):
            work.found(file, "OFFICE_EXPLOIT_SHAPE", f"{kind}: {target}")
    elif kind in ("image", "video", "audio", "media"):
        if where is not Target.LOCAL:
            work.found(
                file, "OFFICE_REMOTE_IMAGE" if where is Target.WEB else "OFFICE_REMOTE_OBJECT", f"{kind}: {target}"
            )
    elif where is Target.EXPLOIT:
        work.found(file, "OFFICE_EXPLOIT_SHAPE", f"{kind}: {target}")
    elif kind == "attachedTemplate":
        if where is Target.WEB:
            work.found(file, "OFFICE_REMOTE_TEMPLATE", target)
        elif where is Target.SHARE:
            work.found(file, "OFFICE_TEMPLATE_SHARE", target)
    elif kind in ("oleObject", "frame", "subDocument", "aFChunk", "package", "control"):
        report_link(file, work, target, kind)
    else:
        work.found(file, "OFFICE_EXTERNAL_LINK", f"{kind}: {target}")


def report_xml(file: File, work: Work, text: str) -> None:
    """Report the fields and links in a part's XML."""
    if "DDE" in text or "QUOTE" in text or "dde" in text or "instrText" in text:
        for code in fields(_tokens(text)):
            report_field(file, work, code)
        for match in _DDE_LINK.finditer(text):
            one = {key: unescape(first or second) for key, first, second in _ATTRIBUTE.findall(match[1])}
            report_dde(file, work, one.get("ddeService", ""), one.get("ddeTopic", ""))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _FIELD.finditer(text):
        if match[1]:
            yield match[1], ""
        elif match[2] is not None:
            yield "code", unescape(match[2])
        else:
            yield "begin", ""
            yield "code", unescape(match[3] or match[4] or "")
            yield "end", ""


def _binary_links(parts: Parts, name: str) -> None:
    """DDE links of xlsb: BrtBeginSupBook (MS-XLSB §2.4.51), kind 1, with two texts."""
    raw = parts.raw(name)
    match = re.search(rb"\xe8\x02.{1,4}?\x01\x00(.{4})", raw[:64], re.DOTALL)
    if match:
        at = match.start(1)
        texts = []
        for _ in range(2):
            count = int.from_bytes(raw[at : at + 4], "little")
            texts.append(raw[at + 4 : at + 4 + count * 2].decode("utf-16-le", "replace"))
            at += 4 + count * 2
        report_dde(parts.file, parts.work, texts[0], texts[1])


def _sheets(parts: Parts) -> None:
    """Sheets of Excel 4 macros."""
    macros = [name for name in parts.names if "macrosheets/" in name.lower() and extension(name) in ("xml", "bin")]
    if not macros:
        return
    book = next((name for name in parts.names if name.lower() in ("xl/workbook.xml", "xl/workbook.bin")), "")
    text = parts.raw(book).replace(b"\0", b"").decode("latin-1") if book else ""
    hidden = [
        one[1] for one in _SHEET.finditer(text) if re.search(r"state\s*=\s*[\"'](?:very)?hidden", one[1], re.IGNORECASE)
    ]
    entries = [one for one in _DEFINED.findall(text) if _ENTRY.search(one)] or _ENTRY.findall(text)
    calls: set[str] = set()
    for name in macros[:20]:
        content = (
            parts.text(name) if extension(name) == "xml" else parts.raw(name).replace(b"\0", b"").decode("latin-1")
        )
        formulas = " ".join(_FORMULA.findall(content)) if extension(name) == "xml" else content
        calls |= {word.upper() for word in _REACH.findall(formulas)}
    names = [re.sub(r".*name\s*=\s*[\"']([^\"']*).*", r"\1", one) for one in hidden]
    report_excel4(parts.file, parts.work, macros, hidden=names, entries=entries, calls=calls, words=set())
