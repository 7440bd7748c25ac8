"""Ways to put a file into another: archives, documents, mails and texts. For tests that nest them; all but 7z's made in memory.

A wrapping takes a name and octets, and gives the name and the octets of the file around them.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import io
import lzma
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from pathlib import Path
from types import MappingProxyType

import pikepdf
import py7zr
from backports import zstd

PASSWORD = "Tulpe-4711"
"""What the encrypted ones are encrypted with."""

Named = tuple[str, bytes]
Wrapping = Callable[[str, bytes], Named]


def in_zip(name: str, raw: bytes) -> Named:
    """Deflated, as Windows and macOS make them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, raw)
    return f"{name}.zip", out.getvalue()


def in_zip_aes(name: str, raw: bytes) -> Named:
    """AES-256 as WinZip does it, with PASSWORD."""
    return f"{name}.zip", by_7z(name, raw, "-tzip", "-mem=AES256", f"-p{PASSWORD}")


def in_zip_classic(name: str, raw: bytes) -> Named:
    """ZipCrypto, with PASSWORD."""
    return f"{name}.zip", by_7z(name, raw, "-tzip", "-mem=ZipCrypto", f"-p{PASSWORD}")


def in_7z(name: str, raw: bytes) -> Named:
    """LZMA2."""
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as archive:
        archive.writestr(raw, name)
    return f"{name}.7z", out.getvalue()


def in_7z_encrypted(name: str, raw: bytes) -> Named:
    """Names encrypted too, with PASSWORD."""
    return f"{name}.7z", by_7z(name, raw, "-t7z", "-mhe=on", f"-p{PASSWORD}")


def in_rar(name: str, raw: bytes) -> Named:
    """RAR 4, stored: compressing needs a program that is not free, storing does not."""
    encoded = name.encode("utf-8", "replace")
    body = struct.pack(
        "<IIBIIBBHI",
        len(raw),
        len(raw),
        2,  # Windows
        zlib.crc32(raw),
        0x5A217A7B,
        20,
        0x30,  # stored
        len(encoded),
        0x20,
    )
    main = _rar_block(0x73, 0, b"\0" * 6)
    file = _rar_block(0x74, 0x8000, body + encoded, beyond=True)
    return f"{name}.rar", b"Rar!\x1a\x07\0" + main + file + raw + _rar_block(0x7B, 0x4000, b"")


def _rar_block(kind: int, flags: int, body: bytes, *, beyond: bool = False) -> bytes:
    rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest


def in_tar(name: str, raw: bytes) -> Named:
    """POSIX."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(raw)
        archive.addfile(entry, io.BytesIO(raw))
    return f"{name}.tar", out.getvalue()


def in_gz(name: str, raw: bytes) -> Named:
    """RFC 1952."""
    return f"{name}.gz", gzip.compress(raw)


def in_bz2(name: str, raw: bytes) -> Named:
    """bzip2."""
    return f"{name}.bz2", bz2.compress(raw)


def in_xz(name: str, raw: bytes) -> Named:
    """xz."""
    return f"{name}.xz", lzma.compress(raw)


def in_zst(name: str, raw: bytes) -> Named:
    """RFC 8878."""
    return f"{name}.zst", zstd.compress(raw)


def in_cab(name: str, raw: bytes) -> Named:
    """A cabinet with one folder, not compressed; blocks of 32 KiB."""
    blocks = [raw[at : at + 32768] for at in range(0, len(raw), 32768)] or [b""]
    entry = struct.pack("<IIHHHH", len(raw), 0, 0, 0x5A21, 0x7A7B, 0x20) + name.encode("ascii", "replace") + b"\0"
    start = 36 + 8
    data_at = start + len(entry)
    data = b"".join(struct.pack("<IHH", 0, len(block), len(block)) + block for block in blocks)
    head = struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, data_at + len(data), 0, start, 0, 3, 1, 1, 1, 0, 1, 0)
    return f"{name}.cab", head + struct.pack("<IHH", data_at, len(blocks), 0) + entry + data


def in_iso(name: str, raw: bytes) -> Named:
    """ISO 9660 with Joliet."""
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "in")
        inside.mkdir()
        (inside / name[-60:]).write_bytes(raw)
        image = Path(folder, "image.iso")
        _run("genisoimage", "-quiet", "-J", "-r", "-o", str(image), str(inside))
        return f"{name}.iso", image.read_bytes()


def in_tnef(name: str, raw: bytes) -> Named:
    """winmail.dat with one attachment ([MS-OXTNEF])."""

    def attribute(level: int, number: int, data: bytes) -> bytes:
        return struct.pack("<BII", level, number, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)

    title = name.encode("ascii", "replace") + b"\0"
    rendering = struct.pack("<HIHHI", 1, 0xFFFFFFFF, 0, 0, 0)
    return "winmail.dat", (
        struct.pack("<IH", 0x223E9F78, 1)
        + attribute(1, 0x00089006, struct.pack("<I", 0x00010000))
        + attribute(2, 0x00069002, rendering)
        + attribute(2, 0x00018010, title)
        + attribute(2, 0x0006800F, raw)
    )


def in_eml(name: str, raw: bytes) -> Named:
    """A mail with the file attached."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@sender.test", "b@client.test", "the file"
    mail.set_content("See the file.\n")
    mail.add_attachment(raw, maintype="application", subtype="octet-stream", filename=name)
    return f"{name}.eml", mail.as_bytes()


