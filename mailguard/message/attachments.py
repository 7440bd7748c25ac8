"""What an attached file is: its extension as the receiving system sees it, its type by content, and what a zip holds.

Looks at a file's first octets and at a zip's directory, within limits. Nothing is unpacked or run here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import deque
from dataclasses import dataclass

from mailguard.core.verdict import Attachment
from mailguard.message.message import Part
from mailguard.message.zip_directory import ZipDirectory, read_zip_directory

HEAD = 4_096
"""Octets by which a type is told."""
NAME_LIMIT = 255
"""Characters of a name that are kept."""
ZIP_TAIL = 4 * 1024 * 1024
"""Octets from the end of a zip archive in which its directory must lie to be read."""
UNKNOWN = "application/octet-stream"

EXECUTABLE_TYPES = frozenset(
    {"application/x-dosexec", "application/x-executable", "application/x-mach-binary", "application/x-ms-shortcut"}
)
EXECUTABLE_EXTENSIONS = frozenset(
    [
        "apk",
        "appref-ms",
        "appx",
        "bat",
        "chm",
        "cmd",
        "com",
        "cpl",
        "dll",
        "exe",
        "gadget",
        "hta",
        "inf",
        "ins",
        "iqy",
        "jar",
        "jnlp",
        "js",
        "jse",
        "lnk",
        "lua",
        "mde",
        "msc",
        "msi",
        "msix",
        "msp",
        "mst",
        "pif",
        "pl",
        "ps1",
        "ps1xml",
        "ps2",
        "psc1",
        "psm1",
        "py",
        "reg",
        "rgs",
        "scf",
        "scr",
        "sct",
        "sh",
        "settingcontent-ms",
        "shb",
        "slk",
        "sys",
        "url",
        "vb",
        "vbe",
        "vbs",
        "vbscript",
        "ws",
        "wsc",
        "wsf",
        "wsh",
        "xll",
    ]
)
"""Extensions that a double click runs, or that carry what runs."""
DOCUMENT_EXTENSIONS = frozenset(
    [
        "avi",
        "bmp",
        "csv",
        "doc",
        "docm",
        "docx",
        "eml",
        "gif",
        "htm",
        "html",
        "jpeg",
        "jpg",
        "mov",
        "mp3",
        "mp4",
        "odp",
        "ods",
        "odt",
        "pdf",
        "png",
        "pps",
        "ppsx",
        "ppt",
        "pptx",
        "rtf",
        "tif",
        "tiff",
        "txt",
        "wav",
        "xls",
        "xlsb",
        "xlsm",
        "xlsx",
        "xml",
        "zip",
    ]
)
"""Extensions that make a name look harmless when they stand before another one."""
HTML_EXTENSIONS = frozenset({"htm", "html", "shtml", "xhtml", "xht", "mhtml", "mht", "svg"})

# (offset, octets, type); the first that fits. Programs come first, since it is they that hide.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (0, b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (0, b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"Rar!\x1a\x07", "application/x-rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"MSCF", "application/vnd.ms-cab-compressed"),
    (0, b"\x60\xea", "application/x-arj"),
    (257, b"ustar", "application/x-tar"),
    (32769, b"CD001", "application/x-iso9660-image"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (8, b"WEBP", "image/webp"),
    (0, b"ITSF", "application/vnd.ms-htmlhelp"),
    (0, b"x\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (0, b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "application/onenote"),
    (0, b"\xca\xfe\xba\xbe", "application/java-vm"),
    (0, b"#!/", "text/x-script"),  # `#![` begins other texts
    (0, b"#! /", "text/x-script"),
    (4, b"ftyp", "video/mp4"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "application/ogg"),
    (0, b"RIFF", "application/x-riff"),
)
_HTML = re.compile(rb"^[\s\xef\xbb\xbf]*<(?:!doctype\s+html|html|head|body|script|svg)\b", re.IGNORECASE)
_PDF = re.compile(rb"^.{0,1024}?%PDF-\d", re.DOTALL)
# Zip containers by the names within: what they are to their reader.
_IN_ZIP = (
    ("word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("meta-inf/manifest.mf", "application/java-archive"),
    ("androidmanifest.xml", "application/vnd.android.package-archive"),
    ("content.xml", "application/vnd.oasis.opendocument"),
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x1f\x7f]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_PADDED = re.compile(r"[\s_\u00a0]{10,}")


@dataclass(frozen=True, slots=True)
class Inspection:
    """One attached file. `zip` is its directory when it is a zip archive (of files, or a document of that form)."""

    attachment: Attachment
    names: tuple[str, ...]
    zip: ZipDirectory | None = None

    @property
    def is_archive(self) -> bool:
        """Whether it is a zip of files, rather than a document in a zip's form."""
        return self.attachment.true_type == "application/zip"


