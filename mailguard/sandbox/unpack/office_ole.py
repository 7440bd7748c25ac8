"""Office documents in OLE files (doc, xls, ppt, and whatever else has their streams), and objects cut out of documents."""

from __future__ import annotations

import io
import re
import zlib

import olefile

from mailguard.sandbox.unpack import encrypted
from mailguard.sandbox.unpack.biff import drawings, read_workbook
from mailguard.sandbox.unpack.dde import report_field
from mailguard.sandbox.unpack.embedded_pictures import pictures_in
from mailguard.sandbox.unpack.macros import judge, judge_compiled
from mailguard.sandbox.unpack.ole_objects import (
    add_package,
    has_script_moniker,
    is_honest_equation,
    monikers,
    package_of,
    report_class,
    report_link,
)
from mailguard.sandbox.unpack.vba import STREAM_LIMIT, STREAMS, Project, project_of, stream
from mailguard.sandbox.unpack.work import File, Work

_FIELD = re.compile(rb"\x13[ \r]*(DDE(?:AUTO)?\b[^\x13\x14\x15]{0,2000})", re.IGNORECASE)
_INCLUDED = re.compile(rb"\x13[ \r]*(?:INCLUDE(?:TEXT|PICTURE)|LINK|IMPORT)\b([^\x13\x14\x15]{0,1000})", re.IGNORECASE)
_STORED = re.compile(rb"[\x00\x10]\x00\x11\x10(....)", re.DOTALL)
_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def open_ole(file: File, work: Work) -> None:
    """Look into an OLE file."""
    with olefile.OleFileIO(io.BytesIO(file.raw)) as ole:
        which = encrypted.is_encrypted(ole)
        if which:
            encrypted.open_encrypted(file, work, ole, which)
        project = project_of(ole)
        report_project(file, work, project)
        for path in ole.listdir(streams=False, storages=True)[:STREAMS]:
            if clsid := ole.getclsid(path):
                report_class(file, work, clsid)
        if ole.root.clsid:
            report_class(file, work, ole.root.clsid)
        for path in ole.listdir()[:STREAMS]:
            if not (which and len(path) == 1):
                _stream(file, work, path, ole)


def report_project(file: File, work: Work, project: Project, *, started: str = "") -> None:
    """Report a project of macros, if there is one."""
    if not project.is_there:
        return
    work.found(file, "OFFICE_MACRO", f"{len(project.texts)} modules")
    judge(file, work, project.texts, extra=project.forms, started=started)
    judge_compiled(file, work, project.compiled, project.texts)


def _stream(file: File, work: Work, path: list[str], ole: olefile.OleFileIO) -> None:
    last = path[-1].lower()
    if last == "\x01ole10native":
        data = stream(ole, path, work.may_hold(file, -1))
        if package := package_of(data):
            add_package(file, work, package)
        elif len(data) > 4:
            # The equation editor reads it as a stream of its own; nobody else leaves a stream without its form.
            work.add(file, "/".join(path[-2:]).replace("\x01", ""), data[4:])
    elif last in {"\x01ole", "\x03linkinfo"}:
        data = stream(ole, path, 65_536)
        if has_script_moniker(data):
            work.found(file, "OFFICE_EXPLOIT_SHAPE", "a moniker that runs a script")
        for target in monikers(data):
            report_link(file, work, target, "object")
    elif last == "equation native" and not is_honest_equation(stream(ole, path, 65_536)):
        work.found(file, "OFFICE_EXPLOIT_SHAPE", "an equation that no editor writes")
    elif last in ("workbook", "book"):
        data = stream(ole, path)
        read_workbook(file, work, data)
        _pictures(file, work, drawings(data))
    elif last in ("data", "pictures"):  # of Word and PowerPoint
        _pictures(file, work, stream(ole, path))
    elif last == "worddocument":
        _word(file, work, stream(ole, path))
    elif last == "powerpoint document":
        _slides(file, work, stream(ole, path, 4 * STREAM_LIMIT))
    elif last.startswith("_") and last[1:].isdigit():  # an object of a document in XML, compressed after its length
        data = stream(ole, path)
        if data[4:5] == b"\x78":
            most = work.may_hold(file, int.from_bytes(data[:4], "little"))
            work.add(file, f"object{last}.ole", zlib.decompressobj().decompress(data[4:], most))
    elif last in ("package", "contents", "embeddedodf"):
        work.add(file, last, stream(ole, path, work.may_hold(file, -1)))


def _pictures(file: File, work: Work, raw: bytes) -> None:
    for number, picture in enumerate(pictures_in(raw), 1):
        work.picture(file, f"picture {number}", picture)


def _word(file: File, work: Work, raw: bytes) -> None:
    for text in {raw, raw.replace(b"\0", b"")}:
        for match in _FIELD.finditer(text):
            report_field(file, work, match[1].decode("latin-1"))
        for match in _INCLUDED.finditer(text):
            for target in re.findall(r"(?:https?://|\\\\+)[^\s\"]{3,300}", match[1].decode("latin-1")):
                work.found(file, "OFFICE_REMOTE_OBJECT", f"field: {target}")


def _slides(file: File, work: Work, raw: bytes) -> None:
    """Objects of presentations (ExOleObjStg, MS-PPT §2.10.34): OLE files, mostly compressed; macros lie in one too."""
    for count, match in enumerate(_STORED.finditer(raw)):
        size = int.from_bytes(match[1], "little")
        data = raw[match.end() : match.end() + size]
        if raw[match.start()] == 0x10 and len(data) > 4:
            most = work.may_hold(file, int.from_bytes(data[:4], "little"))
            try:
                data = zlib.decompressobj().decompress(data[4:], most)
            except zlib.error:
                continue
        if data.startswith(_MAGIC):
            work.add(file, f"object{count + 1}.ole", data)
        if count >= STREAMS:
            return
