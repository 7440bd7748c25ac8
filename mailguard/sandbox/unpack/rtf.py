"""RTF: objects written in hexadecimal, links and templates that are fetched, and the shapes that attacks on Word have.

Read by its form, as Word reads what no other parser does. RTF 1.9.1; MS-OLEDS §2.2 (objects of OLE 1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailguard.sandbox.unpack.dde import fields, report_field
from mailguard.sandbox.unpack.embedded_pictures import pictures_in, pictures_in_rtf
from mailguard.sandbox.unpack.ole_objects import add_package, has_script_moniker, monikers, package_of
from mailguard.sandbox.unpack.targets import Target, target_of
from mailguard.sandbox.unpack.work import File, Work

OBJECTS = 100
"""Objects of a file that are decoded."""

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OBJECT = re.compile(rb"(?<!\\)\\objdata\b", re.IGNORECASE)
_EQUATION_CLASS = re.compile(rb"(?<!\\)\\objclass\b\s*(Equation\.[0-9])", re.IGNORECASE)
_UPDATE = re.compile(rb"(?<!\\)\\obj(?:update|autlink)\b")
_BRACE = re.compile(rb"\\bin(\d{1,9}) ?|\\.|[{}]", re.DOTALL)
_NOISE = re.compile(rb"\\'..|\\\*|\\[a-zA-Z]{1,40}-?\d{0,12} ?|\\.|[{}]", re.DOTALL)
_TEMPLATE = re.compile(rb"\\\*\\template\b\s*((?:[^}\\]|\\(?!\*)){1,4096})\}", re.IGNORECASE)
_FIELD = re.compile(rb"\\fldinst\b([^}]{0,64}(?:[{}][^{}]{0,2048}){0,40})", re.IGNORECASE)
_CODES = re.compile(rb"\\'([0-9a-fA-F]{2})|\\u(-?\d{1,5}) ?\??|\\\*|\\[a-zA-Z]{1,40}-?\d{0,12} ?|[{}\r\n]")
_EQUATION = bytes.fromhex("02CE020000000000C000000000000046")
_NONSENSE = 8
"""Pieces in an object's hexadecimal that are none, from which on they are there to mislead: Word writes none."""


def open_rtf(file: File, work: Work) -> None:
    """Look into an RTF file."""
    raw = file.raw
    if not re.match(rb"\s*\{\\rtf1?(?![a-z0-9])", raw):
        work.found(file, "RTF_OBFUSCATED", f"begins with {raw[:12]!r}")
    updates = bool(_UPDATE.search(raw))
    if updates:
        work.found(file, "RTF_OBJECT_UPDATE", "objects are opened with the document")
    if updates and (match := _EQUATION_CLASS.search(raw)):
        work.found(file, "RTF_EXPLOIT_SHAPE", f"opens {_plain(match[1])} with the document")
    for number, picture in enumerate((*pictures_in_rtf(raw), *pictures_in(raw)), 1):
        work.picture(file, f"picture {number}", picture)
    for count, (data, nonsense) in enumerate(_objects(raw)):
        if nonsense > _NONSENSE:
            work.found(file, "RTF_OBFUSCATED", f"{nonsense} pieces in an object that are no data")
        _object(file, work, data, count + 1, updates)
    for match in _TEMPLATE.finditer(raw):
        target = _plain(match[1]).strip()
        where = target_of(target)
        if where in (Target.WEB, Target.EXPLOIT):
            work.found(file, "RTF_REMOTE_TEMPLATE", target)
        elif where is Target.SHARE:
            work.found(file, "OFFICE_TEMPLATE_SHARE", target)
    for match in _FIELD.finditer(raw):
        code = _plain(match[1])
        if "DDE" in code.upper() or "QUOTE" in code.upper():
            for one in fields([("begin", ""), ("code", code), ("end", "")]):
                report_field(file, work, one)


def _objects(raw: bytes) -> Iterator[tuple[bytes, int]]:
    """What objects hold, with how much in them is no data."""
    left = len(raw) + 65_536  # groups without an end would be read again and again
    for count, match in enumerate(_OBJECT.finditer(raw)):
        if count >= OBJECTS or left <= 0:
            return
        body = raw[match.end() : _end(raw, match.end())]
        left -= len(body)
        if b"\\bin" in body:
            body = re.sub(rb"\\bin\d{1,9} ?", b"", body)
            if (at := body.find(b"\x01\x05\0\0")) >= 0:
                yield body[at:], 0
                continue
        digits, nonsense = _NOISE.subn(b"", body)
        digits = re.sub(rb"[^0-9a-fA-F]", b"", digits)
        yield bytes.fromhex(digits[: len(digits) & ~1].decode("ascii")), nonsense


def _end(raw: bytes, at: int) -> int:
    """Where the group ends in which `at` is; the file's end if it does not."""
    depth = 0
    while match := _BRACE.search(raw, at):
        at = match.end() + int(match[1] or 0)
        if match[0] == b"{":
            depth += 1
        elif match[0] == b"}":
            depth -= 1
            if depth < 0:
                return match.start()
    return len(raw)


def _object(file: File, work: Work, data: bytes, number: int, updates: bool) -> None:
    if len(data) < 12:
        return
    work.may_hold(file, len(data))
    at = 8
    texts = []
    for _ in range(3):
        size = int.from_bytes(data[at : at + 4], "little")
        texts.append(data[at + 4 : at + 4 + size].strip(b"\0").decode("latin-1") if size < 4096 else "")
        at += 4 + (size if size < 4096 else 0)
    name, topic = texts[0], texts[1]
    inner = data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "little")]
    work.found(file, "OFFICE_EMBEDDED", f"object {name}" if name.isascii() and name.isprintable() else "object")
    ole = data.find(_MAGIC)
    if data[4:8] == b"\x01\0\0\0" and target_of(topic) is not Target.LOCAL:
        work.found(file, "RTF_REMOTE_OBJECT", topic)
    targets = [one for one in monikers(data) if target_of(one) is not Target.LOCAL]
    for target in targets:
        work.found(file, "RTF_REMOTE_OBJECT", target)
    if has_script_moniker(data) or (targets and updates):
        work.found(file, "RTF_EXPLOIT_SHAPE", f"{name or 'object'}: {targets[0] if targets else 'script'}")
    head = data[:128].lower()
    if (b"equation" in head and ole < 0) or (ole < 0 and _EQUATION in data) or (_EQUATION in data and updates):
        work.found(file, "RTF_EXPLOIT_SHAPE", f"an equation that no editor writes ({name})")
    if name.lower() == "package" and (package := package_of(inner, headed=False)):
        add_package(file, work, package)
    elif ole >= 0:
        work.add(file, f"object{number}.ole", data[ole:])
    elif name.lower() == "package" or inner:
        work.add(file, f"object{number}.bin", inner or data[at:])


def _plain(text: bytes) -> str:
    """A text without its control words, with its letters decoded."""

    def letter(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes.fromhex(match[1].decode("ascii"))
        if match[2]:
            return chr(int(match[2]) & 0xFFFF).encode("latin-1", "replace")
        return b""

    return _CODES.sub(letter, text).decode("latin-1")
