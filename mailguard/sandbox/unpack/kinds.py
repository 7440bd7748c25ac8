"""What a file is, by its content and structure, its name and declared type: the MIME types that openers are chosen by.

Also where another file begins within it, for files of two kinds: a picture with an archive behind it, an archive with junk before it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from types import MappingProxyType

import olefile

from mailguard.message.attachments import HEAD, UNKNOWN, extension, type_of, type_of_zip
from mailguard.message.zip_directory import read_zip_directory

ZIP = "application/zip"
OLE = "application/x-ole-storage"
PROGRAM = "application/x-dosexec"
TEXT = "text/plain"

_TAIL = 4 * 1024 * 1024
"""Octets from the end of a zip in which its directory must lie to be read."""
_LOOK = 16 * 1024
"""Octets of a text by which its kind is told."""

# (offset, octets, type): what the table of message.attachments does not have. The first that fits.
_MORE: tuple[tuple[int, bytes, str], ...] = (
    (0, b"!<arch>\ndebian", "application/vnd.debian.binary-package"),
    (0, b"!<arch>\n", "application/x-archive"),
    (0, b"\xed\xab\xee\xdb", "application/x-rpm"),
    (0, b"070701", "application/x-cpio"),
    (0, b"070702", "application/x-cpio"),
    (0, b"070707", "application/x-cpio"),
    (0, b"\xc7\x71", "application/x-cpio"),
    (0, b"\x71\xc7", "application/x-cpio"),
    (0, b"MSWIM\0\0\0", "application/x-ms-wim"),
    (0, b"xar!", "application/x-xar"),
    (0, b"WARC/", "application/warc"),
    (0, b"LZIP", "application/x-lzip"),
    (0, b"\x1f\x9d", "application/x-compress"),
    (0, b"\x1f\xa0", "application/x-compress"),
    (0, b"\x89LZO", "application/x-lzop"),
    (0, b"\x04\x22\x4d\x18", "application/x-lz4"),
    (0, b"LRZI", "application/x-lrzip"),
    (0, b"SZDD\x88\xf0\x27\x33", "application/x-ms-compress-szdd"),
    (7, b"**ACE**", "application/x-ace"),
    (0, b"ALZ\x01", "application/x-alz"),
    (0, b"EGGA", "application/x-egg"),
    (20, b"\xdc\xa7\xc4\xfd", "application/x-zoo"),
    (0, b"StuffIt", "application/x-stuffit"),
    (0, b"SIT!", "application/x-stuffit"),
    (0, b"ISc(", "application/x-installshield"),
    (8, b"\x19\x04\x00\x10", "application/x-sis"),
    (0, b"\x7a\x1a\x20\x10", "application/x-sis"),
    (0, b"vhdxfile", "application/x-vhdx"),
    (0, b"conectix", "application/x-vhd"),
    (0, b"QFI\xfb", "application/x-qcow2"),
    (0, b"KDMV", "application/x-vmdk"),
    (0, b"# Disk DescriptorFile", "application/x-vmdk"),
    (0, b"\x3f\x5f\x03\x00", "application/winhlp"),
    (0, b"!BDN", "application/vnd.ms-outlook-pst"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"\0asm", "application/wasm"),
    (0, b"wOFF", "font/woff"),
    (0, b"wOF2", "font/woff2"),
    (0, b"\xd7\xcd\xc6\x9a", "image/wmf"),
    (40, b" EMF", "image/emf"),
)
# A SEQUENCE that begins with an OBJECT IDENTIFIER of PKCS #7, or of S/MIME's content types (RFC 5652 §3).
_PKCS7 = re.compile(
    rb"0(?:\x80|[\x81-\x84].{1,4}|.)\x06[\x09\x0b]\x2a\x86\x48\x86\xf7\x0d\x01(?:\x07[\x02\x03]|\x09\x10\x01[\x09\x17])",
    re.DOTALL,
)
_LHA = re.compile(rb"-(?:lh[0-9a-z]|lz[0-9s]|pm[0-9s])-")

# Of texts, in this order. Leading blanks and a byte order mark are skipped before.
_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL | re.MULTILINE), kind)
    for pattern, kind in (
        (rb"\A\{\\\\?rt", "application/rtf"),
        (rb"\A[^<]{0,512}<\?xml[^>]{0,200}>.{0,400}?progid=.(?:Word|Excel|PowerPoint)\.", "application/x-office-xml"),
        (rb"\A[^<]{0,512}<\?xml[^>]{0,200}>.{0,2048}?<(?:w:wordDocument|pkg:package)\b", "application/x-office-xml"),
        (
            rb"\A[^<]{0,512}(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,1024}?-->\s*|<!DOCTYPE[^>]{0,2048}>\s*){0,4}<(?:svg:)?svg\b",
            "image/svg+xml",
        ),
        (
            rb"\A(?:<\?xml[^>]{0,200}>\s*)?<(?:libraryDescription|searchConnectorDescription)\b",
            "application/windows-library+xml",
        ),
        (rb"\A(?:<\?xml[^>]{0,200}>\s*)?<PCSettings\b", "application/windows-settings+xml"),
        (rb"\ABEGIN:VCALENDAR\b", "text/calendar"),
        (rb"\ABEGIN:VCARD\b", "text/vcard"),
        (rb"\A\[InternetShortcut(?:\.[AW])?\]", "application/x-mswinurl"),
        (rb"\AWEB\r?\n1\r?\n", "text/x-ms-iqy"),
        (rb"\AID;P", "text/x-sylk"),
        (rb"\(This file must be converted with BinHex", "application/mac-binhex40"),
        (rb"^begin(?:-base64)? [0-7]{3,4} \S.*\r?\n[\x20-\x60].{0,100}$", "text/x-uuencode"),
        (rb"^=ybegin .*name=", "text/x-yenc"),
        (rb"\A-----BEGIN (?:PKCS7|CMS|SIGNED MESSAGE|SMIME)", "application/pkcs7-mime"),
        (rb"\A-----BEGIN PGP MESSAGE-----", "application/pgp-encrypted"),
        (rb"\A-----BEGIN PGP SIGNATURE-----", "application/pgp-signature"),
    )
)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|iframe|meta|title|table|form|style)\b", re.IGNORECASE)
_BINARY_TEXT = (b"\xff\xfe", b"\xfe\xff")
# A mail: its first lines are fields, among them one that mails have.
_FIELDS = re.compile(rb"\A(?:From [^\n]*\n|>From [^\n]*\n)?(?:[!-9;-~]{1,76}:[^\n]*\n(?:[ \t][^\n]*\n)*){2,}", re.ASCII)
_MAIL_FIELD = re.compile(
    rb"^(?:received|from|to|subject|date|message-id|mime-version|content-type|return-path|delivered-to|dkim-signature):",
    re.IGNORECASE | re.MULTILINE,
)
_PAGE_OF_MAIL = re.compile(rb"^content-type:\s*multipart/related", re.IGNORECASE | re.MULTILINE)
# However short: but then with what words have not, a digit or a capital after a small letter, or the padding.
_BASE64 = re.compile(
    rb"\A(?=[a-zA-Z+/]*+[0-9=]|[A-Za-z+/]*?[a-z][A-Z])[A-Za-z0-9+/_-]{20,}+[A-Za-z0-9+/_\r\n-]*+={0,2}+\s*+\Z"
)
_BASE64_LINES = re.compile(
    rb"\A(?:-----BEGIN [A-Z0-9 ]{1,40}-----\s+[A-Za-z0-9+/]{16}|[A-Za-z0-9+/_-]{40,}={0,2}\r?\n)"
)

# Streams of an OLE file by which it is told; the first that is there, near its root.
_STREAMS: tuple[tuple[str, str], ...] = (
    ("encryptedpackage", "application/x-ole-encrypted"),
    ("worddocument", "application/msword"),
    ("workbook", "application/vnd.ms-excel"),
    ("book", "application/vnd.ms-excel"),
    ("powerpoint document", "application/vnd.ms-powerpoint"),
    ("__properties_version1.0", "application/vnd.ms-outlook"),
    ("__nameid_version1.0", "application/vnd.ms-outlook"),
    ("visiodocument", "application/vnd.visio"),
    ("contents", "application/vnd.ms-publisher"),
    ("\x01ole10native", "application/x-ole-package"),
)
_MSI = "application/x-msi"
_MSI_CLASS = frozenset({"000C1084-0000-0000-C000-000000000046", "000C1086-0000-0000-C000-000000000046"})

UNIFORM: MappingProxyType[str, str] = MappingProxyType(
    {"application/x-zip-compressed": ZIP, "application/x-rar-compressed": "application/x-rar"}
)


def kind_of(raw: bytes, name: str = "", declared: str = "") -> str:
    """The MIME type of a file: by its first octets, by its structure, and where these say nothing, by how it looks."""
    if not raw:
        return "application/x-empty"
    kind = type_of(raw[:HEAD])
    if kind == ZIP:
        return _of_zip(raw)
    if kind == OLE:
        return _of_ole(raw)
    if kind == "application/java-vm" and extension(name) != "class" and 0 < int.from_bytes(raw[4:8], "big") < 20:
        return "application/x-mach-binary"  # for several processors: it begins as Java's classes do
    if kind not in (UNKNOWN, TEXT, "text/html"):
        return kind
    if more := _more(raw):
        return more
    if kind == UNKNOWN and not raw.startswith(_BINARY_TEXT) and b"\0" in raw[:HEAD]:
        return kind
    return _of_text(raw, kind, name)


def readings(raw: bytes, kind: str) -> Iterator[tuple[str, int]]:
    """What else a file is, with the octet at which that begins: to be opened as that too."""
    if kind not in _ZIPPED and (end := raw.rfind(b"PK\x05\x06", max(0, len(raw) - 65_557))) >= 0:
        comment = int.from_bytes(raw[end + 20 : end + 22], "little")
        size, offset = (int.from_bytes(raw[end + at : end + at + 4], "little") for at in (12, 16))
        exact = end + 22 + comment == len(raw)
        directory = raw.startswith(b"PK\x01\x02", max(0, end - size)) or raw.startswith(b"PK\x01\x02", offset)
        if directory and (exact or kind not in _HOLDING):
            yield ZIP, 0
    if (
        kind != "application/pdf"
        and kind not in _HOLDING
        and 0 < (at := raw[:2048].find(b"%PDF-")) < 1024
        and not (kind in _ZIPPED and at == _stored_at(raw))
    ):
        yield "application/pdf", at
    if kind in _OPAQUE:
        for magic, other in _APPENDED:
            if (at := raw.find(magic, 1)) > 0:
                yield other, at
    if kind in (UNKNOWN, TEXT) and (at := raw[:HEAD].find(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")) > 0:
        yield OLE, at
    if kind in (UNKNOWN, TEXT) and (at := raw[:HEAD].find(b"PK\x03\x04")) > 0:
        yield ZIP, at


def image_kind(raw: bytes) -> str:
    """Which image of a disk it is by what does not stand at its beginning: a disc's volume descriptors (ECMA-167 §2/9), a VHD's footer.

    Whatever the first octets say, Windows mounts it by these. Empty for none.
    """
    names = {raw[at + 1 : at + 6] for at in range(32_768, 32_768 + 32 * 2048, 2048)}
    if names & {b"NSR02", b"NSR03"}:
        return "application/x-udf"
    if raw.startswith(b"CD001", 32_769):
        return "application/x-iso9660-image"
    return "application/x-vhd" if len(raw) > 512 and raw.startswith(b"conectix", len(raw) - 512) else ""


def _stored_at(raw: bytes) -> int:
    """Where the content of a zip's first file begins, if it is not compressed; otherwise 0."""
    if raw[:4] != b"PK\x03\x04" or raw[8:10] != b"\0\0":
        return 0
    return 30 + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")


