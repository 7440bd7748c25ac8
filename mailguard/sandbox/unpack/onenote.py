"""OneNote sections: the files in them, which a page shows as pictures or as attachments to be opened.

MS-ONESTORE §2.6.13 (FileDataStoreObject).
"""

from __future__ import annotations

import re

from mailguard.message.attachments import extension
from mailguard.sandbox.unpack.targets import is_program
from mailguard.sandbox.unpack.work import File, Work

_STORED = bytes.fromhex("E716E3BD65261145A4C48D4D0B7A9EAC")
_NAME = re.compile(
    rb"(?:[\x20\x28-\x29\x2d\x2e\x30-\x39\x41-\x5a\x5f\x61-\x7a]\x00){1,80}\.\x00(?:[A-Za-z0-9]\x00){2,11}(?=\x00|[^\x20-\x7e])"
)
_SCRIPT = re.compile(
    rb"<hta:|\bWScript\.|ActiveXObject|CreateObject\s*\(|\bpowershell\b|^@?echo off", re.IGNORECASE | re.MULTILINE
)
_PICTURES = ("image/",)
FILES = 200
"""Files of a section that are handed on."""


def open_onenote(file: File, work: Work) -> None:
    """Hand on the files of a section."""
    names = list(dict.fromkeys(_names(file.raw)))
    stored = list(_stored(file.raw))
    children = []
    plain = [one for one in stored if not one.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"))]
    attached = [one for one in names if extension(one) not in ("png", "jpg", "jpeg", "gif", "one", "onetoc2")]
    for number, raw in enumerate(stored):
        place = plain.index(raw) if raw in plain else -1
        name = attached[place] if 0 <= place < len(attached) and len(attached) == len(plain) else f"object{number + 1}"
        children.append(work.add(file, name, raw))
    for child in children:
        if is_program(child.name, child.kind) or _SCRIPT.search(child.raw[:65_536]):
            work.found(file, "ONENOTE_EMBEDDED_PROGRAM", child.name)
        elif not child.kind.startswith(_PICTURES):
            work.found(file, "ONENOTE_EMBEDDED", child.name)
    if plain and (programs := [one for one in attached if is_program(one, "")]):
        work.found(file, "ONENOTE_EMBEDDED_PROGRAM", ", ".join(programs[:5]))


def _stored(raw: bytes) -> list[bytes]:
    out: list[bytes] = []
    at = -1
    while (at := raw.find(_STORED, at + 1)) >= 0 and len(out) < FILES:
        size = int.from_bytes(raw[at + 16 : at + 24], "little")
        if size <= len(raw):
            out.append(raw[at + 36 : at + 36 + size])
    return out


def _names(raw: bytes) -> list[str]:
    return [match[0].decode("utf-16-le").strip() for match in _NAME.finditer(raw)][:FILES]
