"""Further ways to put a file into another, beside those of wrappings.py: what attackers use where archives are looked for."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from tests import disk_images, rars
from tests.wrappings import PASSWORD, Named, Wrapping, by_7z


def in_odt(name: str, raw: bytes) -> Named:
    """Among the parts of an OpenDocument text."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", "<office:document-content/>")
        archive.writestr(f"Object 1/{name}", raw)
    return f"{name}.odt", out.getvalue()


def in_xlsx(name: str, raw: bytes) -> Named:
    """Among the embedded files of a workbook."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml", '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
        )
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr(f"xl/embeddings/{name}", raw)
    return f"{name}.xlsx", out.getvalue()


def in_rtf(name: str, raw: bytes) -> Named:
    """As a package object ([MS-OLEDS] 2.2.5, its native data as the packager writes it)."""
    title = name.encode("ascii", "replace") + b"\0"
    native = (
        b"\2\0"
        + title
        + title
        + b"\0\0\3\0"
        + struct.pack("<I", len(title))
        + title
        + struct.pack("<I", len(raw))
        + raw
    )
    object_ = struct.pack("<III", 0x501, 2, 8) + b"Package\0" + b"\0" * 8 + struct.pack("<I", len(native)) + native
    return f"{name}.rtf", b"{\\rtf1\\ansi The file: {\\object\\objemb{\\*\\objdata " + object_.hex().encode() + b"}}}"


def in_mht(name: str, raw: bytes) -> Named:
    """A page saved with its parts."""
    encoded = base64.encodebytes(raw).decode().replace("\n", "\r\n")
    return f"{name}.mht", (
        'From: <Saved by a browser>\r\nSubject: page\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary="b"\r\n'
        "\r\n--b\r\nContent-Type: text/html\r\nContent-Location: http://a.test/\r\n\r\n<html><p>Hello</html>\r\n--b\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\nContent-Location: {name}\r\n\r\n"
        f"{encoded}\r\n--b--\r\n"
    ).encode()


def in_p7m(name: str, raw: bytes) -> Named:
    """A mail part with the file, signed opaquely (RFC 8551 §3.5.2)."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a@sender.test")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(who, who, key.public_key(), 4711, day, day.replace(year=2036))
    certificate = made.sign(key, hashes.SHA256())
    part = EmailMessage()
    part.set_content(raw, maintype="application", subtype="octet-stream", filename=name)
    signing = pkcs7.PKCS7SignatureBuilder().set_data(part.as_bytes()).add_signer(certificate, key, hashes.SHA256())
    return "smime.p7m", signing.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])


def in_lzh(name: str, raw: bytes) -> Named:
    """LHA, stored (-lh0-, header level 0)."""
    title = name.encode("ascii", "replace")[:200]
    body = b"-lh0-" + struct.pack("<IIIBB", len(raw), len(raw), 0x5A210000, 0x20, 0) + bytes([len(title)]) + title
    body += struct.pack("<H", _crc16(raw))
    return f"{name}.lzh", bytes([len(body), sum(body) & 0xFF]) + body + raw + b"\0"


def _crc16(raw: bytes) -> int:
    crc = 0
    for octet in raw:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def in_arj(name: str, raw: bytes) -> Named:
    """ARJ, stored."""
    title = name.encode("ascii", "replace")[:200] + b"\0\0"

    def header(kind: int, size: int, crc: int) -> bytes:
        head = struct.pack("<7BxIIIIHHH", 30, 11, 1, 0, 0, 0, kind, 0x5A210000, size, size, crc, 0, 0x20, 0) + title
        return b"\x60\xea" + struct.pack("<H", len(head)) + head + struct.pack("<IH", zlib.crc32(head), 0)

    return f"{name}.arj", header(2, 0, 0) + header(0, len(raw), zlib.crc32(raw)) + raw + b"\x60\xea\0\0"


def in_cpio(name: str, raw: bytes) -> Named:
    """The form of SVR4 without checksums."""

    def entry(title: bytes, data: bytes, mode: int) -> bytes:
        fields = [1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(title) + 1, 0]
        head = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + title + b"\0"
        return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)

    return f"{name}.cpio", entry(name.encode(), raw, 0o100644) + entry(b"TRAILER!!!", b"", 0)


def in_certutil(name: str, raw: bytes) -> Named:
    """As `certutil -encode` writes it."""
    return f"{name}.txt", b"-----BEGIN CERTIFICATE-----\r\n" + base64.encodebytes(
        raw
    ) + b"-----END CERTIFICATE-----\r\n"


