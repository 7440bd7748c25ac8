"""Shortcuts: Windows' own (LNK), and the small text files that open what they name. MS-SHLLINK."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailguard.message.attachments import extension
from mailguard.sandbox.unpack.dde import report_cells
from mailguard.sandbox.unpack.office_xml import as_text
from mailguard.sandbox.unpack.targets import PROGRAMS, Target, target_of
from mailguard.sandbox.unpack.work import File, Work

_ENVIRONMENT = b"\x14\x03\x00\x00\x01\x00\x00\xa0"
_PADDING = re.compile(r"[\s\u00a0]{40,}")
_URLS = re.compile(r"(?:https?://|\\\\)[^\s'\"<>|^]{4,300}", re.IGNORECASE)
_KEY = re.compile(r"^\s*(?:full )?([\w.-]{1,60})\s*[=:]\s*(?:[sib]:)?(.{1,2048}?)\s*$", re.MULTILINE)
_ELEMENT = re.compile(
    r"<(url|DeepLink|simpleLocation|iconReference|Icon|description)\b[^>]{0,400}>([^<]{1,4096})<", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Link:
    """What a shortcut says."""

    target: str
    arguments: str = ""
    icon: str = ""
    minimised: bool = False


def open_shortcut(file: File, work: Work) -> None:
    """Report a Windows shortcut."""
    link = read_link(file.raw)
    command = f"{link.target} {link.arguments}".strip()
    work.found(file, "SHORTCUT", command[:200])
    if link.arguments.strip() and (PROGRAMS.search(link.target) or PROGRAMS.search(link.arguments)):
        work.found(file, "SHORTCUT_RUNS", " ".join(command.split()))
    if target_of(link.target) is not Target.LOCAL:
        work.found(file, "SHORTCUT_REMOTE", link.target)
    elif match := _URLS.search(link.arguments):
        work.found(file, "SHORTCUT_REMOTE", match[0])
    if target_of(link.icon) is not Target.LOCAL:
        work.found(file, "SHORTCUT_REMOTE", f"icon: {link.icon}")
    if _PADDING.search(link.arguments) or len(link.arguments) > 600:
        work.found(file, "SHORTCUT_HIDDEN", f"{len(link.arguments)} characters of arguments")
    _appended(file, work)


def _appended(file: File, work: Work) -> None:
    """Files that shortcuts cut out of themselves: hidden behind what Windows reads."""
    if len(file.raw) > 16_384:
        work.found(file, "SHORTCUT_HIDDEN", f"a shortcut of {len(file.raw)} octets")
        for magic in (b"MZ\x90\0", b"PK\x03\x04", b"%PDF-", b"MSCF\0\0\0\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
            if (at := file.raw.find(magic, 76)) > 0:
                work.add(file, f"at-{at}", file.raw[at:])


def read_link(raw: bytes) -> Link:
    """Read a shortcut. ValueError when it is none."""
    if len(raw) < 76 or raw[:4] != b"L\0\0\0":
        raise ValueError("no shortcut")
    flags = int.from_bytes(raw[20:24], "little")
    at = 76
    target = ""
    if flags & 1:
        size = _u16(raw, at)
        target = _from_ids(raw[at + 2 : at + 2 + size])
        at += 2 + size
    if flags & 2:
        size = int.from_bytes(raw[at : at + 4], "little")
        target = _from_info(raw[at : at + size]) or target
        at += size
    texts = {}
    for bit in (4, 8, 16, 32, 64):
        if flags & bit:
            count = _u16(raw, at)
            width = 2 if flags & 128 else 1
            piece = raw[at + 2 : at + 2 + count * width]
            texts[bit] = piece.decode("utf-16-le" if width == 2 else "latin-1", "replace")
            at += 2 + count * width
    if (place := raw.find(_ENVIRONMENT, max(0, at - 4))) >= 0:
        wide = raw[place + 268 : place + 788].decode("utf-16-le", "replace").split("\0")[0]
        target = wide or raw[place + 8 : place + 268].split(b"\0")[0].decode("latin-1") or target
    target = target or texts.get(8, "")
    return Link(target, texts.get(32, ""), texts.get(64, ""), raw[60] == 7)


def _u16(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 2], "little")


def _from_ids(ids: bytes) -> str:
    """The path in a list of shell items, as far as its texts tell."""
    parts = []
    at = 0
    while (size := _u16(ids, at)) > 3:
        item = ids[at + 2 : at + size]
        if item[0] & 0x70 == 0x20:
            parts.append(item[1:].split(b"\0")[0].decode("latin-1"))
        elif item[0] & 0x70 == 0x30:
            parts.append(item[12:].split(b"\0")[0].decode("latin-1"))
        elif item[0] & 0x70 in (0x40, 0x60):
            parts.append(item[3:].split(b"\0")[0].decode("latin-1"))
        at += size
    return "\\".join(part.rstrip("\\") for part in parts if part and part.isprintable())


def _from_info(info: bytes) -> str:
    header, flags = int.from_bytes(info[4:8], "little"), int.from_bytes(info[8:12], "little")
    if flags & 1 and header >= 28:
        at = int.from_bytes(info[16:20], "little")
        return info[at:].split(b"\0")[0].decode("latin-1") if 28 <= at < len(info) else ""
    if flags & 2:
        at = int.from_bytes(info[20:24], "little")
        net = info[at:]
        name = int.from_bytes(net[8:12], "little")
        suffix = int.from_bytes(info[24:28], "little")
        end = info[suffix:].split(b"\0")[0].decode("latin-1") if suffix < len(info) else ""
        return net[name:].split(b"\0")[0].decode("latin-1") + (f"\\{end}" if end else "")
    return ""


def open_text_shortcut(file: File, work: Work) -> None:
    """Report what a text file that is opened leads to, by its name or its form."""
    text = as_text(file.raw[:262_144])
    suffix = extension(file.name)
    if file.kind == "text/x-ms-iqy" or suffix in ("iqy", "oqy", "rqy", "dqy"):
        if match := _URLS.search(text):
            work.found(file, "OFFICE_QUERY", match[0])
        return
    if file.kind == "text/x-sylk" or suffix in ("slk", "csv", "tsv", "dif"):
        _table(file, work, text)
        return
    if file.kind == "text/plain" and suffix not in _BY_NAME:
        return
    pairs = [*_KEY.findall(text), *_ELEMENT.findall(text)]
    for key, value in pairs:
        _value(file, work, key.lower(), value, suffix)


_BY_NAME = frozenset(
    {
        "url",
        "website",
        "scf",
        "desktop",
        "theme",
        "themepack",
        "deskthemepack",
        "rdp",
        "settingcontent-ms",
        "library-ms",
        "searchconnector-ms",
        "appref-ms",
        "ini",
        "lnk",
        "inf",
        "jnlp",
        "contact",
        "search-ms",
    }
)
_RUN_KEYS = frozenset({"exec", "command", "deeplink", "shellexecute", "alternate shell", "remoteapplicationprogram"})
_TARGET_KEYS = frozenset(
    {
        "url",
        "iconfile",
        "iconreference",
        "icon",
        "simplelocation",
        "baseurl",
        "workingdirectory",
        "wallpaper",
        "scrnsave.exe",
        "path",
        "icondirectory",
        "iconresource",
    }
)


def _value(file: File, work: Work, key: str, value: str, suffix: str) -> None:
    if key in _RUN_KEYS:
        work.found(file, "SHORTCUT", f"{key}: {value}")
        if PROGRAMS.search(value) or _URLS.search(value):
            work.found(file, "SHORTCUT_RUNS", value)
    elif key in _TARGET_KEYS:
        where = target_of(value)
        if key == "url":
            work.found(file, "SHORTCUT", value)
        if where in (Target.SHARE, Target.EXPLOIT) or (key == "simplelocation" and where is not Target.LOCAL):
            work.found(file, "SHORTCUT_REMOTE", f"{key}: {value}")
        elif key == "url" and re.match(r"\s*file:", value, re.IGNORECASE) and PROGRAMS.search(value):
            work.found(file, "SHORTCUT_RUNS", value)
    elif suffix == "rdp" and key == "address" and value:
        work.found(file, "SHORTCUT_REMOTE", f"remote desktop: {value}")


def _table(file: File, work: Work, text: str) -> None:
    report_cells(file, work, text)
    if text.startswith("ID;P"):
        entries = re.findall(r"^NN;N([^;\r\n]*auto_?(?:open|close)[^;\r\n]*)", text, re.IGNORECASE | re.MULTILINE)
        formulas = "\n".join(line.partition(";E")[2] for line in text.splitlines())
        calls = {one.upper() for one in re.findall(r"\b(EXEC|CALL|REGISTER|FWRITE|RUN)\(", formulas, re.IGNORECASE)}
        if re.search(r"^O;E\b|;E\b[\r\n]", text, re.MULTILINE) or entries:
            work.found(file, "OFFICE_XLM", "SYLK")
        if entries:
            work.found(file, "OFFICE_MACRO_AUTOEXEC", ", ".join(entries[:5]))
        if calls:
            work.found(file, "OFFICE_MACRO_SUSPICIOUS", ", ".join(sorted(calls)))
        if calls and entries:
            work.found(file, "OFFICE_MACRO_RUNS", ", ".join(sorted(calls)))
