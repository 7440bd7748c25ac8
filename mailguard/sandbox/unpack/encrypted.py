"""Encrypted Office documents: tried with the mail's passwords, and with the one that Office itself tries without asking."""

from __future__ import annotations

import io
import os
import re
import time
import types
import zipfile
from collections.abc import Iterator

import msoffcrypto
import olefile
from msoffcrypto.format import doc97, ooxml, ppt97, xls97

from mailguard.sandbox.unpack.vba import stream
from mailguard.sandbox.unpack.work import File, Work

UNASKED = ("VelvetSweatshop", "/01Hannes Ruescher/01")
"""The passwords that Excel and PowerPoint try by themselves: what opens with them is encrypted for nobody but filters."""
SECONDS = 0.9
"""CPU that is spent on passwords of one file; each costs some 0.1 s by design of the format."""
SPINS = 1_000_000
"""Rounds of hashing that a file may ask for, ten times what Office writes."""
_SPINS = re.compile(rb"spinCount=[\"'](\d{1,12})[\"']")
_NAMES = {
    "worddocument": "document.doc",
    "workbook": "workbook.xls",
    "powerpoint document": "slides.ppt",
    "encryptedpackage": "document",
}


class _InMemory:
    """Stands for `tempfile` in msoffcrypto, which writes what it decrypts to a file of its own: here there are none."""

    @staticmethod
    def TemporaryFile() -> io.BytesIO:  # noqa: N802 - the name that it calls
        return io.BytesIO()


def prepare() -> None:
    """Let the library decrypt without files, and do so once, so that its algorithms are loaded."""
    for module in (doc97, xls97, ppt97):
        module.tempfile = _InMemory
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as document:
        document.writestr("a", os.urandom(8192))
    made = io.BytesIO()
    ooxml.OOXMLFile.encrypt(types.SimpleNamespace(file=empty, is_encrypted=lambda: False), "a", made)
    opened = msoffcrypto.OfficeFile(made)
    opened.load_key(password="a", verify_password=True)  # noqa: S106
    opened.decrypt(io.BytesIO())


def is_encrypted(ole: olefile.OleFileIO) -> str:
    """The stream by which a document is told to be encrypted, in lower case; empty when it is not."""
    names = {path[0].lower(): path for path in ole.listdir() if len(path) == 1}
    if "encryptedpackage" in names:
        return "encryptedpackage"
    if "worddocument" in names:
        head = stream(ole, names["worddocument"], 32)
        return "worddocument" if head[:2] == b"\xec\xa5" and len(head) > 12 and head[11] & 1 else ""
    for name in ("workbook", "book"):
        if name in names and _has_filepass(stream(ole, names[name], 8192)):
            return name
    if "current user" in names and stream(ole, names["current user"], 16)[12:16] == b"\xdf\xc4\xd1\xf3":
        return "powerpoint document"
    return ""


def _has_filepass(head: bytes) -> bool:
    at = 0
    for _ in range(200):
        number, size = int.from_bytes(head[at : at + 2], "little"), int.from_bytes(head[at + 2 : at + 4], "little")
        if number == 0x2F:
            return size > 0
        at += 4 + size
        if number == 0x0A or at + 4 > len(head):
            return False
    return False


def open_encrypted(file: File, work: Work, ole: olefile.OleFileIO, which: str) -> None:
    """Report an encrypted document, and hand on what it is when a password fits."""
    spins = _SPINS.search(stream(ole, ["EncryptionInfo"], 65_536)) if which == "encryptedpackage" else None
    if spins and int(spins[1]) > SPINS:
        work.found(file, "OFFICE_ENCRYPTED", f"asks for {int(spins[1])} rounds")
        return
    work.may_hold(file, len(file.raw))
    started = time.process_time()
    tried = 0
    for password in _candidates(work):
        if tried and time.process_time() - started > SECONDS:
            break
        tried += 1
        if (plain := _decrypted(file.raw, password)) is not None:
            work.found(file, "OFFICE_PASSWORD", password)
            work.add(file, _NAMES.get(which, "document"), plain, via="password")
            return
    work.found(file, "OFFICE_ENCRYPTED", f"{tried} passwords tried")


def _candidates(work: Work) -> Iterator[str]:
    yield UNASKED[0]
    for password in work.passwords:
        if password not in UNASKED and 0 < len(password) <= 255:
            yield password
    yield UNASKED[1]


def _decrypted(raw: bytes, password: str) -> bytes | None:
    out = io.BytesIO()
    try:
        document = msoffcrypto.OfficeFile(io.BytesIO(raw))
        # Not verified beforehand: the library refuses the right password where hashes are SHA-1, and what opens is a zip.
        document.load_key(password=password)
        document.decrypt(out)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a wrong password ends in any error, by the algorithm
        return None
    return out.getvalue()