def in_wide_base64(name: str, raw: bytes) -> Named:
    """Base64 in UTF-16, as PowerShell writes it."""
    return f"{name}.txt", base64.b64encode(raw).decode().encode("utf-16")


def in_hexadecimal(name: str, raw: bytes) -> Named:
    """In a page's script."""
    return f"{name}.htm", f"<html><script>var d = '{raw.hex()}'; run(d)</script></html>".encode()


def in_svg(name: str, raw: bytes) -> Named:
    """In a drawing's link."""
    encoded = base64.b64encode(raw).decode()
    drawing = f'<a href="data:application/octet-stream;base64,{encoded}" download="{name}"><text>Open</text></a>'
    return f"{name}.svg", f'<svg xmlns="http://www.w3.org/2000/svg">{drawing}</svg>'.encode()


def in_calendar(name: str, raw: bytes) -> Named:
    """Attached to an invitation (RFC 5545 §3.8.1.1)."""
    encoded = base64.b64encode(raw).decode()
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", "SUMMARY:Meeting"]
    lines += [f"ATTACH;ENCODING=BASE64;VALUE=BINARY;X-FILENAME={name}:{encoded}", "END:VEVENT", "END:VCALENDAR", ""]
    return f"{name}.ics", "\r\n".join(lines).encode()


def behind_a_picture(name: str, raw: bytes) -> Named:
    """A zip behind a GIF of one pixel."""
    out = io.BytesIO(b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;")
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, raw)
    return f"{name}.gif", out.getvalue()


def in_zip_lzma(name: str, raw: bytes) -> Named:
    """By a method of zip that few scanners know."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(name, raw)
    return f"{name}.zip", out.getvalue()


def in_zip_ppmd(name: str, raw: bytes) -> Named:
    """By another one."""
    return f"{name}.zip", by_7z(name, raw, "-tzip", "-mm=PPMd")


def in_zip_deflate64(name: str, raw: bytes) -> Named:
    """As Windows packs large files; of the octets of a text besides, since what does not shrink is stored."""
    return f"{name}.zip", by_7z(name, raw + b"\r\n" * 4_000, "-tzip", "-mm=Deflate64")


def in_xlsx_lzma(name: str, raw: bytes) -> Named:
    """In a zip that is told to be a workbook, though no program opens it as that."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr(name, raw)
    return f"{name}.zip", out.getvalue()


def in_rar_encrypted(name: str, raw: bytes) -> Named:
    """RAR 4, stored, with PASSWORD; names in the clear."""
    return f"{name}.rar", rars.rar4(name, raw, PASSWORD)


def in_rar5_encrypted(name: str, raw: bytes) -> Named:
    """RAR 5, stored, names encrypted too, with PASSWORD."""
    return f"{name}.rar", rars.rar5(name, raw, PASSWORD, headers=True)


def in_udf(name: str, raw: bytes) -> Named:
    """A disc with nothing but UDF, as Windows mounts it."""
    return f"{name}.iso", disk_images.udf(name[-60:], raw)


def in_vhd(name: str, raw: bytes) -> Named:
    """A fixed virtual disk with NTFS in a partition."""
    return f"{name}.vhd", disk_images.vhd(disk_images.partitioned(disk_images.ntfs(name[-60:], raw)))


def in_exfat(name: str, raw: bytes) -> Named:
    """A raw disk with exFAT, as of a stick."""
    return f"{name}.img", disk_images.exfat(name[-60:], raw)


def in_vhdx(name: str, raw: bytes) -> Named:
    """A dynamic virtual disk of the newer form."""
    return f"{name}.vhdx", disk_images.vhdx(disk_images.partitioned(disk_images.ntfs(name[-60:], raw)))


FURTHER: Mapping[str, Wrapping] = MappingProxyType(
    {
        "odt": in_odt,
        "xlsx": in_xlsx,
        "rtf": in_rtf,
        "mht": in_mht,
        "p7m": in_p7m,
        "lzh": in_lzh,
        "cpio": in_cpio,
        "arj": in_arj,
        "certutil": in_certutil,
        "base64 in UTF-16": in_wide_base64,
        "hexadecimal": in_hexadecimal,
        "svg": in_svg,
        "calendar": in_calendar,
        "behind a picture": behind_a_picture,
        "zip-lzma": in_zip_lzma,
        "zip-ppmd": in_zip_ppmd,
        "zip-deflate64": in_zip_deflate64,
        "xlsx-lzma": in_xlsx_lzma,
        "rar-encrypted": in_rar_encrypted,
        "rar5-encrypted": in_rar5_encrypted,
        "udf": in_udf,
        "exfat": in_exfat,
        "vhd": in_vhd,
        "vhdx": in_vhdx,
    }
)
"""By name."""