def in_docx(name: str, raw: bytes) -> Named:
    """Among the embedded files of a Word document."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _CONTENT_TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("word/document.xml", _DOCUMENT)
        archive.writestr(f"word/embeddings/{name}", raw)
    return f"{name}.docx", out.getvalue()


_CONTENT_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="bin" ContentType="application/vnd.openxmlformats-officedocument.oleObject"/>'
    '<Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>'
    "</Relationships>"
)
_DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>'
    "<w:t>The minutes of our meeting.</w:t></w:r></w:p></w:body></w:document>"
)


def in_pdf(name: str, raw: bytes) -> Named:
    """Attached to a PDF of one page."""
    out = io.BytesIO()
    with pikepdf.new() as document:
        document.add_blank_page()
        document.attachments[name] = pikepdf.AttachedFileSpec(document, raw, filename=name)
        document.save(out, deterministic_id=True)
    return f"{name}.pdf", out.getvalue()


def in_html(name: str, raw: bytes) -> Named:
    """A page whose script hands out the file (HTML smuggling)."""
    encoded = base64.b64encode(raw).decode()
    page = (
        "<!doctype html><html><head><title>Document</title></head><body><p>Your document is being loaded.</p><script>"
        f"var d='{encoded}';var b=atob(d);var a=new Uint8Array(b.length);for(var i=0;i<b.length;i++)a[i]=b.charCodeAt(i);"
        "var l=document.createElement('a');l.href=URL.createObjectURL(new Blob([a]));"
        f"l.download='{name}';l.click();</script></body></html>"
    )
    return f"{name}.html", page.encode()


def in_base64(name: str, raw: bytes) -> Named:
    """A text of base64 alone (RFC 2045 lines)."""
    return f"{name}.b64.txt", base64.encodebytes(raw)


def in_uuencode(name: str, raw: bytes) -> Named:
    """A text with a uuencoded file."""
    lines = [binascii.b2a_uu(raw[at : at + 45]) for at in range(0, len(raw), 45)]
    return f"{name}.uue", b"begin 644 " + name.encode() + b"\n" + b"".join(lines) + b"`\nend\n"


def by_7z(name: str, raw: bytes, *options: str) -> bytes:
    """The archive that 7-Zip makes of the file with these options."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(raw)
        _run("7z", "a", "-bso0", "-bsp0", *options, "archive", name, folder=folder)
        made = next(path for path in Path(folder).iterdir() if path.name.startswith("archive"))
        return made.read_bytes()


def _run(*command: str, folder: str | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=60)


WRAPPINGS: Mapping[str, Wrapping] = MappingProxyType(
    {
        "zip": in_zip,
        "zip-aes": in_zip_aes,
        "zip-classic": in_zip_classic,
        "7z": in_7z,
        "7z-encrypted": in_7z_encrypted,
        "rar": in_rar,
        "tar": in_tar,
        "gz": in_gz,
        "bz2": in_bz2,
        "xz": in_xz,
        "zst": in_zst,
        "cab": in_cab,
        "iso": in_iso,
        "tnef": in_tnef,
        "eml": in_eml,
        "docx": in_docx,
        "pdf": in_pdf,
        "html": in_html,
        "base64": in_base64,
        "uuencode": in_uuencode,
    }
)
"""By name."""
