"""The small readers behind the openers: macros and their compression, workbooks, fields, objects, scripts, encoded runs; within limits."""

from __future__ import annotations

import re
import zlib

from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.sandbox.unpack import (
    biff,
    dde,
    encoded_runs,
    macros,
    office_ole,
    office_xml,
    ole_objects,
    pdf_script,
    vba,
)
from mailguard.sandbox.unpack.encrypted import _has_filepass
from mailguard.sandbox.unpack.targets import is_program, target_of
from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.opened_files import BOUNDS
from tests.unit.sandbox.unpack.test_office import compressed


def _file() -> tuple[File, Work]:
    root = File("a.bin", b"", "application/octet-stream")
    return root, Work(root, bounds=BOUNDS)


def _known(root: File) -> None:
    assert all(symbol in SYMBOLS for symbol, _ in root.found)


def workbook(data: bytes) -> None:
    """A workbook's stream."""
    raw = Input(data).long_rest()
    root, work = _file()
    records = list(biff.records(raw))
    assert sum(len(content) for _, content in records) <= len(raw)
    biff.read_workbook(root, work, raw)
    _has_filepass(raw)
    _known(root)


def compression(data: bytes) -> None:
    """Compressed text of macros, in any octets; and any text again."""
    raw = Input(data).long_rest()
    for text in vba.modules(raw):
        assert len(text) <= vba.TEXT_LIMIT
    try:
        assert len(vba.decompress(raw, 10_000)) <= 10_000
    except ValueError:
        assert not raw.startswith(b"\x01")
    assert vba.decompress(compressed(raw[:8192])) == raw[:8192]


def macro_text(data: bytes) -> None:
    """The source of macros, and the names that compiled ones use."""
    text = Input(data).long_rest().decode("latin-1")
    root, work = _file()
    macros.judge(root, work, [("a", text)], extra=text[:100])
    assert len(macros.revealed(text)) <= macros.TEXT_LIMIT
    macros.judge_compiled(root, work, frozenset(vba._identifiers(data)), [("a", text[:50])])
    _known(root)


def fields(data: bytes) -> None:
    """Fields of documents: in XML, as tokens, in tables of text, in the streams of Word and PowerPoint."""
    source = Input(data)
    how, raw = source.below(4), source.long_rest()
    root, work = _file()
    text = raw.decode("utf-8", "replace")
    try:
        if how == 0:
            office_xml.report_xml(root, work, text)
        elif how == 1:
            dde.report_cells(root, work, text)
        elif how == 2:
            office_ole._word(root, work, raw)
        else:
            office_ole._slides(root, work, raw)
    except (ExhaustedError, zlib.error):
        pass
    _known(root)


def objects(data: bytes) -> None:
    """What embedded objects and links hold."""
    source = Input(data)
    headed, raw = source.flag(), source.long_rest()
    package = ole_objects.package_of(raw, headed=headed)
    root, work = _file()
    if package is not None:
        assert len(package.raw) <= len(raw)
        assert not set(package.name) & set("/\\")
        ole_objects.add_package(root, work, package)
    for target in ole_objects.monikers(raw):
        assert len(target) <= 5_000
        ole_objects.report_link(root, work, target, "a link")
    ole_objects.has_script_moniker(raw)
    ole_objects.is_honest_equation(raw)
    text = raw.decode("latin-1")
    target_of(text)
    is_program(text, "")
    office_xml.report_relation(root, work, "x/attachedTemplate", text, "External")
    _known(root)


def script(data: bytes) -> None:
    """A PDF's script."""
    source = Input(data).long_rest()
    verdict = pdf_script.verdict_of(source)
    assert len(verdict.shown) <= pdf_script.SHOWN
    assert not (verdict.formats_only and verdict.suspicious)


def runs(data: bytes) -> None:
    """Any source with encoded data."""
    source = Input(data)
    joined, raw = source.flag(), source.long_rest()
    found = list(encoded_runs.hidden_files(raw, limit=5_000, count=20, joined=joined))
    assert len(found) <= 20
    assert all(encoded_runs.LEAST <= len(one.raw) <= 5_000 for one in found)
    assert len({one.raw for one in found}) == len(found)
    assert all(re.fullmatch(r"[\w .:%\\-]{1,40}", one.how) for one in found)