_ZIPPED = frozenset(
    {
        ZIP,
        "application/java-archive",
        "application/vnd.android.package-archive",
        "application/epub+zip",
        "application/vnd.oasis.opendocument",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument",
        "application/vnd.ms-visio.drawing",
        "application/vnd.ms-package",
    }
)
"""Kinds that are zips."""
_HOLDING = frozenset(
    {
        "application/x-tar",
        "application/x-cpio",
        "application/x-archive",
        "application/x-iso9660-image",
        "application/x-udf",
        "application/x-vhd",
        "application/x-vhdx",
        "application/x-7z-compressed",
        "application/x-rar",
        "application/vnd.ms-cab-compressed",
        "application/x-ole-storage",
        "application/x-msi",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.ms-outlook",
        "application/vnd.ms-tnef",
        "application/onenote",
        "application/pdf",
        "application/warc",
        "message/rfc822",
    }
)
"""Kinds that hold other files as they are: one at the end of them is one of theirs."""
_OPAQUE = frozenset({"image/png", "image/jpeg", "image/gif", "image/bmp", "image/tiff", PROGRAM, "audio/mpeg"})
"""Kinds that programs open by their beginning, so that archives are hung behind them."""
_APPENDED = (
    (b"Rar!\x1a\x07\x00", "application/x-rar"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar"),
    (b"7z\xbc\xaf\x27\x1c\x00", "application/x-7z-compressed"),
    (b"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
)


def _of_zip(raw: bytes) -> str:
    directory = read_zip_directory(raw[-_TAIL:])
    kind = type_of_zip(directory)
    if kind != ZIP:
        return kind
    names = {member.name.lower().lstrip("/") for member in directory.members}
    if "[content_types].xml" in names:
        if any(name.startswith("visio/") for name in names):
            return "application/vnd.ms-visio.drawing"
        if "appxmanifest.xml" in names or "appxmetadata/appxbundlemanifest.xml" in names:
            return "application/vnd.ms-appx"
        return "application/vnd.openxmlformats-officedocument"
    if "mimetype" in names and "meta-inf/container.xml" in names:
        return "application/epub+zip"
    return ZIP


def _of_ole(raw: bytes) -> str:
    try:
        with olefile.OleFileIO(io.BytesIO(raw)) as ole:
            if str(ole.root.clsid).upper() in _MSI_CLASS:
                return _MSI
            names = {path[-1].lower() for path in ole.listdir() if len(path) <= 2}
    except Exception:  # noqa: BLE001 - whatever it raises for a broken one: its reader may be more patient
        names = {name for name, _ in _STREAMS if name.encode("utf-16-le") in raw.lower()}
    return next((kind for name, kind in _STREAMS if name in names), OLE)


def _more(raw: bytes) -> str:
    for offset, magic, kind in _MORE:
        if raw.startswith(magic, offset):
            return kind
    if image := image_kind(raw):
        return image
    if _PKCS7.match(raw):
        return "application/pkcs7-mime"
    if _LHA.match(raw, 2):
        return "application/x-lzh"
    if len(raw) > 512 and raw.startswith(b"koly", len(raw) - 512):
        return "application/x-apple-diskimage"
    if raw.startswith(b"\x55\xaa", 510):
        return (
            "application/x-fat-image"
            if raw[54:57] == b"FAT" or raw[82:85] == b"FAT"
            else "application/x-raw-disk-image"
        )
    if raw.startswith(b"\x5d\0\0") and raw[5:13] == b"\xff" * 8:
        return "application/x-lzma"
    return ""


def _of_text(raw: bytes, kind: str, name: str) -> str:
    head = raw[:_LOOK]
    if head.startswith(_BINARY_TEXT):
        head = head.decode("utf-16", "replace").encode("utf-8", "replace")
    head = head.lstrip(b"\xef\xbb\xbf \t\r\n\x0c")
    for pattern, found in _TEXTS:
        if pattern.search(head):
            return found
    if (fields := _FIELDS.match(head)) and len(set(map(bytes.lower, _MAIL_FIELD.findall(fields[0])))) >= 2:
        return "message/rfc822"
    if (
        kind == "text/html"
        or extension(name) in ("htm", "html", "xhtml", "xht", "shtml", "hta")
        or _HTML.search(head[:2048])
    ):
        return "text/html"
    if _BASE64_LINES.match(head) or _BASE64.match(head if len(raw) < _LOOK else b""):
        return "text/x-base64"
    return TEXT if kind == TEXT or raw.startswith(_BINARY_TEXT) else kind
