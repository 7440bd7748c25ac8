"""Attached files: names, types by content, zip directories; and the attachments check over a mail of them."""

from __future__ import annotations

import io
import zipfile
from hashlib import sha256

from mailguard.checks.attachments import ATTACHMENT_LIMIT, EVIDENCE_LIMIT, SYMBOLS, AttachmentsCheck
from mailguard.message import attachments
from mailguard.message.parse import parse
from mailguard.message.zip_directory import MEMBER_LIMIT, read_zip_directory
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.mime import MAILS, TOKENS

_MIME = (
    b'Content-Type: application/octet-stream; name="%s"\r\nContent-Disposition: attachment\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\n"
)


def names(data: bytes) -> None:
    """A file name."""
    name = Input(data).long_rest().decode("utf-8", "replace")
    suffix = attachments.extension(name)
    assert suffix == suffix.lower()
    assert not set(suffix) & set("/\\:")
    assert not suffix.endswith((".", " "))
    attachments.hides_extension(name)
    if attachments.has_double_extension(name):
        assert suffix in attachments.EXECUTABLE_EXTENSIONS or ":" in name


def zip_directory(data: bytes) -> None:
    """An archive, whole and from its end; as it is, and built from the names that an input has, then damaged."""
    source = Input(data)
    if source.flag():
        content = source.long_rest()
        _read(content)
        return
    damage_at, damage = source.octet(), source.octet()
    stuffed = source.flag()
    members = [name.decode("utf-8", "ignore") for name in source.rest().split(b"\0") if name][:30]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number, name in enumerate(dict.fromkeys(members)):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), b"x" * number)
    content = (b"MZ stub" if stuffed else b"") + target.getvalue()
    found = read_zip_directory(content)
    with zipfile.ZipFile(io.BytesIO(content)) as again:
        listed = [(info.orig_filename, info.file_size) for info in again.infolist()]
    assert [(member.name, member.size) for member in found.members] == listed
    assert found.complete
    if damage:
        at = -1 - damage_at % len(content)
        _read(content[:at] + bytes((content[at] ^ damage,)) + content[len(content) + at + 1 :])


def _read(content: bytes) -> None:
    found = read_zip_directory(content)
    assert len(found.members) <= MEMBER_LIMIT
    assert sum(len(member.name) for member in found.members) <= len(content)
    attachments.type_of(content[: attachments.HEAD])


def check(data: bytes) -> None:
    """A mail with files, looked at by the check."""
    source = Input(data)
    if source.flag():
        raw = source.long_rest()
    else:
        name, content = source.part()[:300].replace(b"\n", b""), source.long_rest()
        raw = _MIME % name + __import__("base64").encodebytes(content)
    message = parse(raw)
    result = AttachmentsCheck().examine(message)
    assert len(result.attachments) <= ATTACHMENT_LIMIT
    for symbol in result.symbols:
        assert symbol.name in SYMBOLS
        assert len(symbol.evidence) <= EVIDENCE_LIMIT
    for part in message.attachments:
        inspection = attachments.inspect(part)
        whole = b"".join(part.chunks())
        assert inspection.attachment.size == len(whole)
        assert inspection.attachment.sha256 == sha256(whole).hexdigest()
        assert len(inspection.attachment.name) <= attachments.NAME_LIMIT
        assert (inspection.zip is not None) == whole.startswith(b"PK")


def _zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/b.exe", (1980, 1, 1, 0, 0, 0)), b"MZ\0")
        archive.writestr(zipfile.ZipInfo("[Content_Types].xml", (1980, 1, 1, 0, 0, 0)), b"<x/>")
        archive.writestr(zipfile.ZipInfo("word/vbaProject.bin", (1980, 1, 1, 0, 0, 0)), b"x")
    return target.getvalue()


TARGETS = (
    Target(
        "file_names",
        names,
        (
            b"invoice.pdf.exe",
            b"a.EXE. ",
            b"x.exe::$DATA",
            "rg\u202egpj.exe".encode(),
            b"a.pdf      .scr",
            b"\xfd.a\xfe\x40",
        ),
        tokens=(b".exe", b".pdf", b"::$DATA", "\u202e".encode(), "\u200b".encode(), b"/", b"\\", "．ｅｘｅ".encode()),
    ),
    Target(
        "zip_directory",
        zip_directory,
        (
            b"\x01" + _zip(),
            b"\x01" + _zip()[:-4],
            b"\x01" + _zip().replace(b"PK\x01\x02", b"PK\x01\x03", 1),
            b"\x00\x00\x00\x00a.txt\0b/c.exe\0" + "größe".encode(),
            b"\x00\x10\xff\x01a\0b\0c",
            b"\x01PK\x05\x06" + bytes(18),
            b"\x01PK\x05\x06" + b"\xff" * 18,
            b"\x01\xfdPK\x01\x02" + bytes(42) + b"\xfe\x40PK\x05\x06" + bytes(6) + b"\xff\xff\xff\0\0\0\0\0\0\0\0\0",
        ),
        tokens=(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"\xff\xff\xff\xff"),
    ),
    Target(
        "attachments",
        check,
        (
            b"\x00a.zip\0\0" + _zip(),
            b"\x00x.pdf.exe\0\0MZ\0",
            b"\x00a.docm\0\0" + _zip(),
            b"\x00a.jpg\0\0%PDF-1.4",
            b"\x00a.html\0\0 <!doctype html>",
            *(b"\x01" + mail for mail in MAILS),
        ),
        tokens=(*TOKENS, b"PK\x05\x06", b"PK\x01\x02", b"MZ\0", b"Rar!\x1a\x07"),
    ),
)
