"""What an attached file is, by name, by content, and by the directory of a zip."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from base64 import encodebytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.message.attachments import (
    extension,
    has_double_extension,
    hides_extension,
    inspect,
    type_of,
)
from mailguard.message.parse import Part, parse
from mailguard.message.zip_directory import MEMBER_LIMIT, read_zip_directory


def zipped(*names: str, prefix: bytes = b"", comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"content of it")
        archive.comment = comment
    return prefix + file.getvalue()


def attached(content: bytes, name: str = "x.bin", kind: str = "application/octet-stream") -> Part:
    head = f'Content-Type: {kind}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return parse(head.encode() + encodebytes(content)).parts[0]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.txt", "txt"),
        ("A.TAR.GZ", "gz"),
        ("invoice.pdf.EXE. ", "exe"),
        ("dir/sub\\x.scr", "scr"),
        ("x.exe::$DATA", "exe"),
        ("a.e\u200bxe", "exe"),
        ("a.ｅｘｅ", "exe"),
        ("README", ""),
        (".bashrc", "bashrc"),
        ("dir.d/file", ""),
        ("", ""),
    ],
)
def test_extension_as_the_receiving_system_sees_it(name: str, suffix: str) -> None:
    assert extension(name) == suffix


def test_double_extensions() -> None:
    assert all(
        map(has_double_extension, ["a.pdf.exe", "a.PDF.scr", "a.doc      .js", "photo.jpg_____.exe", "d/a.xlsx.lnk."])
    )
    assert not any(
        map(has_double_extension, ["a.exe", "a.tar.gz", "a.v2.pdf", "pdf.exe", "setup.1.2.exe", "a.exe.pdf"])
    )


def test_names_made_to_be_misread() -> None:
    assert hides_extension("invoice\u202efdp.exe")
    assert hides_extension("invoice.pdf" + " " * 60 + ".exe")
    assert not hides_extension("a name with spaces.pdf")
    assert not hides_extension("__________.pdf")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"MZ\x90\0\x03\0\0\0", "application/x-dosexec"),
        (b"MZ is how this text begins", "text/plain"),
        (b"\x7fELF\x02", "application/x-executable"),
        (b"L\0\0\0\x01\x14\x02\0\0", "application/x-ms-shortcut"),
        (b"%PDF-1.4", "application/pdf"),
        (b"\r\n\r\n%PDF-1.4", "application/pdf"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\n <!DOCTYPE html><html>", "text/html"),
        (b"\xef\xbb\xbf<script>", "text/html"),
        (b"<htmlish", "text/plain"),
        (b"plain words\r\n", "text/plain"),
        (b"\x01\x02\x03\x04", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"\0" * 257 + b"ustar\0", "application/x-tar"),
    ],
)
def test_type_by_content(head: bytes, kind: str) -> None:
    assert type_of(head) == kind


def test_the_facts_of_a_file() -> None:
    content = b"%PDF-1.4 " + bytes(range(256)) * 5_000
    facts = inspect(attached(content, "a.pdf")).attachment
    assert (facts.name, facts.true_type, facts.size) == ("a.pdf", "application/pdf", len(content))
    assert facts.declared_type == "application/octet-stream"
    assert facts.sha256 == hashlib.sha256(content).hexdigest()


def test_of_several_names_the_one_that_runs_counts() -> None:
    raw = b"Content-Type: text/plain; name=a.exe\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nx"
    assert inspect(parse(raw).parts[0]).attachment.name == "a.exe"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("a.txt", "b/c.exe"), "application/zip"),
        (
            ("[Content_Types].xml", "word/document.xml"),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
        (
            ("[Content_Types].xml", "xl/workbook.xml"),
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ),
        (("word/evil.exe",), "application/zip"),
        (("META-INF/MANIFEST.MF", "A.class"), "application/java-archive"),
        (("mimetype", "content.xml"), "application/vnd.oasis.opendocument"),
    ],
)
def test_what_a_zip_is(names: tuple[str, ...], kind: str) -> None:
    inspection = inspect(attached(zipped(*names)))
    assert inspection.attachment.true_type == kind
    assert inspection.zip is not None
    assert tuple(member.name for member in inspection.zip.members) == names


def test_a_zip_with_octets_before_it_and_a_comment_after() -> None:
    directory = read_zip_directory(zipped("a.exe", "é/ü.txt", prefix=b"stub" * 100, comment=b"PK\x05 comment"))
    assert [member.name for member in directory.members] == ["a.exe", "é/ü.txt"]
    assert directory.complete
    assert directory.members[0].size == 13


def test_the_directory_of_a_large_archive_is_read_from_its_end() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("big.bin", b"x" * 6_000_000)
        archive.writestr("b.exe", b"MZ")
    inspection = inspect(attached(file.getvalue(), "a.zip"))
    assert inspection.zip is not None
    assert [member.name for member in inspection.zip.members] == ["big.bin", "b.exe"]


def test_encrypted_members() -> None:
    data = bytearray(zipped("secret.txt"))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    assert [member.encrypted for member in read_zip_directory(bytes(data)).members] == [True]


def test_an_endless_directory_is_cut() -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[0] * 6, *[0] * 3, 1, 0, 0, 0, 0, 0, 0) + b"x"
    entries = entry * 70_000
    data = entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(entries), 0, 0)
    directory = read_zip_directory(data)
    assert len(directory.members) == MEMBER_LIMIT
    assert not directory.complete


@pytest.mark.parametrize("cut", [1, 10, 30, 60])
def test_a_broken_directory_says_so(cut: int) -> None:
    assert not read_zip_directory(zipped("a.txt")[:-cut]).complete


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_nothing_raises(junk: bytes, at: int, octet: int) -> None:
    data = bytearray(zipped("a.txt", "b.exe"))
    data[at % len(data)] = octet
    for content in (bytes(data), junk, bytes(data) + junk, b"PK\x05\x06" + junk):
        read_zip_directory(content)
        type_of(content)
    extension(junk.decode("latin-1"))
    has_double_extension(junk.decode("latin-1"))