TARGETS = (
    Target(
        "workbook",
        workbook,
        (
            b"\x09\x08\x10\0\0\x06\x40\0" + bytes(12) + b"\x85\0\x0a\0\0\0\0\0\1\1\1\0M\0\x18\0\x10\0\x20\0\0\1\0\0\0\0\0\0\0\0\0\0\0\1",
            b"\x09\x08\x10\0\0\x06\x40\0" + bytes(12) + b"\x06\0\x20\0" + bytes(22) + b"\x22\x42\1\x6e\0\x41\x6e\0" + bytes(6),
            b"\xae\1\x10\0\2\0\x0a\0\0cmd\3/c calc!",
            b"\x09\x04\6\0\0\0\x40\0\0\0\x17\0\x08\0\3\3cmd\3/c",
            b"\x09\x08\x10\0\0\x06\x40\0" + bytes(12) + b"\xfd\x06\0\x04\0abcd\xfe\x60",
            b"\x85\0\x0a\0\0\0\0\0\1\1\1\0M\0\xfdcmd /c \xfe\x60",
        ),
        tokens=(b"\x09\x08\x10\0", b"\x85\0", b"\x18\0", b"\xae\1", b"\x06\0", b"\x2f\0\4\0", b"\x42\1\x6e\0", b"\xff\xff"),
    ),
    Target(
        "macro_compression",
        compression,
        (
            b"Attribute VB_Name = \"M\"\r\nSub AutoOpen()\r\nShell \"cmd\"\r\nEnd Sub\r\n" * 3,
            b"junk" + compressed(b"Attribute VB_Name = \"M\"\r\nSub AutoOpen()\r\n"),
            b"\x01\xff\xbf\xff\0\0\xfd\xff\xff\xff\xfe\x60",
            b"\xfd\x01\x10\xb0\0Attribut\0\xfe\x60",
            b"\x01\xff\x3f\xfda\xfe\xff",
        ),
        tokens=(b"\x01", b"\x00Attribut\x00e ", b"\xff\xbf", b"\x00\xb0", b"\xff\x3f"),
    ),
    Target(
        "macro_text",
        macro_text,
        (
            b"Sub AutoOpen()\nCreateObject(\"WScript.Shell\").Run Chr(99) & Chr(109) & \"d\" _\n & \" /c\"\nEnd Sub",
            b"x = StrReverse(\"exe.dmc\") : y = \"636d642e657865202f63\" : z = \"cG93ZXJzaGVsbCAtZW5j\"",
            b"\xfdChr(65) & \xfe\x60",
            b"\xfd\"a\" & \xfe\x60",
            b"\xfd _\n\xfe\x80",
            b"\xfd'\xfe\x80",
            b"\xfdStrReverse(\"\xfe\x60",
            b"\xfd\"41414141\xfe\x60",
            b"\xfdSub \xfe\x60",
            b"Open \xfda \xfe\x80For",
            b"\xfd\"" b"QUJD\xfe\x60",
        ),
        tokens=(b"Sub AutoOpen()", b"Chr(", b"ChrW(&H41)", b"StrReverse(\"", b"\" & \"", b" _\r\n", b"CreateObject(", b"Shell ", b"Declare ", b"URLDownloadToFile", b"Document_Open", b"\nREM "),
    ),
    Target(
        "fields_of_documents",
        fields,
        (
            b"\0<w:r><w:fldChar w:fldCharType=\"begin\"/><w:instrText>DDEAUTO c:\\cmd.exe \"/k calc\"</w:instrText><w:fldChar w:fldCharType=\"end\"/>",
            b"\0<w:fldSimple w:instr=\" QUOTE 68 68 69 \"/><ddeLink ddeService=\"cmd\" ddeTopic=\"/c\"/>",
            b"\1a,=cmd|'/c calc'!A0\n\xfd=a|\xfe\x60",
            b"\2\x13DDEAUTO cmd\x14\x15\x13 INCLUDEPICTURE \"http://a.example/\" \x15",
            b"\3\x10\0\x11\x10\x20\0\0\0" + b"\x10\0\0\0" + b"x\x9c\3\0\0\0\0\1",
            b"\0DDE\xfd<w:fldChar w:fldCharType=\"begin\"/>\xfe\x40",
            b"\0DDE\xfd<w:instrText>\xfe\x60",
            b"\0DDE\xfd<ddeLink \xfe\x60",
            b"\2\xfd\x13\xfe\x80",
            b"\2\x13INCLUDEPICTURE \xfd\\\\\xfe\x60\x15",
            b"\1\xfd=\xfe\x80",
            b"\1=\xfda'\xfe\x80",
        ),
        tokens=(b"DDEAUTO ", b"QUOTE 68 ", b"<w:instrText>", b"</w:instrText>", b"w:fldCharType=\"begin\"", b"w:fldCharType=\"end\"", b"<w:fldSimple w:instr=\"", b"\x13", b"\x14", b"\x15", b"=cmd|'", b"'!A0", b"&#65;"),
    ),
    Target(
        "objects",
        objects,
        (
            b"\0\x02\0a.exe\0C:\\a.exe\0\0\0\x03\0\x09\0\0\0C:\\a.exe\0\4\0\0\0MZ\0\0",
            b"\1\x20\0\0\0\x02\0a.exe\0C:\\a.exe\0\0\0\x01\0",
            b"\0" + bytes.fromhex("e0c9ea79f9bace118c8200aa004ba90b") + b"\x20\0\0\0" + "http://a.example/".encode("utf-16-le") + b"\0\0",
            b"\0" + bytes.fromhex("0303000000000000c000000000000046") + b"\0\0\4\0\0\0a.b\0",
            b"\0\xfd" + bytes.fromhex("e0c9ea79f9bace118c8200aa004ba90b") + b"\xfe\x40",
            b"\0\x1c\0\0\0\2\0" + bytes(60) + b"\3\1\1\3\x0a",
            b"\0mhtml:http://a/!x-usc:http://b/",
            b"\0\\\\a@SSL@443\\x",
            b"\0\xfd\\\xfe\x80",
            b"\0\xfdhttp:\xfe\x80",
            b"\0\xfd.\xfe\x80exe",
        ),
        tokens=(b"\2\0", b"\3\0", b"http://", b"\\\\", b"file:///", b"mhtml:", b"!x-usc:", b".exe", bytes.fromhex("e0c9ea79f9bace118c8200aa004ba90b"), bytes.fromhex("0303000000000000c000000000000046")),
    ),
    Target(
        "pdf_script",
        script,
        (
            b"AFNumber_Format(2, 0, 0, 0, \"\", true);",
            b"app.launchURL('http://a.example/'); eval(unescape('%u4141%u4141%u4141%u4141'))",
            b"\xfdAFDate_FormatEx(\"x\")\xfe\x05{",
            b"\xfdAFDate() \xfe\x06{",
            b"AFDate(\xfd \xfe\x40",
            b"AFDate(\xfd)\xfe\x40",
            b"\xfdevent.value = \xfe\x40",
            b"\xfe\xff\0e\0v\0a\0l\0(",
            b"\xfd%u4141\xfe\x40",
            b"util.printf(\"\xfd%\xfe\x40",
            b"\xfd\\x41\xfe\x80",
            b"\xfdA\xfe\xf0",
        ),
        tokens=(b"AFNumber_Format(", b"AFDate_Keystroke(", b"event.value = ", b");", b"eval(", b"%u4141", b"util.printf('", b"\\x41"),
    ),
    Target(
        "encoded_runs",
        runs,
        (
            b"\1<script>x='TVqQAAMAAAAE'+'AAAAA' +\n\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
            b"\0data:application/zip;base64,UEsDBAoAAAAAAAAAIQAAAAAAAAAAAAAAAAAFAAAAYS50eHRQSwECFAM=",
            b"\1[77, 90" + b", 0" * 100 + b"]",
            b"\1\\x4d\\x5a" + b"\\x00" * 80,
            b"\1%4d%5a" + b"%00" * 80,
            b"\1\\u5a4d" + b"\\u0000" * 80,
            b"\1a.push('TVqQ');\xfda.push('AAAA');\xfe\x40",
            b"\1\xfd','\xfe\x60",
            b"\1\xfd\"+\n\xfe\x60",
            b"\1\xfdAAAA \xfe\x80",
            b"\1\xfddata:\xfe\x80",
            b"\1\xfddata:a;b=\xfe\x80",
            b"\1\xfd1,\xfe\x80",
            b"\1\xfd0x4d, \xfe\x80",
            b"\1\xff\xfe\xfdA\0\xfe\x80",
        ),
        tokens=(b"data:", b";base64,", b"'+'", b"','", b"\\x4d", b"%4d", b"\\u004d", b"77,90,", b"0x4d,", b"4d5a", b".push('", b".concat('"),
    ),
)  # fmt: skip
