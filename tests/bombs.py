"""Files and mails made to stop whoever looks into them. Each is small as it comes, and costs much to those without limits."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import pikepdf

from tests.quine import gzip_quine

Named = tuple[str, bytes]


def small_zip() -> Named:
    """No bomb: what the others are measured against."""
    return "notes.zip", _zip({"notes.txt": b"The minutes of our meeting.\n"})


def nested_zips() -> Named:
    """As 42.zip: 16 archives in each of 16 in each of 16 in each of 16, and in the innermost 64 MiB of zeros: 4 TiB."""
    inner = _zip({"0.dll": bytes(64 * 1024 * 1024)})
    for level in range(4):
        inner = _zip({f"lib {level}-{number}.zip": inner for number in range(16)})
    return "42.zip", inner


def flat_zip() -> Named:
    """One member of 96 MiB of zeros."""
    return "report.zip", _zip({"report.txt": bytes(96 * 1024 * 1024)})


def overlapping_zip() -> Named:
    """10,000 entries of the directory, all of which name the same 4 MiB of compressed zeros: 40 GiB."""
    single = _zip({"a.txt": bytes(4 * 1024 * 1024)})
    start = single.index(b"PK\x01\x02")
    end = single.rindex(b"PK\x05\x06")
    entry, count = single[start:end], 10_000
    directory = b"".join(entry[:46] + b"%05d" % number + entry[46 + 5 :] for number in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    return "overlap.zip", single[:start] + directory + tail


def many_members() -> Named:
    """30,000 empty files."""
    return "many.zip", _zip({f"{number:x}": b"" for number in range(30_000)})


def nested_gzip() -> Named:
    """Compressed 60 times over."""
    raw = bytes(1024)
    for _ in range(60):
        raw = gzip.compress(raw)
    return "deep.gz", raw


def gzip_of_zeros() -> Named:
    """256 MiB of zeros, compressed twice."""
    packer = zlib.compressobj(6, wbits=31)
    block = bytes(16 * 1024 * 1024)
    once = b"".join(packer.compress(block) for _ in range(16)) + packer.flush()
    return "zeros.gz", gzip.compress(once)


def billion_laughs_docx() -> Named:
    """A document whose text is an entity of entities of entities."""
    return "laughs.docx", _zip(
        {
            "[Content_Types].xml": b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "word/document.xml": _LAUGHS + b'<w:document xmlns:w="w"><w:t>&l9;</w:t></w:document>',
            "word/_rels/document.xml.rels": _LAUGHS + b"<Relationships>&l9;</Relationships>",
        }
    )


def billion_laughs_svg() -> Named:
    """The same as a drawing."""
    return "laughs.svg", _LAUGHS + b'<svg xmlns="http://www.w3.org/2000/svg"><text>&l9;</text></svg>'


_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">'
    + b"".join(
        b'<!ENTITY l%d "%s">' % (level, b"".join(b"&l%d;" % (level - 1) for _ in range(10))) for level in range(1, 10)
    )
    + b"]>"
)


def pdf_of_many_objects() -> Named:
    """100,000 objects, each of which names the next."""
    out = io.BytesIO()
    with pikepdf.new() as document:
        document.add_blank_page()
        later = document.make_indirect(pikepdf.Dictionary(End=1))
        for _ in range(100_000):
            later = document.make_indirect(pikepdf.Dictionary(Next=later))
        document.Root.Chain = later
        document.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return "objects.pdf", out.getvalue()


def pdf_of_nested_arrays() -> Named:
    """An array in an array, 100,000 deep."""
    depth = 100_000
    body = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R/A " + b"[" * depth + b"]" * depth + b">>\nendobj\n"
    return "nested.pdf", body + b"2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF\n"


def pdf_stream_bomb() -> Named:
    """A page whose content swells to 1 GiB, packed twice over."""
    packed = zlib.compress(zlib.compress(bytes(64 * 1024 * 1024), 9), 9)
    head = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n"
    page = b"3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents["
    page += b"4 0 R " * 16 + b"]>>\nendobj\n"
    stream = b"4 0 obj\n<</Filter[/FlateDecode/FlateDecode]/Length %d>>\nstream\n" % len(packed) + packed
    return "stream.pdf", head + page + stream + b"\nendstream\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF\n"


def vast_picture() -> Named:
    """A PNG of 50,000 × 50,000 pixels, all of one colour."""
    side = 50_000
    packer = zlib.compressobj(6)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return "vast.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def nested_tags() -> Named:
    """A page with an element in an element, 200,000 deep."""
    return "tags.html", b"<html><body>" + b"<div><b>" * 100_000 + b"text"


def hostile_script() -> Named:
    """A page of 2 MB made of what patterns with repeats within repeats choke on."""
    text = b"<script>" + b"a" * 500_000 + b"((((" * 100_000 + b"atob('" + b"A" * 1_000_000
    return "script.html", text


def hostile_rtf() -> Named:
    """Groups in groups, 200,000 deep, with objects that never end."""
    return "deep.rtf", b"{\\rtf1" + b"{\\object\\objdata 0105" * 50_000 + b"41" * 200_000


def nested_base64() -> Named:
    """Base64 of base64, twelve times over: 8 MB."""
    raw = bytes(200_000)
    for _ in range(12):
        raw = base64.encodebytes(raw)
    return "text.txt", raw


def nested_in_itself() -> Named:
    """A zip of a zip of the same name and so on, 100 deep."""
    raw = _zip({"r.txt": b"r"})
    for _ in range(100):
        raw = _zip({"r.zip": raw})
    return "r.zip", raw


def gzip_of_itself() -> Named:
    """What comes out is the file again, without end."""
    return "loop.gz", gzip_quine()


def million_entries() -> Named:
    """A zip64 of 1,000,000 entries, all of which name the same empty file; packed once more, since it has 52 MB."""
    count = 1_000_000
    entry = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, 0, 0, 6, 0)
    local = b"PK\3\4" + entry + b"000000"
    before = b"PK\1\2\x14\0" + entry + bytes(14)
    directory = b"".join(before + b"%06x" % number for number in range(count))
    start, size = len(local), len(directory)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    end64 += struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return "million.zip", _zip({"entries.zip": local + directory + end64 + end})


def hostile_patterns() -> Named:
    """What patterns lose their way in, a file for each: half a megabyte of a piece over and over, without the end that is looked for."""
    size = 500_000
    return "patterns.zip", _zip(
        {
            name: head + (piece * (size // len(piece) + 1))[:size]
            for name, head, piece in (
                ("a.html", b"<script>", b"'+'"),
                ("b.html", b"<script>data:", b"a;"),
                ("c.html", b"<script>", b"a.push('A');"),
                ("d.html", b"<p ", b"onclick ="),
                ("e.csv", b"=", b"a|"),
                ("f.csv", b"=cmd", b"'\""),
                ("g.txt", b"", b"begin 644 a\n"),
                ("h.rtf", b"{\\rtf1", b"{\\*\\template "),
                ("i.rtf", b"{\\rtf1{\\*\\objdata ", b"\\'"),
                ("j.vcf", b"BEGIN:VCARD\r\n", b"PHOTO;ENCODING=b;a="),
                ("k.xml", b"<?mso-application progid='Word.Document'?><w:instrText>DDE", b"<w:fldChar "),
                ("l.pdf", b"%PDF-1.4\n1 0 obj<</S/JavaScript/JS(", b"AFDate(x) "),
                ("m.svg", b"<svg>", b"<!ENTITY a '&a"),
                ("n.url", b"[InternetShortcut]\r\n", b"URL=\\\\"),
            )
        }
    )


def one_of_each() -> Named:
    """Every other bomb in one archive."""
    return "each.zip", _zip(dict(made() for name, made in FILES.items() if name != "one_of_each"))


def _zip(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, raw in members.items():
            archive.writestr(zipfile.ZipInfo(name), raw, zipfile.ZIP_DEFLATED)
    return out.getvalue()


FILES: Mapping[str, Callable[[], Named]] = MappingProxyType(
    {
        made.__name__: made
        for made in (
            nested_zips,
            flat_zip,
            overlapping_zip,
            many_members,
            nested_gzip,
            gzip_of_zeros,
            billion_laughs_docx,
            billion_laughs_svg,
            pdf_of_many_objects,
            pdf_of_nested_arrays,
            pdf_stream_bomb,
            vast_picture,
            nested_tags,
            hostile_script,
            hostile_rtf,
            nested_base64,
            nested_in_itself,
            gzip_of_itself,
            million_entries,
            hostile_patterns,
            one_of_each,
        )
    }
)
"""Attachments, by the name of what makes them."""

_HEAD = b"From: a@sender.test\r\nTo: b@client.test\r\nSubject: a bomb\r\nMIME-Version: 1.0\r\n"


def many_parts() -> bytes:
    """A multipart of 1,000,000 parts."""
    return _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 1_000_000 + b"--b--\r\n"


def many_headers() -> bytes:
    """1,000,000 header fields."""
    return _HEAD + b"X-A: b\r\n" * 1_000_000 + b"\r\ntext\r\n"


def nested_multiparts() -> bytes:
    """A multipart in a multipart, 2,000 deep."""
    parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(2_000)
    )
    return _HEAD + parts + b"\r\ntext\r\n"


def nested_messages() -> bytes:
    """A message in a message, 2,000 deep."""
    return _HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 2_000 + b"text\r\n"


def nested_tags_mail() -> bytes:
    """A body with an element in an element, 200,000 deep."""
    return _HEAD + b"Content-Type: text/html\r\n\r\n" + b"\r\n".join([b"<div><b>" * 100] * 1_000) + b"text\r\n"


def long_lines() -> bytes:
    """A text of one line of 5 MB in which patterns with repeats lose their way."""
    return (
        _HEAD + b"Content-Type: text/plain\r\n\r\n" + b"a" * 1_000_000 + b"@" * 1_000_000 + b"://" * 1_000_000 + b"\r\n"
    )


def many_bombs() -> bytes:
    """100 attachments, of which each is a text that takes long to be taken apart."""
    parts = b"".join(
        b'--b\r\nContent-Type: text/plain; name="%d.html"\r\n\r\n<script>' % number
        + b"a.push('%d');\r\n" % number * 8_000
        for number in range(100)
    )
    return _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"


def slow_files() -> bytes:
    """20 archives of 600 pages each, of which each takes all the time that a file is given; they differ in their comments."""
    page = b"<script>" + b"a.push('A');\r\n" * 4_000
    raw = _zip({f"{number}.html": page + b"%d" % number for number in range(600)})
    parts = b"".join(
        b'--b\r\nContent-Type: application/zip; name="%d.zip"\r\nContent-Transfer-Encoding: base64\r\n\r\n' % number
        + base64.encodebytes(raw[:-2] + b"\2\0%02d" % number)
        for number in range(20)
    )
    return _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"


def vast_pictures() -> bytes:
    """20 pictures of 6,300 × 6,300 pixels, which is just within what is looked into."""
    side = 6_300
    data = zlib.compress(bytes((1 + 4 * side) * side), 1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pictures = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
        + chunk(b"tEXt", b"a\0%d" % number)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
        for number in range(20)
    )
    parts = b"".join(
        b'--b\r\nContent-Type: image/png; name="%d.png"\r\nContent-Transfer-Encoding: base64\r\n\r\n' % number
        + base64.encodebytes(raw)
        for number, raw in enumerate(pictures)
    )
    return _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"


MAILS: Mapping[str, Callable[[], bytes]] = MappingProxyType(
    {
        made.__name__: made
        for made in (
            many_bombs,
            slow_files,
            vast_pictures,
            many_parts,
            many_headers,
            nested_multiparts,
            nested_messages,
            nested_tags_mail,
            long_lines,
        )
    }
)
"""Whole mails, by the name of what makes them."""
