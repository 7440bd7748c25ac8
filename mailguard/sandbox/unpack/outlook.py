"""Outlook's messages (msg) and Windows' installers (msi): what lies in their streams. MS-OXMSG §2; names by property, MS-OXPROPS."""

from __future__ import annotations

import io
import re

import olefile

from mailguard.sandbox.unpack.targets import is_program
from mailguard.sandbox.unpack.vba import STREAM_LIMIT, STREAMS, stream
from mailguard.sandbox.unpack.work import File, Work

_DATA = "__substg1.0_37010102"
_NAMES = (
    "__substg1.0_3707001f",
    "__substg1.0_3704001f",
    "__substg1.0_3001001f",
    "__substg1.0_3707001e",
    "__substg1.0_3704001e",
    "__substg1.0_3001001e",
)
_BODIES = {
    "__substg1.0_10130102": "body.html",
    "__substg1.0_1013001f": "body.html",
    "__substg1.0_1000001f": "body.txt",
    "__substg1.0_1000001e": "body.txt",
    "__substg1.0_007d001f": "headers.txt",
    "__substg1.0_007d001e": "headers.txt",
}
_SCRIPT = re.compile(
    rb"(?:powershell|cmd(?:\.exe)? ?/c|mshta|wscript|rundll32|regsvr32|certutil|bitsadmin)\b", re.IGNORECASE
)
"""Programs in an installer's texts, which stand one after the other without anything between them."""


def open_message(file: File, work: Work) -> None:
    """Hand on the texts and the attached files of a message, and of messages attached to it."""
    with olefile.OleFileIO(io.BytesIO(file.raw)) as ole:
        paths = ole.listdir()[:STREAMS]
        by_folder: dict[tuple[str, ...], dict[str, list[str]]] = {}
        for path in paths:
            by_folder.setdefault(tuple(path[:-1]), {})[path[-1].lower()] = path
        for names in by_folder.values():
            for one, called in _BODIES.items():
                if one in names:
                    data = stream(ole, names[one], STREAM_LIMIT)
                    work.add(file, called, _text(data, one).encode() if one.endswith(("1f", "1e")) else data)
            if _DATA in names:
                found = next((one for one in _NAMES if one in names), "")
                name = _text(stream(ole, names[found], 2_048), found) if found else "attachment"
                work.add(file, name, stream(ole, names[_DATA], work.may_hold(file, -1)))


def _text(data: bytes, name: str) -> str:
    return data.decode("utf-16-le" if name.endswith("1f") else "latin-1", "replace").rstrip("\0")


def open_installer(file: File, work: Work) -> None:
    """Report an installer, and hand on the archives and programs in it."""
    work.found(file, "INSTALLER", "Windows Installer")
    with olefile.OleFileIO(io.BytesIO(file.raw)) as ole:
        for path in ole.listdir()[:STREAMS]:
            name = _decoded(path[-1])
            head = stream(ole, path, 16)
            if head.startswith((b"MSCF", b"MZ")) or name.startswith("Binary."):
                child = work.add(file, name, stream(ole, path, work.may_hold(file, -1)))
                if is_program("", child.kind):
                    work.found(file, "INSTALLER_RUNS", f"{name} is a program")
            elif name == "!_StringData" and (match := _SCRIPT.search(stream(ole, path))):
                work.found(file, "INSTALLER_RUNS", match[0].decode("latin-1"))


_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"


def _decoded(name: str) -> str:
    """The name of a stream in an installer's database, which has two letters in each of its characters."""
    out = []
    for one in name:
        code = ord(one)
        if 0x3800 <= code < 0x4800:
            out.append(_LETTERS[(code - 0x3800) & 0x3F] + _LETTERS[(code - 0x3800) >> 6])
        elif 0x4800 <= code < 0x4840:
            out.append(_LETTERS[code - 0x4800])
        else:
            out.append("!" if code == 0x4840 else one)
    return "".join(out)