def extension(name: str) -> str:
    """The last extension of a file name as the receiving system will see it, in lower case; empty when there is none.

    `dir/invoice.pdf.EXE. ` gives `exe`: a path counts by its last part, Windows drops dots and spaces at the end, and
    invisible characters do not count.
    """
    last = _last_part(name)
    _, dot, suffix = last.rpartition(".")
    return suffix.partition(":")[0].rstrip(". ").lower() if dot else ""  # NTFS: `x.exe::$DATA` is `x.exe`


def _last_part(name: str) -> str:
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)) if not name.isascii() else name
    return re.split(r"[/\\]", plain)[-1].rstrip(". \t\r\n\0")


def has_double_extension(name: str) -> bool:
    """Whether an executable poses as a document: `invoice.pdf.exe`, also with spaces between."""
    last = _last_part(name)
    stem, _, suffix = last.rpartition(".")
    before = stem.rstrip(" _\u00a0").rpartition(".")[2].lower()
    return "." in stem and suffix.lower() in EXECUTABLE_EXTENSIONS and before in DOCUMENT_EXTENSIONS


def hides_extension(name: str) -> bool:
    """Whether a name is made to be misread: text direction overridden, or blanks that push its end out of sight."""
    return bool(_BIDI.search(name)) or (bool(_PADDED.search(name)) and extension(name) in EXECUTABLE_EXTENSIONS)


def type_of(head: bytes) -> str:
    """The MIME type by the first octets; `text/plain` for what looks like text; UNKNOWN otherwise."""
    if b"\0" in head[:64] and head.startswith((b"MZ", b"BM")):  # letters that a text may begin with too
        return "application/x-dosexec" if head.startswith(b"MZ") else "image/bmp"
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if _HTML.match(head):
        return "text/html"
    if _PDF.match(head):
        return "application/pdf"
    if b"\0" not in head and head:
        return "text/plain" if _is_textual(head) else UNKNOWN
    return UNKNOWN


def _is_textual(head: bytes) -> bool:
    controls = len(head) - len(head.translate(None, bytes(set(range(32)) - {9, 10, 12, 13, 27})))
    return controls * 100 < len(head) or not controls


def inspect(part: Part) -> Inspection:
    """Hash a part's whole content, tell its type, and read its directory when it is a zip. Takes time by its size."""
    digest = hashlib.sha256()
    size = 0
    head = b""
    tail: deque[bytes] = deque()
    tail_size = 0
    is_zip = False
    for chunk in part.chunks():
        if not size:
            head = chunk[: 40 * 1024]
            is_zip = head.startswith(b"PK")
        digest.update(chunk)
        size += len(chunk)
        if is_zip:
            tail.append(chunk)
            tail_size += len(chunk)
            while tail_size - len(tail[0]) > ZIP_TAIL:
                tail_size -= len(tail.popleft())
    kind = type_of(head[:HEAD] if not head.startswith(b"CD001", 32769) else head)
    directory = read_zip_directory(tail[0] if len(tail) == 1 else b"".join(tail)) if is_zip else None
    if directory and kind == "application/zip":
        kind = type_of_zip(directory)
    names = tuple(name[:NAME_LIMIT] for name in part.names)
    return Inspection(Attachment(_shown(names), part.content_type, kind, size, digest.hexdigest()), names, directory)


def _shown(names: tuple[str, ...]) -> str:
    """Of several names the one that runs: a mail program may show, or save under, any of them."""
    return next((name for name in names if extension(name) in EXECUTABLE_EXTENSIONS), names[0] if names else "")


def type_of_zip(directory: ZipDirectory) -> str:
    """What a zip is to its reader, by the names within: a document, a Java archive, or a zip of files."""
    names = [member.name.lower().lstrip("/") for member in directory.members]
    document = "[content_types].xml" in names
    for prefix, kind in _IN_ZIP:
        office = prefix.endswith("/")
        if any(name.startswith(prefix) if office else name == prefix for name in names) and (document or not office):
            return kind
    return "application/zip"
